//! Pub/Sub: topics, subscriptions, push and pull.

use axum::Router;

/// Topics and subscriptions. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct PubSub {}

impl PubSub {
    /// The services, and their REST twin for administration.
    pub(crate) fn routes(&self) -> Router {
        Router::new()
    }
}
