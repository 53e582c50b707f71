//! Firestore over the wire, as far as the contract suite of `MediaForge` (tests/contract) does not show it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod documents;
mod indexes;
mod listeners;
mod queries;
mod query;
mod support;
mod transactions;
