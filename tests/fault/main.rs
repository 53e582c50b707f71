//! The use cases and the worker over the embedded parts, while a port misbehaves at the worst moment.

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
mod support;

mod attempts;
mod bench;
mod cancelling;
mod crash_points;
mod deliveries;
#[cfg(target_os = "linux")]
mod disk;
mod engines;
mod fallback;
mod orphans;
mod ports;
mod push_auth;
mod pushes;
mod races;
mod redriving;
mod script;
mod settling;
mod stops;
mod sweeping;
mod trainings;
