//! Pub/Sub and Firestore in memory, over the wire: gRPC and REST on one port, for tests that want the real clients.
//!
//! They behave as the documentation says, not as any client wishes, and answer `UNIMPLEMENTED` to what they do not do.
//! [`Faults`] makes them fail as a network and a busy service do.

pub mod faults;
mod services;

pub use faults::{Fault, Faults};
