//! Configuration: what can be set ([`Config`]), where it comes from ([`load()`]) and what is wrong with it
//! ([`ConfigError`]).

pub mod duration;
mod engines;
mod environment;
mod load;
mod problem;
mod profile;
mod roles;
mod schema;
mod sections;
mod server;
mod validate;

pub use engines::*;
pub use environment::Environment;
pub use load::{Entry, Flag, Loaded, Sources, default_file, load};
pub use problem::{ConfigError, Origin, Problem, variable};
pub use profile::Profile;
pub use roles::Roles;
pub use sections::*;
pub use server::ServerConfig;

#[cfg(test)]
mod tests;
