//! Pub/Sub over the wire: the clients of Google, and endpoints that are pushed to.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod admin;
mod dead_letter;
mod failure;
mod identity;
mod publish;
mod pull;
mod push;
