//! Signs tokens: with Google's key for service accounts and Firebase's key for users, both published like the real ones.

mod forge;
mod key;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::header, response::IntoResponse, routing::get};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use forge::Signing;
use key::Key;

/// How long a token lives, in seconds.
const LIFETIME: i64 = 3600;
/// A cached token that expires sooner than this is not used again, in seconds.
const SPARE: i64 = 300;

/// The owner of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Issuer {
    /// `https://accounts.google.com`: pushes and other service accounts.
    Google,
    /// `https://securetoken.google.com/PROJECT`: users.
    Firebase,
}

/// The keys, their published key sets, and the tokens they sign. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Identity(Arc<Mutex<Keys>>);

#[derive(Debug)]
struct Keys {
    google: Published,
    firebase: Published,
    max_age: Duration,
    /// Tokens of pushes by email and audience, with the signing key and the second of expiry.
    tokens: HashMap<(String, String), (String, i64, String)>,
}

#[derive(Debug)]
struct Published {
    /// The last key signs.
    keys: Vec<Arc<Key>>,
    fetches: usize,
}

impl Default for Keys {
    fn default() -> Self {
        let [google, firebase, _] = Key::first().clone();
        let published = |key| Published { keys: vec![key], fetches: 0 };
        let (google, firebase) = (published(google), published(firebase));
        Self { google, firebase, max_age: Duration::from_hours(1), tokens: HashMap::new() }
    }
}

impl Keys {
    fn of(&mut self, issuer: Issuer) -> &mut Published {
        match issuer {
            Issuer::Google => &mut self.google,
            Issuer::Firebase => &mut self.firebase,
        }
    }
}

impl Issuer {
    /// The path of its key set.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Google => "/oauth2/v3/certs",
            Self::Firebase => "/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
        }
    }
}

impl Identity {
    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .route(
                Issuer::Google.path(),
                get(|State(identity): State<Self>| async move { identity.serve(Issuer::Google) }),
            )
            .route(
                Issuer::Firebase.path(),
                get(|State(identity): State<Self>| async move { identity.serve(Issuer::Firebase) }),
            )
            .with_state(self.clone())
    }

    /// A service account's token. `claims` override Google's claims; null removes a claim.
    pub fn google_token(&self, claims: &Value) -> String {
        let defaults = service_claims("push@project.iam.gserviceaccount.com", "https://example.com", now());
        self.issue(Issuer::Google, &merged(defaults, claims))
    }

    /// A user's token for a project, with `extra` claims.
    pub fn firebase_token(&self, project: &str, uid: &str, extra: &Value) -> String {
        let now = now();
        let claims = json!({
            "iss": format!("https://securetoken.google.com/{project}"), "aud": project, "sub": uid, "user_id": uid,
            "auth_time": now, "iat": now, "exp": now + LIFETIME,
            "firebase": { "identities": {}, "sign_in_provider": "password" },
        });
        self.issue(Issuer::Firebase, &merged(claims, extra))
    }

    /// The token that a push carries: one for each account and audience, until it nearly expires or the key changes.
    pub(crate) fn push_token(&self, email: &str, audience: &str) -> String {
        self.push_token_at(email, audience, now())
    }

    fn push_token_at(&self, email: &str, audience: &str, now: i64) -> String {
        let kid = self.kid(Issuer::Google);
        let name = (email.to_owned(), audience.to_owned());
        let cached = self.lock().tokens.get(&name).cloned();
        if let Some((_, _, token)) = cached.filter(|(signer, ends, _)| *signer == kid && now + SPARE < *ends) {
            return token;
        }
        let token = self.issue(Issuer::Google, &service_claims(email, audience, now));
        self.lock().tokens.insert(name, (kid, now + LIFETIME, token.clone()));
        token
    }

    /// Makes a new signing key. The old keys stay published, or are withdrawn.
    pub fn rotate(&self, issuer: Issuer, keep_old: bool) {
        let key = Arc::new(Key::new());
        let mut keys = self.lock();
        let published = keys.of(issuer);
        if !keep_old {
            published.keys.clear();
        }
        published.keys.push(key);
    }

    /// The id of the signing key.
    pub fn kid(&self, issuer: Issuer) -> String {
        self.key(issuer).kid.clone()
    }

    /// The public part of the signing key, as PEM (`SubjectPublicKeyInfo`).
    pub fn public_key_pem(&self, issuer: Issuer) -> String {
        self.key(issuer).public_pem.clone()
    }

    /// The key set as it is published.
    pub fn key_set(&self, issuer: Issuer) -> Value {
        let keys = self.lock().of(issuer).keys.clone();
        let keys: Vec<_> = keys.iter().map(|key| key.to_jwk()).collect();
        json!({ "keys": keys })
    }

    /// How many times the key set was fetched.
    pub fn fetches(&self, issuer: Issuer) -> usize {
        self.lock().of(issuer).fetches
    }

    /// Sets the `max-age` of the key sets in `Cache-Control`; one hour by default.
    pub fn set_max_age(&self, max_age: Duration) {
        self.lock().max_age = max_age;
    }

    /// A service account's key file with Google's key, in the format of the client libraries. It signs URLs in tests.
    pub fn service_account_key_json(&self, email: &str) -> Value {
        let key = self.key(Issuer::Google);
        let project = email.split_once('@').and_then(|(_, host)| host.split('.').next()).unwrap_or("project");
        json!({
            "type": "service_account", "project_id": project, "private_key_id": key.kid,
            "private_key": key.private_pem, "client_email": email, "client_id": SUBJECT,
            "auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": "https://oauth2.googleapis.com/token",
        })
    }

    fn issue(&self, issuer: Issuer, claims: &Value) -> String {
        let header = json!({ "alg": "RS256", "kid": self.kid(issuer), "typ": "JWT" });
        self.sign(&header, claims, Signing::By(issuer))
    }

    fn key(&self, issuer: Issuer) -> Arc<Key> {
        let mut keys = self.lock();
        let signer = keys.of(issuer).keys.last().cloned();
        signer.unwrap_or_else(|| Arc::clone(&Key::first()[0]))
    }

    fn serve(&self, issuer: Issuer) -> impl IntoResponse + use<> {
        let set = self.key_set(issuer);
        let mut keys = self.lock();
        keys.of(issuer).fetches += 1;
        let age = format!("public, max-age={}, must-revalidate, no-transform", keys.max_age.as_secs());
        ([(header::CACHE_CONTROL, age)], Json(set))
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numeric id of a service account.
const SUBJECT: &str = "113774264463038321964";

fn service_claims(email: &str, audience: &str, now: i64) -> Value {
    json!({
        "aud": audience, "azp": SUBJECT, "email": email, "email_verified": true, "exp": now + LIFETIME, "iat": now,
        "iss": "https://accounts.google.com", "sub": SUBJECT,
    })
}

/// `defaults` overridden by `claims`; null removes a claim.
fn merged(mut defaults: Value, claims: &Value) -> Value {
    if let (Value::Object(all), Value::Object(claims)) = (&mut defaults, claims) {
        all.extend(claims.clone());
        all.retain(|_, value| !value.is_null());
    }
    defaults
}

#[expect(clippy::disallowed_methods, reason = "the emulator is the clock of its clients")]
fn now() -> i64 {
    Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_token_is_shared_until_it_is_nearly_over_or_the_key_changes() {
        let identity = Identity::default();
        let token = |audience, second| identity.push_token_at("push@example.com", audience, second);
        let first = token("worker", 1000);
        assert_eq!(token("worker", 1000 + LIFETIME - SPARE - 1), first);
        assert_ne!(token("sweeper", 1001), first);

        let second = token("worker", 1000 + LIFETIME - SPARE);
        assert_ne!(second, first);

        identity.rotate(Issuer::Google, true);
        assert_ne!(token("worker", 1001 + LIFETIME - SPARE), second);
    }
}
