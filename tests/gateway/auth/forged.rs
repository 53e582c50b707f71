//! Forged, foreign and expired tokens.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gcloud_emulator::identity::{Issuer, Signing};
use mediaforge::identity::{IdentityError, TokenError};
use serde_json::{Value, json};

use super::{NOON, PROJECT, Site, changed, claims};
use crate::support::request;

const CUSTOM: &str = "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit";

/// Correctly signed tokens with one wrong claim.
fn wrong_claims() -> Vec<(&'static str, Value, TokenError)> {
    let other_project = json!({ "aud": "other", "iss": "https://securetoken.google.com/other" });
    vec![
        ("expired", json!({ "exp": NOON - 300 }), TokenError::Expired),
        ("exp missing", json!({ "exp": null }), TokenError::Claims),
        ("exp as text", json!({ "exp": "1772370000" }), TokenError::Claims),
        ("exp as a fraction", json!({ "exp": 1.5e300 }), TokenError::Claims),
        ("iat in the future", json!({ "iat": NOON + 301 }), TokenError::Future),
        ("iat missing", json!({ "iat": null }), TokenError::Claims),
        ("auth_time in the future", json!({ "auth_time": NOON + 301 }), TokenError::Future),
        ("auth_time missing", json!({ "auth_time": null }), TokenError::Claims),
        ("another project's", other_project, TokenError::Audience),
        ("the project's number", json!({ "aud": "123456789" }), TokenError::Audience),
        ("aud missing", json!({ "aud": null }), TokenError::Claims),
        ("aud a list with ours", json!({ "aud": [PROJECT, "other"] }), TokenError::Claims),
        ("iss of another project", json!({ "iss": "https://securetoken.google.com/other" }), TokenError::Issuer),
        (
            "iss longer than ours",
            json!({ "iss": format!("https://securetoken.google.com/{PROJECT}/") }),
            TokenError::Issuer,
        ),
        ("iss missing", json!({ "iss": null }), TokenError::Claims),
        (
            "a session cookie",
            json!({ "iss": format!("https://session.firebase.google.com/{PROJECT}") }),
            TokenError::Issuer,
        ),
        ("Google's issuer", json!({ "iss": "https://accounts.google.com" }), TokenError::Issuer),
        ("sub empty", json!({ "sub": "" }), TokenError::Subject),
        ("sub too long", json!({ "sub": "a".repeat(129) }), TokenError::Subject),
        ("sub missing", json!({ "sub": null }), TokenError::Claims),
        ("sub a number", json!({ "sub": 7 }), TokenError::Claims),
    ]
}

/// Valid claims with a wrong header or signature.
fn wrong_signatures(site: &Site) -> Vec<(&'static str, String, TokenError)> {
    let firebase = Signing::By(Issuer::Firebase);
    let with = |name: &str, value: Value| {
        let mut header = site.header();
        header[name] = value;
        header
    };
    let signed = |header: &Value, signing: Signing<'_>| site.signed(header, &claims("ann"), signing);
    let no_kid = json!({ "alg": "RS256", "typ": "JWT" });
    let pem = site.google.identity().public_key_pem(Issuer::Firebase);
    let stranger = |name, value| signed(&with(name, value), Signing::Stranger);
    let jwk = site.google.identity().key_set(Issuer::Google)["keys"][0].clone();
    vec![
        ("alg none", signed(&with("alg", json!("none")), Signing::Written("")), TokenError::Algorithm),
        ("alg nOnE, signed", signed(&with("alg", json!("nOnE")), firebase), TokenError::Algorithm),
        ("alg missing", signed(&json!({ "kid": "x", "typ": "JWT" }), firebase), TokenError::Header),
        (
            "HS256 by the public key",
            signed(&with("alg", json!("HS256")), Signing::Secret(pem.as_bytes())),
            TokenError::Algorithm,
        ),
        ("RS512", signed(&with("alg", json!("RS512")), firebase), TokenError::Algorithm),
        ("PS256", signed(&with("alg", json!("PS256")), firebase), TokenError::Algorithm),
        ("RS256 said, RS512 done", resigned(site, "RS512"), TokenError::Signature),
        ("another key under our kid", signed(&site.header(), Signing::Stranger), TokenError::Signature),
        ("Google's key under our kid", signed(&site.header(), Signing::By(Issuer::Google)), TokenError::Signature),
        ("no signature", signed(&site.header(), Signing::Written("")), TokenError::Signature),
        (
            "a removed signature",
            signed(&site.header(), Signing::Written("SIGNATURE_REMOVED_BY_GOOGLE")),
            TokenError::Signature,
        ),
        ("the claims of another", swapped(site), TokenError::Signature),
        ("an unknown kid", stranger("kid", json!("0123456789")), TokenError::UnknownKey),
        ("a kid like a path", stranger("kid", json!("../../../dev/null")), TokenError::UnknownKey),
        ("a kid like an address", stranger("kid", json!("http://127.0.0.1:1/keys")), TokenError::UnknownKey),
        ("an empty kid", signed(&with("kid", json!("")), firebase), TokenError::NoKeyId),
        ("no kid", signed(&no_kid, firebase), TokenError::NoKeyId),
        ("a kid that is a number", signed(&with("kid", json!(7)), firebase), TokenError::Header),
        (
            "a custom token",
            site.signed(&no_kid, &changed(&json!({ "aud": CUSTOM })), firebase),
            TokenError::CustomToken,
        ),
        ("jku", stranger("jku", json!("http://127.0.0.1:1/keys")), TokenError::Signature),
        ("x5u", stranger("x5u", json!("http://127.0.0.1:1/keys")), TokenError::Signature),
        ("a key in the header", signed(&with("jwk", jwk), Signing::By(Issuer::Google)), TokenError::Signature),
        ("crit", signed(&with("crit", json!(["exp"])), firebase), TokenError::Critical),
        (
            "a service account's",
            site.google.identity().google_token(&json!({ "exp": NOON + 3600, "iat": NOON })),
            TokenError::Claims,
        ),
    ]
}

/// Malformed tokens.
fn wrong_shapes(site: &Site) -> Vec<(&'static str, String, TokenError)> {
    let good = site.token("ann");
    let parts: Vec<_> = good.split('.').map(str::to_owned).collect();
    let [header, body, signature] = parts.as_slice() else { panic!("three parts") };
    let coded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let twice = coded(&claims("ann").to_string().replacen('{', "{\"sub\":\"bob\",", 1));
    vec![
        ("two parts", format!("{header}.{body}"), TokenError::NotThreeParts),
        ("four parts", format!("{good}.{signature}"), TokenError::NotThreeParts),
        ("a part in front", format!("{header}.{good}"), TokenError::NotThreeParts),
        ("one part", header.clone(), TokenError::NotThreeParts),
        ("dots", "..".to_owned(), TokenError::Header),
        ("padding", format!("{header}=.{body}.{signature}"), TokenError::NotThreeParts),
        ("padding of the signature", format!("{good}=="), TokenError::Signature),
        (
            "the other base64",
            format!("{header}.{}.{signature}", coded("~~~???").replace('_', "/")),
            TokenError::NotThreeParts,
        ),
        ("a header that is not JSON", format!("{}.{body}.{signature}", coded("{")), TokenError::Header),
        ("a header that is a list", format!("{}.{body}.{signature}", coded("[]")), TokenError::Header),
        ("claims that are not JSON", format!("{header}.{}.{signature}", coded("\u{0}")), TokenError::Claims),
        ("a claim twice", format!("{header}.{twice}.{signature}"), TokenError::Claims),
        ("garbage", "garbage".to_owned(), TokenError::NotThreeParts),
        ("64 KiB", "a".repeat(64 << 10), TokenError::TooLong),
        ("64 KiB of claims", site.token_of(&changed(&json!({ "sub": "a".repeat(48 << 10) }))), TokenError::TooLong),
    ]
}

/// A token with RS256 in its header, signed with the right key and another algorithm.
fn resigned(site: &Site, algorithm: &str) -> String {
    let mut header = site.header();
    header["alg"] = json!(algorithm);
    let other = site.signed(&header, &claims("ann"), Signing::By(Issuer::Firebase));
    let good = site.token("ann");
    format!("{}.{}", good.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1)
}

/// A valid signature for the claims of another user.
fn swapped(site: &Site) -> String {
    let (ann, bob) = (site.token("ann"), site.token("bob"));
    format!("{}.{}", ann.rsplit_once('.').unwrap().0, bob.rsplit_once('.').unwrap().1)
}

#[tokio::test]
async fn all_forged_tokens_get_the_same_refusal() {
    let site = Site::open().await;
    let claims = wrong_claims().into_iter();
    let mut forged: Vec<_> = claims.map(|(name, it, cause)| (name, site.token_of(&changed(&it)), cause)).collect();
    forged.extend(wrong_signatures(&site));
    forged.extend(wrong_shapes(&site));
    assert_eq!(forged.len(), 60);
    let mut bodies = std::collections::BTreeSet::new();
    for (name, token, cause) in &forged {
        assert_eq!(site.users.verify(token).await, Err(IdentityError::InvalidToken(*cause)), "{name}");
        let answer = site.get("/illustrations", token).await;
        let mut problem = answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""), "{name}");
        problem.as_object_mut().unwrap().remove("requestId");
        bodies.insert(problem.to_string());
    }
    assert_eq!(bodies.len(), 1, "{bodies:#?}");
    assert_eq!(site.fetches(), 2, "the keys, and one fetch for unknown key ids");
    assert_eq!(site.get("/illustrations", &site.token("ann")).await.status, 200, "a valid token is accepted");
}

#[tokio::test]
async fn only_a_single_bearer_token_is_accepted() {
    let site = Site::open().await;
    let good = site.token("ann");
    let ask = async |values: &[String]| {
        let mut asked = request(axum::http::Method::GET, "/credits");
        for value in values {
            asked = asked.header("authorization", value);
        }
        site.world.send(asked.body(axum::body::Body::empty()).unwrap()).await
    };
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR "] {
        assert_eq!(ask(&[format!("{scheme} {good}")]).await.status, 200, "{scheme}");
    }
    let basic = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("ann:{good}")));
    let refused: Vec<Vec<String>> = vec![
        vec![],
        vec![String::new()],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec![good.clone()],
        vec![format!("Bearer{good}")],
        vec![format!("Bearer\t{good}")],
        vec![format!("Bearer: {good}")],
        vec![format!("Token {good}")],
        vec![basic],
        vec![format!("Bearer {good} {good}")],
        vec![format!("Bearer {good}, Bearer {good}")],
        vec![format!("Bearer {good}"), format!("Bearer {good}")],
        vec!["Basic eDp5".to_owned(), format!("Bearer {good}")],
    ];
    for values in refused {
        ask(&values).await.problem(401, "unauthorized");
    }
    // The token is accepted only in the header.
    site.world.get(&format!("/credits?token={good}")).await.problem(401, "unauthorized");
    site.world.get(&format!("/credits?access_token={good}")).await.problem(401, "unauthorized");
}
