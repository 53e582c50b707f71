//! The servers that `build.rs` generates: a trait and an HTTP service for each.

#![expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::pedantic, reason = "generated")]

/// The empty message.
pub type Empty = ();

pub mod firestore {
    include!(concat!(env!("OUT_DIR"), "/google.firestore.v1.Firestore.rs"));
}

pub mod publisher {
    include!(concat!(env!("OUT_DIR"), "/google.pubsub.v1.Publisher.rs"));
}

pub mod subscriber {
    include!(concat!(env!("OUT_DIR"), "/google.pubsub.v1.Subscriber.rs"));
}
