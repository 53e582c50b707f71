//! Who is let in: before a byte of a body is read, an address is held to its rate and the gateway to the number of
//! requests it has in hand; the user's rate follows as soon as the user is known.

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
    rate::Left,
};
use crate::domain::ids::UserId;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Answered whatever happens: an orchestrator that hears nothing kills the process that is busy.
const PROBE: &str = "/health";
/// When to come back to a gateway with too much in hand.
const RETRY: Duration = Duration::from_secs(1);

/// What is known of a request that was let in.
#[derive(Clone)]
pub(super) struct Admitted(Arc<Inner>);

struct Inner {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    user: OnceLock<Left>,
}

impl Admitted {
    /// Lets others have the permit of a request that from here on only waits.
    pub fn give_way(extensions: &Extensions) {
        if let Some(Self(inner)) = extensions.get() {
            inner.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

impl GatewayState {
    /// Holds the user to their rate. Once for each request, as soon as it is known who asks.
    pub(super) fn admit(&self, user: &UserId, extensions: &Extensions) -> Result<(), Problem> {
        let Some(rate) = &self.0.user_rate else { return Ok(()) };
        let left = rate.take(user)?;
        if let Some(Admitted(inner)) = extensions.get() {
            // The routes ask once; a second answer would only be a moment newer.
            let _ = inner.user.set(left);
        }
        Ok(())
    }
}

/// Puts [`Admit`] before a service.
#[derive(Clone)]
pub(super) struct AdmitLayer(pub GatewayState);

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;
    fn layer(&self, inner: S) -> Admit<S> {
        Admit { gateway: self.0.clone(), inner }
    }
}

/// Lets requests in, or not. A service by hand: `middleware::from_fn` would box the routes anew for every request.
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
        let (address, admitted) = match enter(&self.gateway, &request) {
            Ok(entered) => entered,
            Err(refused) => return Box::pin(std::future::ready(Ok(refused.into_response()))),
        };
        request.extensions_mut().insert(admitted.clone());
        let answer = self.inner.call(request);
        let gateway = self.gateway.clone();
        Box::pin(async move {
            let mut response = answer.await?;
            let headers = response.headers_mut();
            // A refusal by the user's rate has its own.
            if let (Some(rate), Some(left)) = (&gateway.0.user_rate, admitted.0.user.get()) {
                rate.describe(*left, headers);
            }
            if let (Some(rate), Some(left)) = (&gateway.0.address_rate, address) {
                rate.describe(left, headers);
            }
            Ok(response)
        })
    }
}

fn enter(gateway: &GatewayState, request: &Request) -> Result<(Option<Left>, Admitted), Problem> {
    let address = match &gateway.0.address_rate {
        Some(rate) => address(request, gateway.0.trusted_proxies).map(|address| rate.take(address)).transpose()?,
        None => None,
    };
    let permit = match &gateway.0.permits {
        Some(permits) => Some(Arc::clone(permits).try_acquire_owned().map_err(|_| overloaded())?),
        None => None,
    };
    Ok((address, Admitted(Arc::new(Inner { permit: Mutex::new(permit), user: OnceLock::new() }))))
}

fn overloaded() -> Problem {
    Problem::new(Code::Overloaded, "too many requests at once; try again in a moment").retry_after(Some(RETRY))
}

/// Whose request it is, as far as addresses tell: what the outermost proxy that is trusted has seen, or the peer.
fn address(request: &Request, trusted_proxies: usize) -> Option<IpAddr> {
    let seen = forwarded(request.headers(), trusted_proxies);
    let peer = || Some(request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip());
    seen.or_else(peer).map(household)
}

/// Each proxy appends whom it saw, so the last entries are those of our own; anything before them a client may have
/// written itself.
fn forwarded(headers: &HeaderMap, trusted_proxies: usize) -> Option<IpAddr> {
    let before = trusted_proxies.checked_sub(1)?;
    let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let entries: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let entry = entries.iter().rev().nth(before)?;
    let with_port = || entry.parse().map(|address: SocketAddr| address.ip());
    entry.parse().or_else(|_| with_port()).ok()
}

/// One customer has a whole /64 of IPv6 addresses, and must not have as many buckets.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_our_own_proxies_wrote_is_believed() {
        let of = |lines: &[&'static str], proxies| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, axum::http::HeaderValue::from_static(line));
            }
            forwarded(&headers, proxies).map(|address| address.to_string())
        };
        let forged = ["6.6.6.6, 203.0.113.7"];
        assert_eq!(of(&forged, 0), None);
        assert_eq!(of(&forged, 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["6.6.6.6, 203.0.113.7", "10.0.0.1"], 2).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["203.0.113.7:4711"], 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["[2001:db8::1]:4711"], 1).as_deref(), Some("2001:db8::1"));
        // Fewer proxies than there should be, or nonsense: the peer counts.
        assert_eq!(of(&["203.0.113.7"], 2), None);
        assert_eq!(of(&["203.0.113.7, "], 1), None);
        assert_eq!(of(&[], 1), None);
    }

    #[test]
    fn a_household_has_one_bucket() {
        let of = |text: &str| household(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(of("203.0.113.7"), "203.0.113.7");
    }
}
