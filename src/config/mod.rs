//! Configuration.

pub mod duration;
mod sections;

pub use sections::*;
