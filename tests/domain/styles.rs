//! Styles: how a prompt is composed for an engine.

use mediaforge::domain::style::{Learnt, Style};

fn style(modifier: &str, palette: &[&str]) -> Style {
    Style {
        id: "brd_00000000000000000000".to_owned(),
        name: "Acme".to_owned(),
        description: String::new(),
        modifier: modifier.to_owned(),
        palette: palette.iter().map(|color| color.parse().expect("a colour")).collect(),
        learnt: Learnt::default(),
    }
}

#[test]
fn a_prompt_begins_with_the_users_words() {
    let brand = style("in the visual style of the brand Acme", &["#ff6600", "#003366"]);
    let composed = "a fox, in the visual style of the brand Acme, in the colours #ff6600, #003366";
    assert_eq!(brand.compose("a fox"), composed);
    assert_eq!(style("", &[]).compose(" a fox "), " a fox ", "verbatim, where there is nothing to add");
}

#[test]
fn reference_pictures_are_explained_in_the_prompt() {
    let brand = style("in ink", &["#ff6600"]);
    assert_eq!(brand.compose_with_references("a fox", 0), brand.compose("a fox"));
    assert_eq!(
        brand.compose_with_references("a fox", 1),
        "a fox, in ink, in the colours #ff6600. The attached picture shows how to draw, not what: keep to its style, its \
         colours and its line, and take over none of its subjects."
    );
    assert_eq!(
        style("", &[]).compose_with_references("a fox.", 4),
        "a fox. The 4 attached pictures show how to draw, not what: keep to their style, their colours and their line, \
         and take over none of their subjects."
    );
}
