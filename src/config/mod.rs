//! Configuration: the keys ([`Config`]), how they are loaded ([`load()`]) and how mistakes are reported ([`ConfigError`]).

pub mod argv;
mod cloud;
pub mod duration;
mod engines;
mod environment;
mod load;
mod problem;
mod profile;
mod roles;
mod schema;
mod secret;
mod sections;
mod server;
mod styles;
mod trainers;
mod validate;

pub use cloud::*;
pub use engines::*;
pub use environment::Environment;
pub use load::{Entry, Flag, Loaded, Sources, default_file, load};
pub use problem::{ConfigError, Origin, Problem, variable};
pub use profile::Profile;
pub use roles::Roles;
pub use secret::{Secret, SecretRef};
pub use sections::*;
pub use server::ServerConfig;
pub use styles::StyleConfig;
pub use trainers::*;

/// The error for a build without the feature `google-cloud`.
pub const GOOGLE_CLOUD_NOT_INCLUDED: &str =
    "this build does not include Google Cloud; build again without `--no-default-features`";

#[cfg(test)]
mod tests;
