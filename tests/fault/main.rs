//! The use cases and the worker over the embedded parts, while a port misbehaves at the worst moment.

mod attempts;
mod deliveries;
mod ports;
mod pushes;
mod settling;
