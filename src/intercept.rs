//! Wrappers around ports. A wrapper implements [`Interceptor`], one hook around every call; `intercept!` beside each port
//! trait makes [`Intercepted`] implement that port. A new method of a port is added to that list and to no wrapper.

use std::{future::Future, sync::Arc, time::Duration};

use futures::stream::BoxStream;

use crate::error::{BackendError, ErrorKind};

/// The result of a port call.
pub type Result<T> = std::result::Result<T, BackendError>;

/// Runs around each call of a port: it may delay the call, replace its result, or not make it at all.
pub trait Interceptor: Send + Sync {
    /// Runs around one call. `op` names it as [`BackendError::op`] does; nothing has happened before `call` is polled.
    fn call<T: Send>(
        &self,
        op: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Replaces a stream that a port has opened. By default it is passed on: waiting is what a stream is for.
    fn stream<T: Send + 'static>(
        &self,
        op: &'static str,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let _ = op;
        stream
    }
}

impl<I: Interceptor> Interceptor for Arc<I> {
    fn call<T: Send>(
        &self,
        op: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send {
        I::call(self, op, call)
    }

    fn stream<T: Send + 'static>(
        &self,
        op: &'static str,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        I::stream(self, op, stream)
    }
}

/// A port whose calls go through an interceptor.
pub struct Intercepted<P: ?Sized, I> {
    pub(crate) port: Arc<P>,
    pub(crate) interceptor: I,
}

impl<P: ?Sized, I: Interceptor> Intercepted<P, I> {
    /// Wraps a port.
    pub fn new(port: Arc<P>, interceptor: I) -> Self {
        Self { port, interceptor }
    }
}

/// Implements a port for [`Intercepted`]: `calls` and `streams` go through the interceptor, `getters` do not, for they do
/// no I/O. Each call is listed with its `op`.
macro_rules! intercept {
    (
        $port:ident
        calls { $($call:ident $call_op:literal ($($call_arg:ident: $call_type:ty),*) -> $call_result:ty;)* }
        $(streams { $($stream:ident $stream_op:literal ($($stream_arg:ident: $stream_type:ty),*) -> $item:ty;)* })?
        $(getters { $($getter:ident() -> $value:ty;)* })?
    ) => {
        #[async_trait::async_trait]
        impl<I: $crate::intercept::Interceptor> $port for $crate::intercept::Intercepted<dyn $port, I> {
            $(
                async fn $call(&self, $($call_arg: $call_type),*) -> $crate::intercept::Result<$call_result> {
                    self.interceptor.call($call_op, self.port.$call($($call_arg),*)).await
                }
            )*
            $($(
                fn $stream(
                    &self,
                    $($stream_arg: $stream_type),*
                ) -> futures::stream::BoxStream<'static, $crate::intercept::Result<$item>> {
                    self.interceptor.stream($stream_op, self.port.$stream($($stream_arg),*))
                }
            )*)?
            $($(
                fn $getter(&self) -> $value {
                    self.port.$getter()
                }
            )*)?
        }
    };
}
pub(crate) use intercept;

/// Ends a call that takes too long with [`ErrorKind::Timeout`].
#[derive(Debug, Clone, Copy)]
pub struct TimeLimit {
    limit: Duration,
    unlimited: &'static [&'static str],
}

impl TimeLimit {
    /// [`Duration::MAX`] sets no timer at all.
    pub fn new(limit: Duration) -> Self {
        Self { limit, unlimited: &[] }
    }

    /// Sets no limit for these operations.
    #[must_use]
    pub fn except(self, unlimited: &'static [&'static str]) -> Self {
        Self { unlimited, ..self }
    }
}

impl Interceptor for TimeLimit {
    async fn call<T: Send>(&self, op: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        if self.limit == Duration::MAX || self.unlimited.contains(&op) {
            return call.await;
        }
        tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {:?}", self.limit);
            Err(BackendError::new(ErrorKind::Timeout, op).because(reason))
        })
    }
}
