//! Google Cloud, secrets and authentication.

use super::{GCP, error, sources};
use crate::config::{Roles, Sources, load};

/// The gcp profile with its required variables, one of them changed or removed.
fn gcp(roles: Roles, change: (&'static str, &'static str)) -> Sources {
    let variables = GCP.into_iter().filter(|(name, _)| *name != change.0).chain([change]);
    Sources { profile: Some("gcp".into()), roles: Some(roles), ..sources(variables) }
}

#[test]
fn missing_settings_of_google_cloud_are_reported_by_key() {
    for (name, roles, part) in [
        ("GOOGLE_CLOUD_PROJECT", Roles::GATEWAY, "gcp.project"),
        ("MEDIAFORGE_MEDIA__GCS__BUCKET", Roles::WORKER, "media.gcs.bucket"),
        ("MEDIAFORGE_GATEWAY__STREAM_TOKENS__KEY__ENV", Roles::GATEWAY, "gateway.stream_tokens.key"),
        ("MEDIAFORGE_WORKER__OIDC__AUDIENCE", Roles::WORKER, "worker.oidc.audience"),
        ("MEDIAFORGE_WORKER__OIDC__SERVICE_ACCOUNTS", Roles::WORKER, "worker.oidc.service_accounts"),
        ("K_SERVICE", Roles::WORKER, "K_SERVICE is not set; use \"oidc\""),
    ] {
        let text = error(&gcp(roles, (name, "")));
        assert!(text.contains(part), "{name}: {text}");
    }
    // The gateway does not need the worker's settings.
    assert!(load(&gcp(Roles::GATEWAY, ("MEDIAFORGE_WORKER__OIDC__AUDIENCE", ""))).is_ok());
}

#[test]
fn the_embedded_broker_cannot_authenticate() {
    let text = error(&gcp(Roles::WORKER, ("MEDIAFORGE_QUEUE__BACKEND", "embedded")));
    assert!(text.contains("the embedded broker sends no token"), "{text}");
}

#[test]
fn a_secret_is_read_by_reference_and_never_shown() {
    let loaded = load(&gcp(Roles::GATEWAY, ("K_SERVICE", "gateway"))).unwrap();
    let key = &loaded.config.gateway.stream_tokens.key;
    assert_eq!(key.value().unwrap().reveal(), "0123456789abcdef0123456789abcdef");
    assert!(!format!("{:?}", loaded.config).contains("0123456789abcdef"));
    let shown = serde_json::to_string(&loaded.config).unwrap();
    assert!(shown.contains("STREAM_TOKEN_KEY") && !shown.contains("0123456789abcdef"));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "a key of more than thirty-two bytes\n").unwrap();
    let text = file.display().to_string();
    let from_file = GCP.into_iter().filter(|(name, _)| !name.ends_with("__ENV"));
    let named = [("MEDIAFORGE_GATEWAY__STREAM_TOKENS__KEY__FILE", text.as_str())];
    let sources = Sources {
        profile: Some("gcp".into()),
        roles: Some(Roles::GATEWAY),
        ..sources(from_file.chain(named).collect::<Vec<_>>())
    };
    let key = load(&sources).unwrap().config.gateway.stream_tokens.key;
    assert_eq!(key.value().unwrap().reveal(), "a key of more than thirty-two bytes");
}

#[test]
fn a_secret_that_cannot_be_used_is_refused_without_being_shown() {
    for (change, part) in [
        (("STREAM_TOKEN_KEY", ""), "the variable STREAM_TOKEN_KEY is not set"),
        (("STREAM_TOKEN_KEY", "too-short-a-secret"), "shorter than 32 bytes"),
        (("MEDIAFORGE_GATEWAY__STREAM_TOKENS__KEY__FILE", "/nowhere/key"), "set only one"),
        (("MEDIAFORGE_GATEWAY__STREAM_TOKENS__KEY", "the-secret-itself"), "is a section, not a value"),
    ] {
        let text = error(&gcp(Roles::GATEWAY, change));
        assert!(text.contains(part), "{change:?}: {text}");
        assert!(!text.contains("too-short-a-secret"), "{text}");
    }
    // The secret itself instead of the name of its variable.
    for secret in ["sk-proj-4f0b", "c2VjcmV0+/c2VjcmV0=", "9f86d081884c7d659a2feaa0c55ad015"] {
        let text = error(&gcp(Roles::GATEWAY, ("MEDIAFORGE_GATEWAY__STREAM_TOKENS__KEY__ENV", secret)));
        assert!(text.contains("is not a valid variable name") && !text.contains(secret), "{text}");
    }
}

#[test]
fn an_address_with_a_secret_in_it_is_refused_without_showing_it() {
    for address in
        ["https://ada:hunter2@api.example/v1", "https://api.example/v1?key=hunter2", "ada:hunter2@api.example"]
    {
        let text = error(&sources([("MEDIAFORGE_ENGINE__OPENAI__BASE_URL", address)]));
        assert!(text.contains("without user, query or fragment"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("ada:hunter"), "{text}");
    }
    let text = error(&sources([("MEDIAFORGE_ENGINE__OPENAI__BASE_URL", "ftp://api.example:2121/v1")]));
    assert!(text.contains("ftp://api.example:2121/v1"), "{text}");
}

#[test]
fn token_keys_must_come_over_https() {
    let keys = ["MEDIAFORGE_GATEWAY__FIREBASE__KEYS_URL", "MEDIAFORGE_WORKER__OIDC__KEYS_URL"];
    for (name, key) in keys.into_iter().zip(["gateway.firebase.keys_url", "worker.oidc.keys_url"]) {
        let text = error(&sources([(name, "http://keys.example/certs")]));
        assert!(text.contains(key) && text.contains("must be https://"), "{text}");
        for good in
            ["http://127.0.0.1:9/certs", "http://[::1]:9/certs", "http://localhost/certs", "https://keys.example"]
        {
            assert!(load(&sources([(name, good)])).is_ok(), "{good}");
        }
    }
}

#[test]
fn emulators_are_refused_on_cloud_run_whichever_key_names_them() {
    for (name, key) in [
        ("MEDIAFORGE_STORE__FIRESTORE__ENDPOINT", "store.firestore.endpoint"),
        ("MEDIAFORGE_QUEUE__PUBSUB__ENDPOINT", "queue.pubsub.endpoint"),
        ("MEDIAFORGE_MEDIA__GCS__ENDPOINT", "media.gcs.endpoint"),
        ("MEDIAFORGE_GATEWAY__FIREBASE__KEYS_URL", "gateway.firebase.keys_url"),
    ] {
        let text = error(&gcp(Roles::GATEWAY, (name, "http://127.0.0.1:8080")));
        assert!(text.contains(key) && text.contains("refused on Cloud Run"), "{text}");
        assert!(load(&gcp(Roles::GATEWAY, (name, "https://private.example"))).is_ok(), "{name}");
    }
}

#[test]
fn pushes_from_pubsub_need_a_token() {
    let open = [("K_SERVICE", ""), ("MEDIAFORGE_WORKER__PUSH_AUTH", "none")];
    for roles in [Roles::WORKER, Roles::ALL] {
        let variables = GCP.into_iter().filter(|(name, _)| *name != "K_SERVICE").chain(open);
        let text = error(&Sources { profile: Some("gcp".into()), roles: Some(roles), ..sources(variables) });
        assert!(text.contains("\"none\" accepts pushes from anyone") && text.contains("\"oidc\""), "{text}");
    }
}

#[test]
fn the_emulator_variables_of_googles_tools_work_except_on_cloud_run() {
    let hosts = [
        ("FIRESTORE_EMULATOR_HOST", "127.0.0.1:8080"),
        ("PUBSUB_EMULATOR_HOST", "localhost:8085"),
        ("STORAGE_EMULATOR_HOST", "http://127.0.0.1:4443"),
        ("MEDIAFORGE_QUEUE__PUBSUB__ENDPOINT", "http://127.0.0.1:9999"),
    ];
    let config = load(&sources(hosts)).unwrap().config;
    let url = |url: Option<url::Url>| url.map(String::from).unwrap_or_default();
    assert_eq!(url(config.store.firestore.endpoint), "http://127.0.0.1:8080/");
    assert_eq!(url(config.media.gcs.endpoint), "http://127.0.0.1:4443/");
    assert_eq!(url(config.queue.pubsub.endpoint), "http://127.0.0.1:9999/", "our own variable wins");
    for (name, host) in [hosts[0], hosts[1], hosts[2], ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099")] {
        let text = error(&gcp(Roles::GATEWAY, (name, host)));
        assert!(text.contains(name) && text.contains("unset it"), "{text}");
    }
}

#[test]
fn invalid_names_are_refused_by_key() {
    for (variable, value, part) in [
        ("GOOGLE_CLOUD_PROJECT", "My Project", "gcp.project"),
        ("MEDIAFORGE_MEDIA__GCS__BUCKET", "gs://my-media", "media.gcs.bucket"),
        ("MEDIAFORGE_STORE__FIRESTORE__DATABASE", "a/b", "store.firestore.database"),
    ] {
        let text = error(&gcp(Roles::GATEWAY, (variable, value)));
        assert!(text.contains(part) && text.contains("write the id alone"), "{text}");
    }
}
