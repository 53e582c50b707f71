//! The contract of every port: the cases stand once, as functions over the port; a backend supplies only `open`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod media;
