//! Ports that fail on demand.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mediaforge::{
    error::{BackendError, ErrorKind},
    intercept::{Interceptor, Result},
};

/// How a port fails: every call of it, until a test says otherwise.
#[derive(Default)]
pub struct Fault {
    kind: Mutex<Option<ErrorKind>>,
    hang: AtomicBool,
    panic: AtomicBool,
}

impl Fault {
    pub fn fail(&self, kind: Option<ErrorKind>) {
        *self.kind.lock().unwrap_or_else(PoisonError::into_inner) = kind;
    }

    pub fn hang(&self) {
        self.hang.store(true, Ordering::SeqCst);
    }

    pub fn panic(&self) {
        self.panic.store(true, Ordering::SeqCst);
    }
}

impl Interceptor for Fault {
    async fn call<T: Send>(&self, op: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        assert!(!self.panic.load(Ordering::SeqCst), "secret detail of a panic in {op}");
        if self.hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let kind = *self.kind.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            Some(kind) => Err(BackendError::new(kind, op).because("secret detail at /var/lib/secret.db")),
            None => call.await,
        }
    }
}

/// The switch of each port.
#[derive(Default)]
pub struct Faults {
    /// Of jobs and accounts, which are one backend.
    pub store: Arc<Fault>,
    pub queue: Arc<Fault>,
    pub media: Arc<Fault>,
}
