//! Pub/Sub over the wire, as far as the contract suite of `MediaForge` (tests/contract) does not show it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod admin;
mod dead_letter;
mod failure;
mod identity;
mod publish;
mod pull;
mod push;
