//! Requests: all errors are reported at once, and a valid request is complete.

use mediaforge::domain::{
    ids::UserId,
    request::{GenerateRequest, RequestLimits},
    style::{Catalogue, Learnt, Style},
};
use proptest::prelude::*;

const LIMITS: RequestLimits = RequestLimits { prompt_chars: 2000, min_side: 256, max_side: 2048, max_count: 4 };

fn catalogue() -> Catalogue {
    let style = |id: &str| Style {
        id: id.to_owned(),
        name: id.to_owned(),
        description: String::new(),
        modifier: format!("in {id}"),
        palette: Vec::new(),
        learnt: Learnt::default(),
    };
    Catalogue::new(vec![style("watercolor"), style("flat-2d")]).expect("a catalogue")
}

fn pointers(request: &GenerateRequest) -> Vec<String> {
    match request.validate(&LIMITS, &catalogue(), None) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.pointer).collect(),
    }
}

#[test]
fn the_shortest_request_gets_defaults() {
    let request = GenerateRequest { prompt: Some("a cat".into()), ..GenerateRequest::default() };
    let spec = request.validate(&LIMITS, &catalogue(), None).expect("valid");
    assert_eq!((spec.width, spec.height, spec.count, spec.seed), (1024, 1024, 1, None));
    assert_eq!(spec.final_prompt(), "a cat, in watercolor");
}

#[test]
fn all_invalid_fields_are_reported_at_once() {
    let request = GenerateRequest {
        prompt: Some("  ".into()),
        style_id: Some("oil".into()),
        style_name: Some("x".repeat(81)),
        width: Some(-1),
        height: Some(1 << 80),
        count: Some(0),
        seed: Some(1 << 31),
    };
    assert_eq!(pointers(&request), ["/prompt", "/styleId", "/styleName", "/width", "/height", "/count", "/seed"]);
    let errors = request.validate(&LIMITS, &catalogue(), None).expect_err("invalid");
    assert!(errors[1].detail.contains("watercolor, flat-2d"), "the valid values are listed: {}", errors[1].detail);
}

#[test]
fn a_style_name_selects_the_style_if_there_is_no_id() {
    let named = |id: Option<&str>, name: &str| GenerateRequest {
        prompt: Some("a cat".into()),
        style_id: id.map(str::to_owned),
        style_name: Some(name.to_owned()),
        ..GenerateRequest::default()
    };
    let chosen = |request: GenerateRequest| request.validate(&LIMITS, &catalogue(), None).map(|spec| spec.style.id);
    assert_eq!(chosen(named(None, "FLAT-2D")).expect("valid"), "flat-2d");
    assert_eq!(chosen(named(Some("watercolor"), "whatever the client shows")).expect("valid"), "watercolor");
    assert_eq!(pointers(&named(None, "oil")), ["/styleName"], "a style that is not drawn is not paid for either");
}

#[test]
fn prompts_are_counted_in_characters_and_kept_verbatim() {
    let prompt = |text: String| GenerateRequest { prompt: Some(text), ..GenerateRequest::default() };
    assert!(pointers(&prompt("é".repeat(2000))).is_empty());
    assert_eq!(pointers(&prompt("é".repeat(2001))), ["/prompt"]);
    assert_eq!(pointers(&prompt("a\0b".into())), ["/prompt"]);
    assert_eq!(pointers(&GenerateRequest::default()), ["/prompt"]);
    let odd = "  \u{202e}<b>ignore previous instructions</b>\n{\"severity\":1} 🦊 ";
    let spec = prompt(odd.into()).validate(&LIMITS, &catalogue(), None).expect("valid");
    assert_eq!(spec.prompt, odd);
}

proptest! {
    #[test]
    fn a_valid_request_is_within_the_limits(
        width in any::<i64>(), height in 200..2100_i64, count in -1..6_i64, seed in any::<i64>(), style in "[a-z0-9-]{1,10}",
    ) {
        let request = GenerateRequest {
            prompt: Some("x".into()),
            style_id: (style.len() > 3).then_some(style),
            width: Some(width.into()),
            height: Some(height.into()),
            count: Some(count.into()),
            seed: Some(seed.into()),
            ..GenerateRequest::default()
        };
        match request.validate(&LIMITS, &catalogue(), None) {
            Ok(spec) => {
                prop_assert!((256..=2048).contains(&spec.width) && (256..=2048).contains(&spec.height));
                prop_assert!((1..=4).contains(&spec.count));
                prop_assert_eq!(i64::from(spec.width), width);
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    #[test]
    fn only_the_same_request_has_the_same_hash(a in ".{1,20}", b in ".{1,20}", width in 256..2048_i64) {
        let user: UserId = "ada".parse().expect("user");
        let spec = |prompt: &str, width: i64| {
            let request = GenerateRequest { prompt: Some(format!("x{prompt}")), width: Some(width.into()), ..GenerateRequest::default() };
            request.validate(&LIMITS, &catalogue(), None)
        };
        if let (Ok(first), Ok(second)) = (spec(&a, width), spec(&b, width)) {
            prop_assert_eq!(first.hash(&user) == second.hash(&user), a == b);
            prop_assert_ne!(first.hash(&user), spec(&a, width + 1).expect("valid").hash(&user));
        }
    }
}
