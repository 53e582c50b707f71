//! Pub/Sub and Firestore in memory, over the wire: gRPC and REST on one port, for tests that want the real clients.
//!
//! They behave as the documentation says, not as any client wishes, and answer `UNIMPLEMENTED` to what they do not do.
//! [`Faults`] makes them fail as a network and a busy service do.

pub mod faults;
pub mod firestore;
pub mod pubsub;
mod services;
pub mod storage;

use std::{io, net::SocketAddr};

use axum::{Router, middleware};
use tokio::{net::TcpListener, task::AbortHandle};

pub use faults::{Fault, Faults};
pub use firestore::Firestore;
pub use pubsub::PubSub;
pub use storage::Storage;

/// A running emulator: every service on one port. Dropping it ends it.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    faults: Faults,
    firestore: Firestore,
    pubsub: PubSub,
    server: AbortHandle,
}

impl Emulator {
    /// Starts one on a free port of this machine.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one at an address.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (faults, firestore, pubsub) = (Faults::default(), Firestore::default(), PubSub::default());
        let services: Router = firestore.routes().merge(pubsub.routes());
        let services = services.layer(middleware::from_fn_with_state(faults.clone(), faults::apply));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, services).await {
                tracing::error!(%error, "the emulator ended");
            }
        });
        Ok(Self { address, faults, firestore, pubsub, server: server.abort_handle() })
    }

    /// Where it is, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it is, as `127.0.0.1:PORT`: what the variables `…_EMULATOR_HOST` say.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What makes it fail.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Its Firestore.
    pub fn firestore(&self) -> &Firestore {
        &self.firestore
    }

    /// Its Pub/Sub.
    pub fn pubsub(&self) -> &PubSub {
        &self.pubsub
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}
