//! Pub/Sub and Firestore in memory, over the wire: gRPC and REST on one port, for tests with the real clients.
//!
//! They behave as the documentation says. Methods that are not supported answer `UNIMPLEMENTED`. [`Faults`] makes calls
//! fail as a network or an overloaded service does.

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

/// A running emulator: every service on one port. Dropping it stops it.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    faults: Faults,
    firestore: Firestore,
    identity: Identity,
    pubsub: PubSub,
    // Its own runtime: all its tasks, open connections and pushes end with it, and a test that blocks its thread or
    // pauses its clock does not stop the emulator.
    runtime: Option<Runtime>,
}

impl Emulator {
    /// Starts an emulator on a free local port.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts an emulator at an address.
    #[expect(clippy::unused_async, reason = "callers wait for it, whatever it takes to start")]
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        // A provider that is already installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (faults, firestore, identity) = (Faults::default(), Firestore::default(), Identity::default());
        let pubsub = PubSub::new(identity.clone());
        let services: Router = firestore.routes().merge(pubsub.routes()).merge(identity.routes());
        let services = services.layer(middleware::from_fn_with_state(faults.clone(), faults::apply));
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.spawn(async move {
            // Otherwise every small response waits 40 ms for the acknowledgement of the previous one.
            let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "answers may be slow");
                }
            });
            axum::serve(listener, services).await.inspect_err(|error| tracing::error!(%error, "the emulator ended"))
        });
        Ok(Self { address, faults, firestore, identity, pubsub, runtime: Some(runtime) })
    }

    /// Its URL, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address, `127.0.0.1:PORT`, as the variables `…_EMULATOR_HOST` contain it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes its calls fail.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Its Firestore.
    pub fn firestore(&self) -> &Firestore {
        &self.firestore
    }

    /// Signs its tokens.
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
        // In the background, because a runtime must not block on the shutdown of another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
