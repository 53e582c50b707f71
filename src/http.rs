//! The one HTTP client, and what every caller of another server shares: a bounded exchange, `Retry-After`, excerpts.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use reqwest::{Client, ClientBuilder, Request, Response};

use crate::error::root_cause;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Characters of another server's text that a message of ours repeats, at most.
const EXCERPT: usize = 300;

/// A client with keep-alive and without redirects, for the whole process: clones share its connections.
///
/// It sets no time limit on a request, because only the caller knows how long an answer may take. Redirects are not
/// followed: a push that is answered 302 was not acknowledged, and a provider does not send its callers elsewhere.
pub fn client() -> reqwest::Result<Client> {
    client_with(|builder| builder)
}

/// The same client with the caller's own settings added.
pub fn client_with(adjust: impl Fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<Client> {
    // reqwest leaves the choice of cryptography to the program. An error means that an earlier call has chosen it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("mediaforge/", env!("CARGO_PKG_VERSION")));
        adjust(builder)
    };
    builder().build().or_else(|error| {
        // A minimal container has no certificate authorities. It can still push to itself over http.
        let client = builder().tls_certs_only([]).build()?;
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "https is not possible on this system, only http; install ca-certificates");
        Ok(client)
    })
}

/// What one exchange may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte sent to the last one received.
    pub timeout: Duration,
    /// Bytes of the response's body.
    pub max_bytes: usize,
}

/// A response, read to its end.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl HttpResponse {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no response. The messages name the host only: the rest of an address can hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The time limit passed. The server may have received the request.
    #[error("{host} did not answer within {after:?}")]
    Timeout {
        /// The server.
        host: String,
        /// The time limit.
        after: Duration,
    },
    /// The body is longer than the limit.
    #[error("{host} answers with more than {limit} bytes")]
    TooLong {
        /// The server.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// There was no connection: the server has not received the request.
    #[error("{host} cannot be reached: {}", root_cause(.source))]
    Unreachable {
        /// The server.
        host: String,
        /// The client's error.
        source: reqwest::Error,
    },
    /// The connection broke. The server may have received the request.
    #[error("{host} broke the connection off: {}", root_cause(.source))]
    Interrupted {
        /// The server.
        host: String,
        /// The client's error.
        source: reqwest::Error,
    },
}

/// Sends a request and reads the whole response, within the limits.
pub async fn exchange(client: &Client, request: Request, limits: Limits) -> Result<HttpResponse, ExchangeError> {
    let host = request.url().host_str().unwrap_or_default().to_owned();
    let failed = |error: reqwest::Error| {
        let (host, source) = (host.clone(), error.without_url());
        if source.is_connect() {
            ExchangeError::Unreachable { host, source }
        } else {
            ExchangeError::Interrupted { host, source }
        }
    };
    let exchanged = async {
        let response = client.execute(request).await.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read(response, limits.max_bytes).await.map_err(|error| match error {
            ReadError::TooLong => ExchangeError::TooLong { host: host.clone(), limit: limits.max_bytes },
            ReadError::Broken(error) => failed(error),
        })?;
        Ok(HttpResponse { status, headers, body })
    };
    tokio::time::timeout(limits.timeout, exchanged)
        .await
        .unwrap_or_else(|_| Err(ExchangeError::Timeout { host: host.clone(), after: limits.timeout }))
}

enum ReadError {
    TooLong,
    Broken(reqwest::Error),
}

async fn read(mut response: Response, limit: usize) -> Result<Bytes, ReadError> {
    let length = response.content_length().unwrap_or(0);
    if length > limit as u64 {
        return Err(ReadError::TooLong);
    }
    // The announced length saves growing, and with it copying, a body of megabytes.
    let mut body = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(ReadError::Broken)? {
        if body.len() + chunk.len() > limit {
            return Err(ReadError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// `Retry-After`, at most an hour. It comes in seconds or as a date; a date is compared with the server's own `Date`, so
/// that no clock has to be right.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let after = header("retry-after")?;
    let wait = if let Ok(seconds) = after.parse() {
        Duration::from_secs(seconds)
    } else {
        let moment = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
        let (until, now) = (moment(after)?, moment(header("date")?)?);
        Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(longest_wait(wait))
}

/// A wait that a server asks for, cut to what it may ask for.
pub fn longest_wait(asked: Duration) -> Duration {
    asked.min(LONGEST_WAIT)
}

/// Another server's text, made fit for a message of ours: one line, without control characters, bounded, without a
/// final period.
pub fn excerpt(text: &str) -> String {
    let is_gap = |c: char| c.is_whitespace() || c.is_control();
    let line = text.split(is_gap).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let mut excerpt: String = line.chars().take(EXCERPT).collect();
    if excerpt.len() < line.len() {
        excerpt.push('…');
    }
    excerpt.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers, and the wait in milliseconds.
    type RetryAfterCase<'a> = (&'a [(&'a str, &'a str)], Option<u64>);

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = ("date", "Tue, 24 Nov 2026 10:00:00 GMT");
        let cases: [RetryAfterCase; 7] = [
            (&[], None),
            (&[("retry-after", "7")], Some(7_000)),
            (&[("retry-after", "Tue, 24 Nov 2026 10:00:30 GMT"), now], Some(30_000)),
            (&[("retry-after", "Tue, 24 Nov 2026 09:00:30 GMT"), now], Some(0)),
            (&[("retry-after", "Tue, 24 Nov 2026 10:00:30 GMT")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "99999999999")], Some(3_600_000)),
        ];
        for (headers, millis) in cases {
            let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(retry_after(&map), millis.map(Duration::from_millis), "{headers:?}");
        }
    }

    #[test]
    fn an_excerpt_is_one_bounded_line() {
        assert_eq!(excerpt("Two\n lines.\u{7}"), "Two lines");
        assert_eq!(excerpt(&"ä".repeat(1000)).chars().count(), EXCERPT + 1);
        assert_eq!(excerpt(""), "");
    }
}
