//! The use cases and the worker over the embedded parts, while a port misbehaves at the worst moment.

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
mod support;

mod attempts;
mod bench;
mod cancelling;
mod crash_points;
mod deliveries;
mod engines;
mod orphans;
mod ports;
mod pushes;
mod redriving;
mod script;
mod settling;
mod sweeping;
mod trainings;
