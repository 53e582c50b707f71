//! Cases that exist only on Google Cloud: tokens, key rotation, lost messages, refusals and lost replies of its services.

use std::time::Duration;

use gcloud_emulator::{
    Fault,
    identity::{Issuer, Signing},
};
use mediaforge::domain::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Code;

use crate::support::{
    Role, System, TIMEOUT, Topology, answer,
    google_cloud::{PROJECT, PUSH_ACCOUNT, SCHEDULER_ACCOUNT},
};

async fn started(environment: &[(&str, &str)]) -> System {
    System::start(Topology::GoogleCloud, environment).await
}

/// The status of the gateway for a request with this token.
async fn credits_with(system: &System, token: &str) -> u16 {
    answer(system.client.get(system.url("/credits")).bearer_auth(token)).await.0
}

/// The status of the worker for a request with this token.
async fn sweep_with(system: &System, token: &str) -> u16 {
    answer(system.client.post(format!("{}/sweep", system.worker)).bearer_auth(token)).await.0
}

fn now() -> i64 {
    SystemClock.now().as_second()
}

fn claims(user: &str) -> Value {
    json!({
        "iss": format!("https://securetoken.google.com/{PROJECT}"), "aud": PROJECT, "sub": user, "user_id": user,
        "auth_time": now(), "iat": now(), "exp": now() + 3600,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_valid_token_are_refused() {
    let system = started(&[]).await;
    let identity = system.cloud().emulator.identity();
    assert_eq!(credits_with(&system, &system.cloud().user_token("ada")).await, 200);
    assert_eq!(answer(system.client.get(system.url("/credits"))).await.0, 401);

    let header = json!({ "alg": "RS256", "kid": identity.kid(Issuer::Firebase), "typ": "JWT" });
    let none = json!({ "alg": "none", "typ": "JWT" });
    for (what, token) in [
        ("expired", identity.firebase_token(PROJECT, "ada", &json!({ "iat": now() - 7200, "exp": now() - 3600 }))),
        ("of another project", identity.firebase_token("another-project", "ada", &json!({}))),
        ("without a signature", identity.sign(&none, &claims("ada"), Signing::Written(""))),
        ("signed by a stranger", identity.sign(&header, &claims("ada"), Signing::Stranger)),
        ("a service account's", system.cloud().service_token(PUSH_ACCOUNT, &json!({}))),
    ] {
        assert_eq!(credits_with(&system, &token).await, 401, "{what}");
        let body = json!({ "prompt": "a cat", "width": 256, "height": 256 });
        let submit = system.client.post(system.url("/generate")).bearer_auth(&token).json(&body);
        assert_eq!(answer(submit).await.0, 401, "{what}");
    }
    assert!(system.cloud().emulator.firestore().documents("illustrations").is_empty(), "nothing was written");

    let service = |claims| system.cloud().service_token(SCHEDULER_ACCOUNT, &claims);
    assert_eq!(sweep_with(&system, &service(json!({}))).await, 200);
    assert_eq!(answer(system.client.post(format!("{}/sweep", system.worker))).await.0, 401);
    for (what, token) in [
        ("expired", service(json!({ "iat": now() - 7200, "exp": now() - 3600 }))),
        ("for another audience", service(json!({ "aud": "https://example.com" }))),
        ("with an unverified email", service(json!({ "email_verified": false }))),
        ("of a stranger", service(json!({ "email": "eve@elsewhere.iam.gserviceaccount.com" }))),
        ("a user's", system.cloud().user_token("ada")),
    ] {
        let status = sweep_with(&system, &token).await;
        assert!(matches!(status, 401 | 403), "{what}: {status}");
    }
    // The log contains the reason, but never the token.
    assert!(!system.logs().contains("eyJ"), "{}", system.logs());
    // The log contains no lines of libraries with paths of the build machine.
    assert!(!system.logs().contains("cargo/registry"), "{}", system.logs());
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_does_not_interrupt_service() {
    let system = started(&[]).await;
    let identity = system.cloud().emulator.identity();
    let before = system.cloud().user_token("ada");
    let id = system.submit("ada", "a cat").await;
    assert_eq!(system.finished("ada", &id).await["status"], "completed");
    let fetches = [Issuer::Firebase, Issuer::Google].map(|issuer| identity.fetches(issuer));

    // Tokens of the old keys stay valid as long as the keys are published.
    for issuer in [Issuer::Firebase, Issuer::Google] {
        identity.rotate(issuer, true);
    }
    let id = system.submit("ada", "a cat after the change").await;
    assert_eq!(system.finished("ada", &id).await["status"], "completed");
    assert_eq!(credits_with(&system, &before).await, 200);
    let again = [Issuer::Firebase, Issuer::Google].map(|issuer| identity.fetches(issuer));
    assert_eq!(again, fetches.map(|fetches| fetches + 1), "one fetch for one new key");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_message_was_never_published_is_published_by_the_sweeper() {
    let system = started(&[]).await;
    let faults = system.cloud().emulator.faults();
    // Refuses all tries of the client.
    faults.inject("/Publish", Fault::Refuse(Code::PermissionDenied), 1);
    let id = system.submit("ada", "a cat").await;
    let job = system.finished("ada", &id).await;
    assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("completed"), Some(1)));
    assert_eq!(faults.pending(), 0, "the publish was refused");
    assert_eq!(system.credits("ada").await.2, 1);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_charge_nothing_twice() {
    let system = started(&[]).await;
    let (emulator, storage) = (&system.cloud().emulator, &system.cloud().storage);
    let mut spent = 0;
    for (what, fault) in [
        ("/Commit", Fault::LoseReply(Code::Unavailable)),
        ("/Commit", Fault::Refuse(Code::Aborted)),
        ("/Commit", Fault::Refuse(Code::Unavailable)),
        ("/Publish", Fault::LoseReply(Code::Unavailable)),
        ("/Publish", Fault::Twice),
        ("/o", Fault::LoseReply(Code::Unavailable)),
    ] {
        for skip in 0..3 {
            let faults = if what == "/o" { storage.faults() } else { emulator.faults() };
            faults.inject_after(what, skip, fault, 1);
            emulator.pubsub().lose_acks(1);
            let body = json!({ "userId": "ada", "prompt": "a cat", "width": 256, "height": 256 });
            let submit = || async {
                let request = system.client.post(system.url("/generate")).header("idempotency-key", format!("{spent}"));
                answer(system.signed("ada", request).json(&body)).await
            };
            // After a 503 the client retries with the same key.
            let accepted = timeout(TIMEOUT, async {
                loop {
                    let (status, answer) = submit().await;
                    if status == 202 {
                        break answer;
                    }
                    assert_eq!(status, 503, "{what} {fault:?}: {answer}");
                }
            });
            let accepted = accepted.await.expect("accepted in the end");
            let id = accepted["illustrationId"].as_str().expect("an id");
            let job = system.finished("ada", id).await;
            assert_eq!(job["status"], "completed", "{what} {fault:?} after {skip}: {job}: {}", system.logs());
            faults.clear();
            spent += 1;
            assert_eq!(system.credits("ada").await.2, spent, "{what} {fault:?} after {skip}");
        }
    }
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_continue_when_firestore_ends_its_streams() {
    use futures::StreamExt as _;
    let system = started(&[("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "2s")]).await;
    let id = system.submit("ada", "a cat").await;
    let mut events = system.events(&format!("/illustrations/{id}/events?userId=ada"), None).await;
    assert!(timeout(TIMEOUT, events.next()).await.expect("in time").is_some());
    let firestore = system.cloud().emulator.firestore();
    assert!(firestore.listeners() > 0, "the gateway listens to Firestore");
    firestore.reset_listeners();
    let rest: Vec<_> = timeout(TIMEOUT, events.map(|event| event.event).collect()).await.expect("in time");
    assert_eq!(rest.last().map(String::as_str), Some("job.completed"), "{rest:?}");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_watches_with_a_token_in_its_address() {
    use futures::StreamExt as _;
    let system = started(&[]).await;
    let id = system.submit("ada", "a cat").await;
    let (status, stream) = system.post(&format!("/illustrations/{id}/stream-token?userId=ada"), &json!({})).await;
    assert_eq!(status, 200, "{stream}");
    let url = stream["url"].as_str().expect("an address");
    let events: Vec<_> = crate::support::sse::open(system.client.get(url), None).await.collect().await;
    assert_eq!(events.last().map(|event| event.event.as_str()), Some("job.completed"));
    // The token opens nothing else.
    let token = stream["token"].as_str().expect("a token");
    let other = system.client.get(system.url(&format!("/illustrations/{id}?token={token}")));
    assert_eq!(answer(other).await.0, 401);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_needs_no_backend_and_ready_names_the_missing_one() {
    let mut system = started(&[("MEDIAFORGE_JOBS__BACKEND_TIMEOUT", "500ms")]).await;
    for base in [&system.gateway, &system.worker] {
        let (status, ready) = answer(system.client.get(format!("{base}/ready"))).await;
        assert_eq!(status, 200, "{ready}");
    }
    system.terminate().await;
    // Nothing listens there.
    system.set("MEDIAFORGE_STORE__FIRESTORE__ENDPOINT", Some("http://127.0.0.1:9"));
    system.launch_role(Role::Gateway).await;
    let (status, health) = answer(system.client.get(system.url("/health"))).await;
    assert_eq!((status, health["status"].as_str()), (200, Some("healthy")));
    let (status, ready) =
        timeout(Duration::from_secs(30), answer(system.client.get(system.url("/ready")))).await.expect("in time");
    assert_eq!(status, 503);
    assert!(ready.to_string().contains("store"), "{ready}");
    system.set("MEDIAFORGE_STORE__FIRESTORE__ENDPOINT", None);
    system.finish().await;
}
