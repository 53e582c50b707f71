//! Which engine draws which picture.

use bytes::Bytes;

use super::*;
use crate::{
    config::{Environment, Sources, load},
    domain::{
        ids::JobId,
        style::{Learnt, Style},
    },
};

/// A provider that returns its name as the model, and that does not have the model `gone`.
struct Named(&'static str);

#[async_trait]
impl Provider for Named {
    async fn generate(&self, spec: &ImageSpec, model: &str, _: &AttemptContext) -> Result<Generation, AttemptFailure> {
        Ok(Generation {
            images: vec![super::super::GeneratedImage { bytes: Bytes::from(spec.route.clone()) }],
            filtered: 0,
            model: format!("{}:{model}", self.0),
            final_prompt: String::new(),
            seed: None,
            cost_micro_usd: 0,
        })
    }

    async fn check(&self, model: &str) -> Result<Option<String>, AttemptFailure> {
        if model == "gone" { Err(AttemptFailure::misconfigured("no such model")) } else { Ok(None) }
    }

    fn references(&self) -> usize {
        4
    }
}

fn router(variables: &[(&str, &str)]) -> Router {
    let environment = Environment::of(variables.iter().copied()).with_user_data_dir("/nowhere");
    let config = load(&Sources { environment, ..Sources::default() }).unwrap().config;
    Router::new(&config, |name| Ok(Engine::Remote(Arc::new(Named(name))))).unwrap()
}

fn picture(style: &str) -> IllustrationSpec {
    let style = Style {
        id: style.to_owned(),
        name: String::new(),
        description: String::new(),
        modifier: String::new(),
        palette: Vec::new(),
        learnt: Learnt::default(),
    };
    IllustrationSpec { prompt: "a cat".to_owned(), style, width: 512, height: 512, count: 1, seed: None }
}

async fn drawn_by(router: &Router, route: &str) -> String {
    let spec = ImageSpec { illustration: picture("any"), seed: 1, route: route.to_owned(), references: Vec::new() };
    let job_id: JobId = "ill_00000000000000000000".parse().unwrap();
    let cx = AttemptContext { job_id, attempt: 1, progress: tokio::sync::watch::channel(None).0 };
    router.generate(&spec, &cx).await.unwrap().model
}

#[tokio::test]
async fn styles_and_brands_have_engines_of_their_own_and_a_fallback() {
    let router = router(&[
        ("MEDIAFORGE_ENGINE__DEFAULT", "fast"),
        ("MEDIAFORGE_ENGINE__BRANDS", "lora/flux"),
        ("MEDIAFORGE_ENGINE__FALLBACK", "openai"),
        ("MEDIAFORGE_STYLES__WATERCOLOR__ENGINE", "best"),
        ("MEDIAFORGE_STYLES__FLAT_2D__ENGINE", "openai"),
    ]);
    let drawers = |style| router.routes(&picture(style)).join(" ");
    assert_eq!(drawers("line-art"), "gemini/gemini-3.1-flash-image openai/gpt-image-1");
    assert_eq!(drawers("watercolor"), "gemini/gemini-3-pro-image openai/gpt-image-1");
    assert_eq!(drawers("brd_00000000000000000000"), "lora/flux openai/gpt-image-1");
    assert_eq!(drawers("flat-2d"), "openai/gpt-image-1", "an engine is not its own fallback");
    assert_eq!(drawn_by(&router, "gemini/gemini-3-pro-image").await, "gemini:gemini-3-pro-image");
    assert_eq!(drawn_by(&router, "lora/flux").await, "lora:flux");
    // A job that was claimed before the configuration changed.
    assert_eq!(drawn_by(&router, "imagen/old").await, "gemini:gemini-3.1-flash-image");
    assert_eq!(router.references("lora/flux"), 4);
}

#[tokio::test]
async fn a_model_that_is_gone_or_retires_soon_is_reported() {
    let router = router(&[("MEDIAFORGE_ENGINE__DEFAULT", "imagen"), ("MEDIAFORGE_ENGINE__FALLBACK", "gemini/gone")]);
    let on = |day: &str| format!("{day}T12:00:00Z").parse::<Timestamp>().unwrap();
    let note = async |day: &str| {
        let mut found = router.check(on(day)).await;
        found.sort_by(|a, b| b.route.cmp(&a.route));
        let [imagen, gone] = <[ModelCheck; 2]>::try_from(found).unwrap();
        assert_eq!((gone.route.as_str(), gone.outcome.is_err()), ("gemini/gone", true));
        imagen.outcome.unwrap()
    };
    assert_eq!(note("2026-06-17").await, None, "61 days ahead");
    assert!(note("2026-06-18").await.unwrap().contains("ends on 2026-08-17, in 60 days"));
    assert!(note("2026-08-17").await.unwrap().contains("has ended on 2026-08-17"));
}
