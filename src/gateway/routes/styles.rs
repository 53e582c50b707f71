//! `GET /styles`: the catalogue, followed by the ready brands of the caller.

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
        openapi::UserIdParam,
        present::{BaseUrl, Links, Presenter},
        problem::Problem,
    },
};

/// The available styles. The first one is the default.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::gateway) struct StyleList<'a> {
    data: Vec<StyleView<'a>>,
}

/// A style.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Style)]
struct StyleView<'a> {
    /// The value for `styleId` of `POST /generate`.
    #[schema(example = "watercolor")]
    style_id: &'a str,
    /// The name for people.
    #[schema(example = "Watercolor")]
    name: &'a str,
    /// What the style looks like.
    #[schema(example = "Soft washes on rough paper")]
    description: &'a str,
    /// An image in this style, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sample_url: Option<String>,
    /// When that URL expires, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url_expires_at: Option<Timestamp>,
    /// The brand that this style comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "brd_4kQ0b1xYc7ZpT2mN9sVd")]
    brand_id: Option<&'a str>,
}

/// List styles
///
/// Returns the catalogue, followed by the newest 100 ready brands of the caller and of the caller's team, newest first.
#[utoipa::path(
    get,
    operation_id = "listStyles",
    path = "/styles",
    tag = "account",
    params(UserIdParam),
    responses((status = 200, description = "The styles, in display order.", body = StyleList))
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
