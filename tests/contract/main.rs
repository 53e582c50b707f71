//! What every backend of every port must do. The cases stand once; a backend supplies only how it is opened.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;
mod document;
mod embedded;
mod engine;
mod firestore;
mod gcs;
mod media;
mod plans;
mod queue;
mod store;
mod support;
mod trainer;
