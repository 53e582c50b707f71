//! Admits requests: before a byte of a body is read, the limits of the client's address and of concurrent requests apply.
//! The user's limit applies as soon as the user is known.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{Extensions, HeaderMap, HeaderName},
    response::{IntoResponse as _, Response},
};
use futures::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tower::{Layer, Service};

use super::{
    GatewayState,
    problem::{Code, Problem},
    rate::Remaining,
};
use crate::domain::ids::UserId;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Always admitted: an orchestrator kills a process that does not respond to its probe, even if it is only busy.
const PROBE: &str = "/health";
/// The `Retry-After` of an overloaded gateway.
const RETRY: Duration = Duration::from_secs(1);

/// The state of an admitted request, kept in its extensions.
#[derive(Clone)]
pub(super) struct Admission(Arc<Inner>);

struct Inner {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    user_limit: OnceLock<Remaining>,
}

impl Admission {
    /// Releases the permit of a request that only waits from now on, so that another request can be admitted.
    pub fn release_permit(extensions: &Extensions) {
        if let Some(Self(inner)) = extensions.get() {
            inner.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

impl GatewayState {
    /// Applies the user's limit. Call this once per request, as soon as the user is known.
    pub(super) fn admit(&self, user: &UserId, extensions: &Extensions) -> Result<(), Problem> {
        let Some(limit) = &self.0.user_limit else { return Ok(()) };
        let remaining = limit.take(user)?;
        if let Some(Admission(inner)) = extensions.get() {
            // If it is already set, the earlier value is as good.
            let _ = inner.user_limit.set(remaining);
        }
        Ok(())
    }
}

/// Wraps a service in [`Admit`].
#[derive(Clone)]
pub(super) struct AdmitLayer(pub GatewayState);

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;
    fn layer(&self, inner: S) -> Admit<S> {
        Admit { gateway: self.0.clone(), inner }
    }
}

/// Admits or refuses requests. A hand-written service, because `middleware::from_fn` would box the routes anew for every
/// request.
#[derive(Clone)]
pub(super) struct Admit<S> {
    gateway: GatewayState,
    inner: S,
}

impl<S> Service<Request> for Admit<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if request.uri().path() == PROBE {
            return Box::pin(self.inner.call(request));
        }
        let (address_limit, admission) = match admit_request(&self.gateway, &request) {
            Ok(admitted) => admitted,
            Err(refusal) => return Box::pin(std::future::ready(Ok(refusal.into_response()))),
        };
        request.extensions_mut().insert(admission.clone());
        let response = self.inner.call(request);
        let gateway = self.gateway.clone();
        Box::pin(async move {
            let mut response = response.await?;
            let headers = response.headers_mut();
            // A refusal by the user's limit already has that limit's headers.
            if let (Some(limit), Some(remaining)) = (&gateway.0.user_limit, admission.0.user_limit.get()) {
                limit.add_headers(*remaining, headers);
            }
            if let (Some(limit), Some(remaining)) = (&gateway.0.address_limit, address_limit) {
                limit.add_headers(remaining, headers);
            }
            Ok(response)
        })
    }
}

fn admit_request(gateway: &GatewayState, request: &Request) -> Result<(Option<Remaining>, Admission), Problem> {
    let address_limit = match &gateway.0.address_limit {
        Some(limit) => {
            let address = client_address(request, gateway.0.trusted_proxies);
            address.map(|address| limit.take(client_network(address))).transpose()?
        }
        None => None,
    };
    let permit = match &gateway.0.permits {
        Some(permits) => Some(Arc::clone(permits).try_acquire_owned().map_err(|_| overloaded())?),
        None => None,
    };
    Ok((address_limit, Admission(Arc::new(Inner { permit: Mutex::new(permit), user_limit: OnceLock::new() }))))
}

fn overloaded() -> Problem {
    Problem::new(Code::Overloaded, "too many requests at once; try again in a moment").retry_after(Some(RETRY))
}

/// The client's address: as reported by the outermost trusted proxy, or the peer of the connection.
fn client_address(request: &Request, trusted_proxies: usize) -> Option<IpAddr> {
    let peer = || Some(request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip());
    forwarded_address(request.headers(), trusted_proxies).or_else(peer)
}

/// Each proxy appends the address of its peer, so our own proxies have written the last entries. The client itself may
/// have written the ones before.
fn forwarded_address(headers: &HeaderMap, trusted_proxies: usize) -> Option<IpAddr> {
    let skipped = trusted_proxies.checked_sub(1)?;
    let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let entries: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let entry = entries.iter().rev().nth(skipped)?;
    let with_port = || entry.parse().map(|address: SocketAddr| address.ip());
    entry.parse().or_else(|_| with_port()).ok()
}

/// The network that shares one bucket: a customer usually has a whole /64 of IPv6 addresses.
fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_of_trusted_proxies_count() {
        let of = |lines: &[&'static str], proxies| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, axum::http::HeaderValue::from_static(line));
            }
            forwarded_address(&headers, proxies).map(|address| address.to_string())
        };
        let forged = ["6.6.6.6, 203.0.113.7"];
        assert_eq!(of(&forged, 0), None);
        assert_eq!(of(&forged, 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["6.6.6.6, 203.0.113.7", "10.0.0.1"], 2).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["203.0.113.7:4711"], 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["[2001:db8::1]:4711"], 1).as_deref(), Some("2001:db8::1"));
        // With fewer entries than proxies, or an unreadable entry, the peer counts.
        assert_eq!(of(&["203.0.113.7"], 2), None);
        assert_eq!(of(&["203.0.113.7, "], 1), None);
        assert_eq!(of(&[], 1), None);
    }

    #[test]
    fn one_network_has_one_bucket() {
        let of = |text: &str| client_network(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(of("203.0.113.7"), "203.0.113.7");
    }
}
