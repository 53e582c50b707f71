//! The rules about a job and its money, as pure functions: no I/O, no clock, no async.
//!
//! Start with [`job`]: its state, and the verbs that change it. No two files of this folder import each other, directly
//! or through others.

pub mod archive;
pub mod brand;
pub mod breaker;
pub mod clock;
pub mod credits;
pub mod failure;
pub mod field_error;
pub mod hex;
pub mod ids;
pub mod job;
pub mod kind;
pub mod message;
pub mod palette;
pub mod pricing;
pub mod request;
pub mod retry;
pub mod stored_image;
pub mod style;
pub mod trace;
pub mod upload;

/// A moment in UTC with microsecond resolution (what Firestore keeps); RFC 3339 on the wire.
pub type Timestamp = jiff::Timestamp;
