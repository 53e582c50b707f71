//! Streams of changes.

use futures::{Stream, stream};
use gcloud_sdk::google::firestore::v1::{ListenRequest, ListenResponse};
use tonic::{Status, Streaming};

use super::Firestore;

/// Opens one.
pub fn open(
    _: Firestore,
    _: Streaming<ListenRequest>,
) -> impl Stream<Item = Result<ListenResponse, Status>> + Send + 'static {
    stream::once(async { Err(Status::unimplemented("not yet")) })
}
