//! Firestore over the wire, as the clients see it.

mod client;
mod documents;
mod indexes;
mod listeners;
mod queries;
mod query;
mod support;
mod transactions;
