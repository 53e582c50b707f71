//! Firestore: documents, transactions, queries and listeners.

use axum::Router;

/// The databases. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Firestore {}

impl Firestore {
    /// The service.
    pub(crate) fn routes(&self) -> Router {
        Router::new()
    }
}
