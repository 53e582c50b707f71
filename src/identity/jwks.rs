//! Fetches and caches the public keys of a token issuer.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, header};
use jsonwebtoken::DecodingKey;
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use tracing::Instrument as _;
use url::Url;

use super::{IdentityError, TokenError};
use crate::domain::{
    Timestamp,
    clock::{Clock, after, until},
    retry::doubled,
};

/// The total time for one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a key set in bytes; Google's have about 2000.
const MAX_BYTES: usize = 256 << 10;
/// The maximum number of keys; Google's sets have two to four.
const MAX_KEYS: usize = 100;
/// The size of an RSA modulus in bytes: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Bounds of a key set's lifetime, whatever `Cache-Control` says: long enough that not every request fetches, and short
/// enough that a withdrawn key is not accepted for days.
const MIN_LIFETIME: Duration = Duration::from_mins(1);
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// The lifetime without `Cache-Control`.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(1);
/// The minimum interval between fetches for an unknown key id, so that a client with invented ids cannot cause more.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_mins(1);
/// The pause after a failed fetch. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// The RSA keys at one address, shared by all clones.
///
/// The keys are fetched when first needed, and again when they expire. If a fetch fails, the old keys stay valid. While one
/// task fetches, other tasks use the old keys, or wait if there are none.
#[derive(Clone)]
pub struct KeySet(Arc<Inner>);

struct Inner {
    url: Url,
    client: Client,
    clock: Arc<dyn Clock>,
    cache: Mutex<Cache>,
    /// Held by the task that fetches.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Cache {
    /// By key id; empty until the first successful fetch.
    keys: HashMap<String, DecodingKey>,
    fresh_until: Option<Timestamp>,
    /// When an unknown key id last caused a fetch.
    unknown_key_at: Option<Timestamp>,
    /// Consecutive failed fetches.
    failures: u32,
    retry_at: Option<Timestamp>,
}

/// The result of looking up a key in the cache.
enum KeyLookup {
    /// The key is valid.
    Fresh(DecodingKey),
    /// The key is valid until new keys are fetched, which is due.
    Stale(DecodingKey),
    /// The keys must be fetched first.
    FetchRequired,
    /// The issuer has no such key.
    Unknown,
    /// The last fetch failed; the next one is due after this time.
    Unavailable(Duration),
}

impl From<KeyLookup> for Result<DecodingKey, IdentityError> {
    fn from(lookup: KeyLookup) -> Self {
        match lookup {
            KeyLookup::Fresh(key) | KeyLookup::Stale(key) => Ok(key),
            KeyLookup::Unavailable(retry_after) => Err(IdentityError::KeysUnavailable { retry_after }),
            // A fetch has just finished, and the key is not among the fetched ones.
            KeyLookup::Unknown | KeyLookup::FetchRequired => Err(TokenError::UnknownKey.into()),
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySet").field(&self.0.url.as_str()).finish()
    }
}

impl KeySet {
    /// The JSON Web Key Set (RFC 7517) at this address. It is not fetched yet.
    pub fn new(url: Url, clock: Arc<dyn Clock>) -> reqwest::Result<Self> {
        let client = crate::http::client()?;
        Ok(Self(Arc::new(Inner { url, client, clock, cache: Mutex::default(), fetching: Arc::default() })))
    }

    /// The key with this id.
    pub(super) async fn key(&self, kid: &str) -> Result<DecodingKey, IdentityError> {
        let fetching = Arc::clone(&self.0.fetching);
        let permit = match (self.lookup(kid), Arc::clone(&fetching).try_lock_owned()) {
            (KeyLookup::Stale(_) | KeyLookup::FetchRequired, Ok(permit)) => permit,
            (KeyLookup::FetchRequired, Err(_)) => fetching.lock_owned().await,
            (lookup, _) => return lookup.into(),
        };
        // Another task may have fetched the keys while this one waited for the lock.
        match self.lookup(kid) {
            KeyLookup::Stale(_) | KeyLookup::FetchRequired => {}
            lookup => return lookup.into(),
        }
        // A separate task, so that a client that disconnects does not cancel the fetch for the others.
        let fetch = self.clone().fetch(permit).in_current_span();
        if tokio::spawn(fetch).await.is_err() {
            // The process is ending.
            return Err(IdentityError::KeysUnavailable { retry_after: FIRST_PAUSE });
        }
        self.lookup(kid).into()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // A panic under this lock cannot leave the cache half changed.
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lookup(&self, kid: &str) -> KeyLookup {
        let now = self.0.clock.now();
        let cache = self.cache();
        let is_fresh = cache.fresh_until.is_some_and(|until| now < until);
        let left = |at: Option<Timestamp>| at.map(|at| until(now, at)).filter(|left| !left.is_zero());
        let pause = left(cache.retry_at);
        let interval = left(cache.unknown_key_at.map(|at| after(at, UNKNOWN_KEY_INTERVAL)));
        match (cache.keys.get(kid), is_fresh) {
            (Some(key), _) if is_fresh || pause.is_some() => KeyLookup::Fresh(key.clone()),
            (Some(key), _) => KeyLookup::Stale(key.clone()),
            (None, false) => pause.map_or(KeyLookup::FetchRequired, KeyLookup::Unavailable),
            (None, true) => match interval {
                None => KeyLookup::FetchRequired,
                // The fetch failed, so it may be a new key.
                Some(left) if cache.failures > 0 => KeyLookup::Unavailable(left),
                Some(_) => KeyLookup::Unknown,
            },
        }
    }

    async fn fetch(self, permit: OwnedMutexGuard<()>) {
        {
            let now = self.0.clock.now();
            let mut cache = self.cache();
            if cache.fresh_until.is_some_and(|until| now < until) {
                cache.unknown_key_at = Some(now);
            }
        }
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.download()).await.unwrap_or(Err(FetchError::Timeout));
        let now = self.0.clock.now();
        let mut cache = self.cache();
        match fetched {
            Ok((keys, lifetime)) => {
                tracing::debug!(url = %self.0.url, keys = keys.len(), seconds = lifetime.as_secs(), "keys fetched");
                cache.keys = keys;
                cache.fresh_until = Some(after(now, lifetime));
                (cache.failures, cache.retry_at) = (0, None);
            }
            Err(error) => {
                let old_keys = cache.keys.len();
                cache.retry_at = Some(after(now, doubled(FIRST_PAUSE, cache.failures, MAX_PAUSE)));
                cache.failures = cache.failures.saturating_add(1);
                let error = &error as &dyn std::error::Error;
                tracing::warn!(url = %self.0.url, error, old_keys, "the keys that verify tokens cannot be fetched");
            }
        }
        drop(cache);
        drop(permit);
    }

    async fn download(&self) -> Result<(HashMap<String, DecodingKey>, Duration), FetchError> {
        let response = self.0.client.get(self.0.url.clone()).header(header::ACCEPT, "application/json").send().await?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let lifetime = lifetime(response.headers());
        let keys = keys(&body(response).await?)?;
        Ok((keys, lifetime))
    }
}

/// Why the keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the server did not respond in time")]
    Timeout,
    #[error("the request failed")]
    Http(#[from] reqwest::Error),
    #[error("the response has the status {0}")]
    Status(u16),
    #[error("the response is too long for a key set")]
    TooLong,
    #[error("the response is not a key set")]
    Json(#[from] serde_json::Error),
    #[error("the response contains no RSA key for RS256")]
    NoKeys,
}

async fn body(mut response: Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The keys that can verify RS256; other keys are ignored, as RFC 7517 §5 requires.
fn keys(body: &[u8]) -> Result<HashMap<String, DecodingKey>, FetchError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let Set { keys } = serde_json::from_slice(body)?;
    let keys: HashMap<_, _> = keys.iter().take(MAX_KEYS).filter_map(key).collect();
    if keys.is_empty() { Err(FetchError::NoKeys) } else { Ok(keys) }
}

fn key(jwk: &Value) -> Option<(String, DecodingKey)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let allows = |name: &str, expected: &str| text(name).is_none_or(|value| value == expected);
    let kid = text("kid").filter(|kid| !kid.is_empty())?;
    if text("kty") != Some("RSA") || !allows("alg", "RS256") || !allows("use", "sig") {
        return None;
    }
    let (modulus, exponent) = (text("n")?, text("e")?);
    // Four base64 characters encode three bytes.
    if !MODULUS_BYTES.contains(&(modulus.len() * 3 / 4)) {
        return None;
    }
    Some((kid.to_owned(), DecodingKey::from_rsa_components(modulus, exponent).ok()?))
}

/// The lifetime according to `Cache-Control`, less the time (`Age`) that the response has spent in caches.
fn lifetime(headers: &HeaderMap) -> Duration {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives: Vec<_> = lines.flat_map(|line| line.split(',')).map(|it| it.trim().to_ascii_lowercase()).collect();
    if directives.iter().any(|it| it == "no-store" || it == "no-cache") {
        return MIN_LIFETIME;
    }
    let max_age = directives.iter().find_map(|it| it.strip_prefix("max-age=")?.trim_matches('"').parse().ok());
    let past = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
    let lifetime = max_age.map_or(DEFAULT_LIFETIME, |seconds: u64| Duration::from_secs(seconds.saturating_sub(past)));
    lifetime.clamp(MIN_LIFETIME, MAX_LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifetime_of_keys_follows_cache_control_within_bounds() {
        let of = |control: Option<&'static str>, past: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            control.map(|it| headers.append(header::CACHE_CONTROL, http::HeaderValue::from_static(it)));
            past.map(|it| headers.append(header::AGE, http::HeaderValue::from_static(it)));
            lifetime(&headers).as_secs()
        };
        assert_eq!(of(Some("public, max-age=19302, must-revalidate, no-transform"), None), 19302);
        assert_eq!(of(Some("Max-Age=19302"), Some("302")), 19000);
        assert_eq!(of(Some("max-age=5"), None), 60);
        assert_eq!(of(Some("max-age=100"), Some("1000")), 60);
        assert_eq!(of(Some("max-age=31536000"), None), 86400);
        assert_eq!(of(Some("no-store, max-age=19302"), None), 60);
        assert_eq!(of(Some("max-age=soon"), None), 3600);
        assert_eq!(of(None, None), 3600);
    }

    #[test]
    fn only_keys_for_rs256_are_used() {
        let n = "A".repeat(342);
        let small = "A".repeat(100);
        let set = serde_json::json!({ "keys": [
            { "kty": "RSA", "kid": "good", "alg": "RS256", "use": "sig", "n": n, "e": "AQAB" },
            { "kty": "RSA", "kid": "plain", "n": n, "e": "AQAB" },
            { "kty": "RSA", "n": n, "e": "AQAB" },
            { "kty": "RSA", "kid": "", "n": n, "e": "AQAB" },
            { "kty": "RSA", "kid": "encrypts", "use": "enc", "n": n, "e": "AQAB" },
            { "kty": "RSA", "kid": "other", "alg": "RS512", "n": n, "e": "AQAB" },
            { "kty": "RSA", "kid": "small", "n": small, "e": "AQAB" },
            { "kty": "RSA", "kid": "odd", "n": "not base64!".repeat(40), "e": "AQAB" },
            { "kty": "oct", "kid": "secret", "k": "AAAA" },
            { "kty": "EC", "kid": "curve", "crv": "P-256", "x": "AA", "y": "AA" },
            "nonsense", 7, null
        ]});
        let taken = keys(set.to_string().as_bytes()).expect("keys");
        let mut names: Vec<_> = taken.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["good", "plain"]);
        for none in ["", "<html>", "{}", r#"{"keys":[]}"#, r#"{"keys":[7]}"#] {
            assert!(keys(none.as_bytes()).is_err(), "{none}");
        }
    }
}
