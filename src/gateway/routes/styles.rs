//! `GET /styles`: the catalogue.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::gateway::GatewayState;

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
}

/// The styles
#[utoipa::path(
    get,
    operation_id = "listStyles",
    path = "/styles",
    tag = "account",
    responses((status = 200, description = "The catalogue, in the order to show it.", body = StyleList))
)]
pub(in crate::gateway) async fn list(State(gateway): State<GatewayState>) -> Response {
    let styles = gateway.jobs().rules().catalogue.iter();
    let data = styles
        .map(|style| StyleView { style_id: &style.id, name: &style.name, description: &style.description })
        .collect();
    Json(StyleList { data }).into_response()
}
