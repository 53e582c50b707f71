//! Callers that sign in: valid tokens and what they give access to.

mod addresses;
mod callers;
mod forged;
mod keys;

use std::{sync::Arc, time::Duration};

use gcloud_emulator::{
    Emulator,
    identity::{Issuer, Signing},
};
use mediaforge::{
    gateway::{Auth, FirebaseAuth, GatewayLimits, GatewaySettings},
    identity::{Firebase, KeySet, PathTokens},
};
use serde_json::{Value, json};

use crate::support::{Response, TestClock, World, settings, world_with};

/// The project whose users may call.
const PROJECT: &str = "forge-test";
/// 2026-03-01T12:00:00Z, the time of the test clocks.
const NOON: i64 = 1_772_366_400;
const STREAM_KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A gateway whose callers sign in, and the issuer of their tokens.
struct Site {
    world: World,
    google: Emulator,
    clock: Arc<TestClock>,
    /// A verifier with the gateway's keys, whose errors tell the cause.
    users: Firebase,
}

impl Site {
    async fn open() -> Self {
        Self::with(GatewayLimits::default()).await
    }

    async fn with(limits: GatewayLimits) -> Self {
        let google = Emulator::start().await.unwrap();
        let clock = Arc::new(TestClock::new());
        let keys = keys_at(&format!("{}{}", google.url(), Issuer::Firebase.path()), &clock);
        let firebase = FirebaseAuth {
            users: Firebase::new(PROJECT, keys.clone(), clock.clone()),
            paths: PathTokens::new(STREAM_KEY, Duration::from_mins(5), clock.clone()),
        };
        let world = world_with(GatewaySettings { auth: Auth::Firebase(Arc::new(firebase)), limits, ..settings() });
        Self { world, google, users: Firebase::new(PROJECT, keys, clock.clone()), clock }
    }

    /// The user's token, valid from 12:00 to 13:00.
    fn token(&self, uid: &str) -> String {
        self.token_of(&claims(uid))
    }

    fn token_of(&self, claims: &Value) -> String {
        self.signed(&self.header(), claims, Signing::By(Issuer::Firebase))
    }

    fn header(&self) -> Value {
        json!({ "alg": "RS256", "kid": self.google.identity().kid(Issuer::Firebase), "typ": "JWT" })
    }

    fn signed(&self, header: &Value, claims: &Value, signing: Signing<'_>) -> String {
        self.google.identity().sign(header, claims, signing)
    }

    fn fetches(&self) -> usize {
        self.google.identity().fetches(Issuer::Firebase)
    }

    async fn get(&self, path: &str, token: &str) -> Response {
        self.world.get_with(path, &[("authorization", &format!("Bearer {token}"))]).await
    }

    async fn generate(&self, body: &Value, token: &str) -> Response {
        self.world.generate_with(body, &[("authorization", &format!("Bearer {token}"))]).await
    }

    /// Submits a job as this user.
    async fn job_of(&self, uid: &str) -> String {
        let answer = self.generate(&json!({ "prompt": "a lighthouse at dawn" }), &self.token(uid)).await;
        assert_eq!(answer.status, 202, "{}", answer.json());
        answer.json()["illustrationId"].as_str().unwrap().to_owned()
    }
}

fn keys_at(url: &str, clock: &Arc<TestClock>) -> KeySet {
    KeySet::new(url.parse().unwrap(), clock.clone()).unwrap()
}

/// The claims of a user that signed in at noon.
fn claims(uid: &str) -> Value {
    json!({
        "iss": format!("https://securetoken.google.com/{PROJECT}"), "aud": PROJECT, "sub": uid, "user_id": uid,
        "auth_time": NOON, "iat": NOON, "exp": NOON + 3600, "email": "ann@example.com", "email_verified": true,
        "firebase": { "identities": {}, "sign_in_provider": "password" },
    })
}

/// The claims with some changes; null removes a claim.
fn changed(changes: &Value) -> Value {
    let mut all = claims("ann");
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    all
}
