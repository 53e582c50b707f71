//! Pub/Sub over the wire: the clients of Google, and endpoints that are pushed to.

mod support;

mod admin;
mod push;
