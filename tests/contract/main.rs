//! What every backend of every port must do. The cases stand once; a backend supplies only how it is opened.

mod document;
mod embedded;
mod engine;
mod media;
mod queue;
mod store;
mod support;
