//! Tokens: the published keys verify the tokens of pushes, and no forged token.

use std::collections::BTreeMap;

use gcloud_emulator::identity::{Issuer, Signing};
use google_cloud_pubsub::model::{PushConfig, push_config::OidcToken};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

use crate::support::{Cloud, Endpoint, SUBSCRIPTION, text, to_jobs};

const EMAIL: &str = "push@p.iam.gserviceaccount.com";

async fn keys(cloud: &Cloud, issuer: Issuer) -> (JwkSet, String) {
    let answer = reqwest::get(format!("{}{}", cloud.emulator.url(), issuer.path())).await.unwrap();
    let caching = answer.headers()["cache-control"].to_str().unwrap().to_owned();
    (answer.json().await.unwrap(), caching)
}

fn verify(
    keys: &JwkSet,
    token: &str,
    issuer: &str,
    audience: &str,
) -> jsonwebtoken::errors::Result<BTreeMap<String, Value>> {
    let kid = decode_header(token)?.kid.unwrap_or_default();
    let key = keys.find(&kid).ok_or(jsonwebtoken::errors::ErrorKind::InvalidKeyFormat)?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[issuer]);
    decode(token, &DecodingKey::from_jwk(key)?, &validation).map(|token| token.claims)
}

async fn push_as(cloud: &Cloud, endpoint: &Endpoint, audience: &str) -> Vec<String> {
    let token = OidcToken::new().set_service_account_email(EMAIL).set_audience(audience);
    let config = PushConfig::new().set_push_endpoint(&endpoint.url).set_oidc_token(token);
    cloud.subscribe(to_jobs().set_push_config(config)).await;
    for _ in 0..2 {
        cloud.publish(text("x")).await.unwrap();
    }
    cloud.until(|pubsub| pubsub.messages(SUBSCRIPTION).is_empty()).await;
    endpoint.pushes().iter().map(|push| push.bearer().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_push_carries_a_token_that_the_published_keys_verify() {
    let cloud = Cloud::start().await;
    let endpoint = Endpoint::start([]).await;

    let tokens = push_as(&cloud, &endpoint, "worker").await;

    let (keys, caching) = keys(&cloud, Issuer::Google).await;
    assert!(caching.starts_with("public, max-age=3600"), "{caching}");
    let claims = verify(&keys, &tokens[0], "https://accounts.google.com", "worker").unwrap();
    assert_eq!((&claims["email"], &claims["email_verified"]), (&json!(EMAIL), &json!(true)));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    assert_eq!(claims["sub"], claims["azp"]);
    assert_eq!(cloud.emulator.identity().fetches(Issuer::Google), 1);
}

#[tokio::test]
async fn the_audience_is_the_endpoint_unless_set() {
    let cloud = Cloud::start().await;
    let endpoint = Endpoint::start([]).await;

    let tokens = push_as(&cloud, &endpoint, "").await;

    let (keys, _) = keys(&cloud, Issuer::Google).await;
    verify(&keys, &tokens[0], "https://accounts.google.com", &endpoint.url).unwrap();
}

#[tokio::test]
async fn user_tokens_are_signed_by_another_key() {
    let cloud = Cloud::start().await;
    let identity = cloud.emulator.identity();

    let token = identity.firebase_token("project", "alice", &json!({ "email": "alice@example.com", "user_id": null }));

    let (firebase, _) = keys(&cloud, Issuer::Firebase).await;
    let claims = verify(&firebase, &token, "https://securetoken.google.com/project", "project").unwrap();
    assert_eq!(
        (&claims["sub"], &claims["email"], claims.get("user_id")),
        (&json!("alice"), &json!("alice@example.com"), None)
    );
    let (google, _) = keys(&cloud, Issuer::Google).await;
    verify(&google, &token, "https://securetoken.google.com/project", "project").unwrap_err();
}

#[tokio::test]
async fn after_a_rotation_another_key_signs() {
    let cloud = Cloud::start().await;
    let identity = cloud.emulator.identity();
    let token = || identity.google_token(&json!({ "aud": "worker" }));
    let check = async |token: &str| {
        let (keys, _) = keys(&cloud, Issuer::Google).await;
        verify(&keys, token, "https://accounts.google.com", "worker").is_ok()
    };
    let first = token();

    identity.rotate(Issuer::Google, true);
    let second = token();
    assert_eq!((check(&first).await, check(&second).await), (true, true));

    identity.rotate(Issuer::Google, false);
    assert_eq!((check(&first).await, check(&second).await, check(&token()).await), (false, false, true));
}

#[tokio::test]
async fn a_token_can_be_forged_in_every_part() {
    let cloud = Cloud::start().await;
    let identity = cloud.emulator.identity();
    let claims = json!({ "iss": "https://accounts.google.com", "aud": "worker", "exp": 4_000_000_000_u64 });
    let kid = identity.kid(Issuer::Google);
    let header = |algorithm: &str| json!({ "alg": algorithm, "kid": kid, "typ": "JWT" });
    let pem = identity.public_key_pem(Issuer::Google);
    let (keys, _) = keys(&cloud, Issuer::Google).await;
    let check = |token: String| verify(&keys, &token, "https://accounts.google.com", "worker").is_ok();

    assert!(check(identity.sign(&header("RS256"), &claims, Signing::By(Issuer::Google))));
    let forged = [
        identity.sign(&header("RS256"), &claims, Signing::Stranger),
        identity.sign(&header("RS256"), &claims, Signing::By(Issuer::Firebase)),
        identity.sign(&header("RS256"), &claims, Signing::Written("SIGNATURE_REMOVED_BY_GOOGLE")),
        identity.sign(&header("RS512"), &claims, Signing::By(Issuer::Google)),
        identity.sign(&header("HS256"), &claims, Signing::Secret(pem.as_bytes())),
        identity.sign(&header("none"), &claims, Signing::Written("")),
        identity.sign(&json!({ "alg": "RS256" }), &claims, Signing::By(Issuer::Google)),
    ];
    for token in forged {
        assert!(!check(token.clone()), "{token}");
    }
    let hmac = Validation::new(Algorithm::HS256);
    let hmac = Validation { validate_aud: false, ..hmac };
    let token = identity.sign(&header("HS256"), &claims, Signing::Secret(pem.as_bytes()));
    decode::<Value>(&token, &DecodingKey::from_secret(pem.as_bytes()), &hmac).expect("the secret did sign");
}

#[tokio::test]
async fn a_key_file_signs_for_a_service_account() {
    let cloud = Cloud::start().await;

    let file = cloud.emulator.identity().service_account_key_json("signer@p.iam.gserviceaccount.com");

    assert_eq!((&file["project_id"], &file["type"]), (&json!("p"), &json!("service_account")));
    let signer = google_cloud_auth::credentials::service_account::Builder::new(file).build_signer().unwrap();
    assert_eq!(signer.client_email().await.unwrap(), "signer@p.iam.gserviceaccount.com");
    assert!(!signer.sign(b"text").await.unwrap().is_empty());
}
