//! Pub/Sub and Firestore in memory, over the wire: gRPC and REST on one port, for tests that want the real clients.
//!
//! They behave as the documentation says, not as any client wishes, and answer `UNIMPLEMENTED` to what they do not do.
//! [`Faults`] makes them fail as a network and a busy service do.

pub mod faults;
pub mod firestore;
pub mod identity;
pub mod pubsub;
mod services;
mod status;
pub mod storage;

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use axum::{Router, middleware, serve::ListenerExt as _};
use tokio::runtime::{Builder, Runtime};

pub use faults::{Fault, Faults};
pub use firestore::Firestore;
pub use identity::Identity;
pub use pubsub::PubSub;
pub use storage::Storage;

/// A running emulator: every service on one port. Dropping it ends it.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    faults: Faults,
    firestore: Firestore,
    identity: Identity,
    pubsub: PubSub,
    // A runtime of its own: what runs in it ends with it, open connections and pushes too, and a test that blocks its
    // thread or stops its clock does not stop the emulator.
    runtime: Option<Runtime>,
}

impl Emulator {
    /// Starts one on a free port of this machine.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one at an address.
    #[expect(clippy::unused_async, reason = "callers wait for it, whatever it takes to start")]
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        // Whoever installed one before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (faults, firestore, identity) = (Faults::default(), Firestore::default(), Identity::default());
        let pubsub = PubSub::new(identity.clone());
        let services: Router = firestore.routes().merge(pubsub.routes()).merge(identity.routes());
        let services = services.layer(middleware::from_fn_with_state(faults.clone(), faults::apply));
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.spawn(async move {
            // Else every small answer waits 40 ms for the acknowledgement of the one before.
            let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "answers may be slow");
                }
            });
            axum::serve(listener, services).await.inspect_err(|error| tracing::error!(%error, "the emulator ended"))
        });
        Ok(Self { address, faults, firestore, identity, pubsub, runtime: Some(runtime) })
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

    /// Who signs its tokens.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its Pub/Sub.
    pub fn pubsub(&self) -> &PubSub {
        &self.pubsub
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // In the background, for one may not wait for a runtime within another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
