//! The keys that verify tokens: fetching, caching, rotation, failures.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use gcloud_emulator::{
    Fault,
    identity::{Issuer, Signing},
};
use mediaforge::identity::{Firebase, IdentityError, TokenError};
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::{PROJECT, Site, changed, claims, keys_at};
use crate::support::TestClock;

const DOWN: Fault = Fault::Refuse(tonic::Code::Unavailable);

fn down(site: &Site) {
    site.google.faults().inject(Issuer::Firebase.path(), DOWN, usize::MAX);
}

#[tokio::test]
async fn a_valid_token_identifies_its_user() {
    let site = Site::open().await;
    assert_eq!(site.users.verify(&site.token("ann")).await.unwrap().as_str(), "ann");
    // Clocks may differ by five minutes.
    for good in
        [json!({ "exp": super::NOON - 299 }), json!({ "iat": super::NOON + 300 }), json!({ "sub": "a".repeat(128) })]
    {
        assert!(site.users.verify(&site.token_of(&changed(&good))).await.is_ok(), "{good}");
    }
    assert_eq!(site.fetches(), 1);
}

#[tokio::test]
async fn a_token_expires_after_an_hour() {
    let site = Site::open().await;
    let token = site.token("ann");
    site.clock.advance_ms(3_600_000 + 299_000);
    assert_eq!(site.get("/credits", &token).await.status, 200);
    site.clock.advance_ms(1_000);
    site.get("/credits", &token).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn an_unusable_uid_is_refused_with_its_own_code() {
    let site = Site::open().await;
    for uid in ["../ann", "ann/bob", ".ann", "änn", "a b"] {
        let problem = site.get("/credits", &site.token(uid)).await.problem(403, "unusable_user");
        assert!(problem["detail"].as_str().unwrap().contains("letters, digits"), "{problem}");
    }
}

#[tokio::test]
async fn anonymous_users_are_refused_by_default() {
    let site = Site::open().await;
    let token = site.token_of(&changed(&json!({ "firebase": { "sign_in_provider": "anonymous" } })));
    let problem = site.get("/credits", &token).await.problem(403, "unusable_user");
    assert!(problem["detail"].as_str().unwrap().contains("sign in"), "{problem}");
    assert!(site.users.verify(&token).await.is_err());
    assert!(site.users.allowing_anonymous(true).verify(&token).await.is_ok());
}

#[tokio::test]
async fn new_keys_work_at_once_and_withdrawn_keys_expire() {
    let site = Site::open().await;
    let old = site.token("ann");
    assert!(site.users.verify(&old).await.is_ok());
    site.google.identity().rotate(Issuer::Firebase, true);
    let new = site.token("ann");
    assert!(site.users.verify(&new).await.is_ok(), "an unknown key id causes a fetch");
    assert!(site.users.verify(&old).await.is_ok(), "still published");
    assert_eq!(site.fetches(), 2);
    site.google.identity().rotate(Issuer::Firebase, false);
    assert!(site.users.verify(&new).await.is_ok(), "cached for the lifetime of the response");
    site.clock.advance_ms(3_600_000);
    assert_eq!(site.users.verify(&new).await, Err(TokenError::UnknownKey.into()));
    assert!(site.users.verify(&site.token("ann")).await.is_ok());
    assert_eq!(site.fetches(), 3);
}

#[tokio::test]
async fn old_keys_stay_valid_while_a_fetch_fails() {
    let site = Site::open().await;
    let token = site.token_of(&changed(&json!({ "exp": super::NOON + 1_000_000 })));
    assert!(site.users.verify(&token).await.is_ok());
    down(&site);
    for _ in 0..20 {
        site.clock.advance_ms(3_600_000);
        assert!(site.users.verify(&token).await.is_ok());
    }
    // A token with a key id that may be new gets 503 instead of 401.
    site.google.identity().rotate(Issuer::Firebase, true);
    let new = site.token_of(&changed(&json!({ "exp": super::NOON + 1_000_000 })));
    let problem = site.get("/credits", &new).await.problem(503, "sign_in_unavailable");
    assert_eq!(problem["retryable"], true);
    site.google.faults().clear();
    site.clock.advance_ms(60_000);
    assert!(site.users.verify(&new).await.is_ok());
}

#[tokio::test]
async fn without_keys_the_response_is_503() {
    let site = Site::open().await;
    down(&site);
    let token = site.token("ann");
    for _ in 0..10 {
        let answer = site.get("/credits", &token).await;
        answer.problem(503, "sign_in_unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(usize::MAX - site.google.faults().pending(), 1, "one attempt, then a pause");
    // A malformed token is refused without keys.
    site.get("/credits", "garbage").await.problem(401, "unauthorized");
    site.google.faults().clear();
    site.clock.advance_ms(1_000);
    assert_eq!(site.get("/credits", &token).await.status, 200);
}

#[tokio::test]
async fn unknown_key_ids_cause_one_fetch_a_minute() {
    let site = Site::open().await;
    assert!(site.users.verify(&site.token("ann")).await.is_ok());
    let storm = async |from: u32| {
        let tokens = (from..from + 50).map(|n| {
            let header = json!({ "alg": "RS256", "kid": format!("made-up-{n}") });
            site.signed(&header, &claims("ann"), Signing::Stranger)
        });
        let tokens: Vec<_> = tokens.collect();
        for refused in join_all(tokens.iter().map(|token| site.users.verify(token))).await {
            assert_eq!(refused, Err(TokenError::UnknownKey.into()));
        }
    };
    storm(0).await;
    assert_eq!(site.fetches(), 2);
    site.clock.advance_ms(59_000);
    storm(50).await;
    assert_eq!(site.fetches(), 2);
    site.clock.advance_ms(1_000);
    storm(100).await;
    assert_eq!(site.fetches(), 3);
}

#[tokio::test]
async fn a_hundred_concurrent_requests_cause_one_fetch() {
    let site = Site::open().await;
    let token = site.token_of(&changed(&json!({ "exp": super::NOON + 1_000_000 })));
    let slow = Fault::Delay(Duration::from_millis(200));
    for round in 1..=3 {
        site.google.faults().inject(Issuer::Firebase.path(), slow, 1);
        let answers = join_all((0..100).map(|_| site.get("/credits", &token))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(site.fetches(), round);
        // In the next round, the keys are stale.
        site.clock.advance_ms(3_600_000);
    }
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_stop_a_shared_fetch() {
    let site = Site::open().await;
    let token = site.token("ann");
    site.google.faults().inject(Issuer::Firebase.path(), Fault::Delay(Duration::from_millis(200)), 1);
    let mut first = Box::pin(site.get("/credits", &token));
    assert!(futures::poll!(first.as_mut()).is_pending());
    drop(first);
    assert_eq!(site.get("/credits", &token).await.status, 200);
    assert_eq!(site.fetches(), 1);
}

#[tokio::test]
async fn an_invalid_key_set_changes_nothing() {
    let site = Site::open().await;
    let (server, clock) = (MockServer::start().await, Arc::new(TestClock::new()));
    let users = Firebase::new(PROJECT, keys_at(&server.uri(), &clock), clock.clone());
    let token = site.token_of(&changed(&json!({ "exp": super::NOON + 1_000_000 })));
    let good = ResponseTemplate::new(200).set_body_json(site.google.identity().key_set(Issuer::Firebase));
    let huge = format!("{{\"keys\":[{}]}}", " ".repeat(300 << 10));
    let elsewhere = format!("{}{}", site.google.url(), Issuer::Firebase.path());
    let wrong = || {
        [
            ResponseTemplate::new(200).set_body_string("<html>"),
            ResponseTemplate::new(200).set_body_string("{\"keys\":[]}"),
            ResponseTemplate::new(200).set_body_string(huge.clone()),
            ResponseTemplate::new(500),
            ResponseTemplate::new(204),
            ResponseTemplate::new(302).insert_header("location", elsewhere.as_str()),
        ]
    };
    let answer = async |response: ResponseTemplate| {
        server.reset().await;
        Mock::given(any()).respond_with(response).mount(&server).await;
        // Longer than any pause and any lifetime.
        clock.advance_ms(86_400_000 / 10);
        users.verify(&token).await
    };
    for response in wrong() {
        let refused = answer(response).await;
        assert!(matches!(refused, Err(IdentityError::KeysUnavailable { .. })), "{refused:?}");
    }
    assert!(answer(good).await.is_ok());
    for response in wrong() {
        assert!(answer(response).await.is_ok(), "with the old keys");
    }
    assert_eq!(site.fetches(), 0, "redirects are not followed");
}
