//! Firestore over the wire, as the clients see it.

mod documents;
mod support;
mod transactions;
