//! Tests of the HTTP API in process: every status, header and shape that clients rely on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/archives.rs"]
mod archives;
mod auth;
mod bad_input;
mod brands;
mod bucket;
mod datasets;
mod events;
mod generate;
mod illustrations;
mod limits;
mod log;
mod media;
mod retention;
mod service;
mod support;
mod training;
mod uploads;
