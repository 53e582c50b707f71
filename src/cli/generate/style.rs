//! Finds the id of a style or brand by its name.

use super::super::{
    Exit, Failure,
    job::{Api, api::Style, error::ApiError},
};

/// The id of the style or brand with this id or name. An unknown name stays as it is; the service then lists the styles.
pub(super) async fn id_of(api: &Api, wanted: &str) -> anyhow::Result<String> {
    let styles = api
        .with_retries(async || match api.styles().await {
            // A service without a list of styles may still have them.
            Err(ApiError::Refused(refusal)) if refusal.status == 404 => Ok(Vec::new()),
            styles => styles,
        })
        .await?;
    Ok(find(&styles, wanted)?)
}

fn find(styles: &[Style], wanted: &str) -> Result<String, Failure> {
    if styles.iter().any(|style| style.style_id == wanted) {
        return Ok(wanted.to_owned());
    }
    let name = wanted.trim().to_lowercase();
    let named: Vec<_> = styles.iter().filter(|style| style.name.trim().to_lowercase() == name).collect();
    match named.as_slice() {
        [] => Ok(wanted.to_owned()),
        [style] => Ok(style.style_id.clone()),
        several => {
            let ids: Vec<_> = several.iter().map(|style| style.style_id.as_str()).collect();
            let message = format!("{} styles have the name {wanted:?}: {}", ids.len(), ids.join(", "));
            Err(Failure::new(Exit::Usage, message).hint("use the id of the style instead"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_takes_precedence_over_a_name_and_a_name_must_be_unique() {
        let style = |id: &str, name: &str| Style { style_id: id.to_owned(), name: name.to_owned() };
        let styles = [
            style("watercolor", "Watercolor"),
            style("brd_1", "Acme"),
            style("brd_2", "Zoë & Co"),
            style("brd_3", "Twice"),
            style("brd_4", "TWICE "),
            style("brd_5", "brd_1"),
        ];
        for (wanted, id) in [
            ("watercolor", "watercolor"),
            ("acme", "brd_1"),
            ("ZOË & CO", "brd_2"),
            ("brd_1", "brd_1"),
            ("oil", "oil"),
            ("brd_9", "brd_9"),
        ] {
            assert_eq!(find(&styles, wanted).unwrap(), id);
        }
        let ambiguous = find(&styles, "twice").unwrap_err();
        assert_eq!(ambiguous.exit, Exit::Usage);
        assert!(ambiguous.message.contains("brd_3, brd_4"), "{}", ambiguous.message);
    }
}
