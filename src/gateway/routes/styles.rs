//! `GET /styles`: the catalogue, and the brands that are ready to be drawn in.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use futures::future::try_join_all;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::Timestamp,
    gateway::{
        GatewayState,
        auth::Caller,
        present::{BaseUrl, Links, Presenter},
        problem::Problem,
    },
};

/// The styles on offer; the first is what a request gets that names none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StyleList)]
pub(in crate::gateway) struct StyleList<'a> {
    data: Vec<StyleView<'a>>,
}

/// A style.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Style)]
struct StyleView<'a> {
    /// What requests name.
    #[schema(example = "watercolor")]
    style_id: &'a str,
    /// What people read.
    #[schema(example = "Watercolor")]
    name: &'a str,
    /// How it looks.
    #[schema(example = "Soft washes on rough paper")]
    description: &'a str,
    /// A picture in this style, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sample_url: Option<String>,
    /// When that URL stops working, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url_expires_at: Option<Timestamp>,
    /// The brand this style was learnt by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "brd_4kQ0b1xYc7ZpT2mN9sVd")]
    brand_id: Option<&'a str>,
}

/// The styles
///
/// The catalogue first, then the ready brands of the caller and their team, the newest first, 100 at most.
#[utoipa::path(
    get,
    operation_id = "listStyles",
    path = "/styles",
    tag = "account",
    params(("userId" = Option<String>, Query, description = "The caller; `local` when absent.")),
    responses(
        (status = 200, description = "The styles, in the order to show them.", body = StyleList),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn list(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
) -> Result<Response, Problem> {
    let brands = gateway.queries().brand_styles(&user).await?;
    let presenter = Presenter::new(gateway.clone(), base);
    let catalogue = gateway.submission().settings().catalogue.iter().map(|style| StyleView {
        style_id: &style.id,
        name: &style.name,
        description: &style.description,
        sample_url: None,
        url_expires_at: None,
        brand_id: None,
    });
    let mut data: Vec<_> = catalogue.collect();
    let samples = brands.iter().map(|brand| presenter.links(brand.sample.as_deref()));
    let samples = try_join_all(samples).await?;
    for (brand, Links { urls, expires_at }) in brands.iter().zip(samples) {
        let style = &brand.style;
        data.push(StyleView {
            style_id: &style.id,
            name: &style.name,
            description: &style.description,
            sample_url: urls.into_iter().next(),
            url_expires_at: expires_at,
            brand_id: Some(&style.id),
        });
    }
    Ok(Json(StyleList { data }).into_response())
}
