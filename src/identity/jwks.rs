//! The public keys of a token's issuer, fetched and kept.

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

/// How long a fetch may take in all.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a key set, at most; Google's have about two thousand.
const LONGEST: usize = 256 << 10;
/// Keys of a set, at most; Google's have two to four.
const MOST_KEYS: usize = 100;
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// How long keys are good for, whatever `Cache-Control` says: not so short that every request fetches, and not so long
/// that a key that was withdrawn is believed for days.
const SHORTEST_AGE: Duration = Duration::from_mins(1);
const LONGEST_AGE: Duration = Duration::from_hours(24);
/// The same where it says nothing.
const DEFAULT_AGE: Duration = Duration::from_hours(1);
/// How often a key that nobody knows is looked for: a client who makes names up causes no more fetches than this.
const SEARCH_EVERY: Duration = Duration::from_mins(1);
/// The pause after a failed fetch; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The RSA keys at one address, for the whole process: clones share them.
///
/// Fetched when first needed and again when their time is over. While that fails the old ones are good; while one task
/// fetches, others use the old ones, or wait where there are none.
#[derive(Clone)]
pub struct KeySet(Arc<Inner>);

struct Inner {
    url: Url,
    client: Client,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    /// Held by the one task that fetches.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Kept {
    /// By their ids; empty: none were ever had.
    keys: HashMap<String, DecodingKey>,
    fresh_until: Option<Timestamp>,
    /// When an unknown key was last looked for.
    searched_at: Option<Timestamp>,
    /// Fetches that failed since the last that did not.
    failures: u32,
    retry_at: Option<Timestamp>,
}

/// What is known of a key before anything is fetched.
enum Known {
    /// It is good.
    Good(DecodingKey),
    /// The keys should be fetched; until then this old one is good.
    Old(DecodingKey),
    /// The keys must be fetched to tell.
    Untold,
    /// There is none.
    Unknown,
    /// Nobody can tell before then.
    Unavailable(Duration),
}

impl From<Known> for Result<DecodingKey, IdentityError> {
    fn from(known: Known) -> Self {
        match known {
            Known::Good(key) | Known::Old(key) => Ok(key),
            Known::Unavailable(retry_after) => Err(IdentityError::KeysUnavailable { retry_after }),
            // Whoever still cannot tell has fetched this instant: it is not among them.
            Known::Unknown | Known::Untold => Err(TokenError::UnknownKey.into()),
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySet").field(&self.0.url.as_str()).finish()
    }
}

impl KeySet {
    /// The JSON Web Key Set (RFC 7517) at this address. Nothing is fetched yet.
    pub fn new(url: Url, clock: Arc<dyn Clock>) -> reqwest::Result<Self> {
        let client = crate::http::client()?;
        Ok(Self(Arc::new(Inner { url, client, clock, kept: Mutex::default(), fetching: Arc::default() })))
    }

    /// The key of this id.
    pub(super) async fn key(&self, kid: &str) -> Result<DecodingKey, IdentityError> {
        let fetching = Arc::clone(&self.0.fetching);
        let permit = match (self.known(kid), Arc::clone(&fetching).try_lock_owned()) {
            (Known::Old(_) | Known::Untold, Ok(permit)) => permit,
            (Known::Untold, Err(_)) => fetching.lock_owned().await,
            (known, _) => return known.into(),
        };
        // Another task may have fetched them while this one waited for its permit.
        match self.known(kid) {
            Known::Old(_) | Known::Untold => {}
            known => return known.into(),
        }
        // A task of its own: a client who hangs up must not undo what others wait for.
        let fetch = self.clone().fetch(permit).in_current_span();
        if tokio::spawn(fetch).await.is_err() {
            // The process is ending.
            return Err(IdentityError::KeysUnavailable { retry_after: FIRST_PAUSE });
        }
        self.known(kid).into()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing under this lock can leave it half changed.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, kid: &str) -> Known {
        let now = self.0.clock.now();
        let kept = self.kept();
        let is_fresh = kept.fresh_until.is_some_and(|until| now < until);
        let left = |at: Option<Timestamp>| at.map(|at| until(now, at)).filter(|left| !left.is_zero());
        let pause = left(kept.retry_at);
        let searched = left(kept.searched_at.map(|at| after(at, SEARCH_EVERY)));
        match (kept.keys.get(kid), is_fresh) {
            (Some(key), _) if is_fresh || pause.is_some() => Known::Good(key.clone()),
            (Some(key), _) => Known::Old(key.clone()),
            (None, false) => pause.map_or(Known::Untold, Known::Unavailable),
            (None, true) => match searched {
                None => Known::Untold,
                // The search failed: it may well be a new key.
                Some(left) if kept.failures > 0 => Known::Unavailable(left),
                Some(_) => Known::Unknown,
            },
        }
    }

    async fn fetch(self, permit: OwnedMutexGuard<()>) {
        {
            let now = self.0.clock.now();
            let mut kept = self.kept();
            if kept.fresh_until.is_some_and(|until| now < until) {
                kept.searched_at = Some(now);
            }
        }
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.download()).await.unwrap_or(Err(FetchError::Slow));
        let now = self.0.clock.now();
        let mut kept = self.kept();
        match fetched {
            Ok((keys, age)) => {
                tracing::debug!(url = %self.0.url, keys = keys.len(), seconds = age.as_secs(), "keys fetched");
                kept.keys = keys;
                kept.fresh_until = Some(after(now, age));
                (kept.failures, kept.retry_at) = (0, None);
            }
            Err(error) => {
                let had = kept.keys.len();
                kept.retry_at = Some(after(now, doubled(FIRST_PAUSE, kept.failures, LONGEST_PAUSE)));
                kept.failures = kept.failures.saturating_add(1);
                let error = &error as &dyn std::error::Error;
                tracing::warn!(url = %self.0.url, error, old_keys = had, "the keys of tokens cannot be fetched");
            }
        }
        drop(kept);
        drop(permit);
    }

    async fn download(&self) -> Result<(HashMap<String, DecodingKey>, Duration), FetchError> {
        let response = self.0.client.get(self.0.url.clone()).header(header::ACCEPT, "application/json").send().await?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let age = age(response.headers());
        let keys = keys(&body(response).await?)?;
        Ok((keys, age))
    }
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer in time")]
    Slow,
    #[error("no answer")]
    Http(#[from] reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(u16),
    #[error("the answer is longer than a key set")]
    TooLong,
    #[error("the answer is no key set")]
    Json(#[from] serde_json::Error),
    #[error("the answer has no RSA key to verify RS256 with")]
    NoKeys,
}

async fn body(mut response: Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LONGEST {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The keys that RS256 can be verified with; others in the set are passed over, as RFC 7517 §5 says.
fn keys(body: &[u8]) -> Result<HashMap<String, DecodingKey>, FetchError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let Set { keys } = serde_json::from_slice(body)?;
    let keys: HashMap<_, _> = keys.iter().take(MOST_KEYS).filter_map(key).collect();
    if keys.is_empty() { Err(FetchError::NoKeys) } else { Ok(keys) }
}

fn key(jwk: &Value) -> Option<(String, DecodingKey)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let fits = |name: &str, wanted: &str| text(name).is_none_or(|is| is == wanted);
    let kid = text("kid").filter(|kid| !kid.is_empty())?;
    if text("kty") != Some("RSA") || !fits("alg", "RS256") || !fits("use", "sig") {
        return None;
    }
    let (modulus, exponent) = (text("n")?, text("e")?);
    // Four characters of base64 are three bytes.
    if !MODULUS_BYTES.contains(&(modulus.len() * 3 / 4)) {
        return None;
    }
    Some((kid.to_owned(), DecodingKey::from_rsa_components(modulus, exponent).ok()?))
}

/// How long the answer says it is good for, less the time it has lain in caches on its way.
fn age(headers: &HeaderMap) -> Duration {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives: Vec<_> = lines.flat_map(|line| line.split(',')).map(|it| it.trim().to_ascii_lowercase()).collect();
    if directives.iter().any(|it| it == "no-store" || it == "no-cache") {
        return SHORTEST_AGE;
    }
    let most = directives.iter().find_map(|it| it.strip_prefix("max-age=")?.trim_matches('"').parse().ok());
    let past = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
    let age = most.map_or(DEFAULT_AGE, |most: u64| Duration::from_secs(most.saturating_sub(past)));
    age.clamp(SHORTEST_AGE, LONGEST_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_good_for_as_long_as_their_answer_says_within_reason() {
        let of = |control: Option<&'static str>, past: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            control.map(|it| headers.append(header::CACHE_CONTROL, http::HeaderValue::from_static(it)));
            past.map(|it| headers.append(header::AGE, http::HeaderValue::from_static(it)));
            age(&headers).as_secs()
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
    fn only_keys_for_this_algorithm_are_taken() {
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
