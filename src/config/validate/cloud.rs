//! Checks of the Google Cloud backends and of authentication.

use std::time::Duration;

use url::Url;

use super::Check;
use crate::{
    config::{AuthMode, Config, GOOGLE_CLOUD_NOT_INCLUDED, MediaBackend, PushAuth, QueueBackend, Roles, StoreBackend},
    net,
};

/// Minimum size of the stream token key: the size of an HMAC-SHA256 signature.
const MIN_KEY_BYTES: usize = 32;

pub(super) fn ranges(config: &Config, check: &mut Check) {
    check.http_url("store.firestore.endpoint", config.store.firestore.endpoint.as_ref());
    check.http_url("queue.pubsub.endpoint", config.queue.pubsub.endpoint.as_ref());
    check.http_url("queue.pubsub.push_url", config.queue.pubsub.push_url.as_ref());
    check.http_url("media.gcs.endpoint", config.media.gcs.endpoint.as_ref());
    for (key, url) in keys_urls(config) {
        check.http_url(key, Some(url));
        if url.scheme() == "http" && !net::is_loopback(url) {
            check.wrong(key, "must be https://, because an attacker who replaces these keys can forge any token");
        }
    }
    let is_name = |text: &str, extra: &str| {
        text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || extra.contains(c))
    };
    let names = [
        ("gcp.project", config.gcp.project.as_deref(), ".:"),
        ("media.gcs.bucket", config.media.gcs.bucket.as_deref(), "._"),
        ("store.firestore.database", Some(config.store.firestore.database.as_str()), "()"),
    ];
    for (key, name, extra) in names {
        if name.is_some_and(|name| name.is_empty() || !is_name(name, extra)) {
            check.wrong(
                key,
                format!(
                    "{:?} is not a valid name; write the id alone, as the console shows it",
                    name.unwrap_or_default()
                ),
            );
        }
    }
    let week = Duration::from_hours(7 * 24);
    check.time("media.gcs.url_expires", config.media.gcs.url_expires, &(Duration::from_mins(1)..=week));
    let ttl = Duration::from_secs(10)..=Duration::from_hours(1);
    check.time("gateway.stream_tokens.ttl", config.gateway.stream_tokens.ttl, &ttl);
}

/// The addresses of the public keys that verify callers' tokens.
fn keys_urls(config: &Config) -> [(&'static str, &Url); 2] {
    [
        ("gateway.firebase.keys_url", &config.gateway.firebase.keys_url),
        ("worker.oidc.keys_url", &config.worker.oidc.keys_url),
    ]
}

/// Refuses the backends that a build without Google Cloud does not have.
fn refuse_google_cloud(config: &Config, check: &mut Check) {
    let backends = [
        ("store.backend", "firestore", config.store.backend == StoreBackend::Firestore),
        ("queue.backend", "pubsub", config.queue.backend == QueueBackend::PubSub),
        ("media.backend", "gcs", config.media.backend == MediaBackend::Gcs),
    ];
    for (key, name, _) in backends.into_iter().filter(|(_, _, is_used)| *is_used) {
        check.wrong(key, format!("{name:?} is not available: {GOOGLE_CLOUD_NOT_INCLUDED}"));
    }
}

/// On Cloud Run, refuses emulators whichever key names them.
fn refuse_emulators(config: &Config, check: &mut Check) {
    let endpoints = [
        ("store.firestore.endpoint", &config.store.firestore.endpoint),
        ("queue.pubsub.endpoint", &config.queue.pubsub.endpoint),
        ("media.gcs.endpoint", &config.media.gcs.endpoint),
    ];
    let endpoints = endpoints.into_iter().filter_map(|(key, url)| Some((key, url.as_ref()?)));
    for (key, _) in endpoints.chain(keys_urls(config)).filter(|(_, url)| url.scheme() == "http") {
        check.wrong(key, "starts with http:// like an emulator; it is refused on Cloud Run (K_SERVICE is set)");
    }
}

/// Checks that apply only to a process that serves.
pub(super) fn serving(config: &Config, roles: Roles, on_cloud_run: bool, check: &mut Check) {
    let uses = [
        (config.store.backend == StoreBackend::Firestore, "store.backend is \"firestore\""),
        (config.queue.backend == QueueBackend::PubSub, "queue.backend is \"pubsub\""),
    ];
    if let (None, Some((_, user))) = (&config.gcp.project, uses.iter().find(|(is_used, _)| *is_used)) {
        check.wrong("gcp.project", format!("must be set, because {user}"));
    }
    if !cfg!(feature = "google-cloud") {
        refuse_google_cloud(config, check);
    }
    if config.media.backend == MediaBackend::Gcs && config.media.gcs.bucket.is_none() {
        check.wrong("media.gcs.bucket", "must be set, because media.backend is \"gcs\"");
    }
    if on_cloud_run {
        refuse_emulators(config, check);
    }
    if roles.gateway && config.gateway.auth == AuthMode::Firebase {
        gateway(config, check);
    }
    if roles.worker {
        worker(config, roles, on_cloud_run, check);
    }
}

fn gateway(config: &Config, check: &mut Check) {
    if config.gateway.firebase.project.is_none() && config.gcp.project.is_none() {
        check.wrong("gateway.firebase.project", "must be set, or gcp.project, because gateway.auth is \"firebase\"");
    }
    let key = &config.gateway.stream_tokens.key;
    match key.value() {
        Some(secret) if secret.reveal().len() < MIN_KEY_BYTES => {
            check.wrong("gateway.stream_tokens.key", format!("is shorter than {MIN_KEY_BYTES} bytes"));
        }
        None if !key.is_set() => {
            check.wrong("gateway.stream_tokens.key", "must be set, because gateway.auth is \"firebase\"");
        }
        _ => {}
    }
}

fn worker(config: &Config, roles: Roles, on_cloud_run: bool, check: &mut Check) {
    let worker = &config.worker;
    if worker.push_auth == PushAuth::None {
        if config.queue.backend == QueueBackend::PubSub {
            check.wrong(
                "worker.push_auth",
                "\"none\" accepts pushes from anyone; with queue.backend = \"pubsub\" use \"oidc\", or \"cloud-run-iam\" on Cloud Run",
            );
            return;
        }
        // In one process with the gateway, only the embedded broker reaches the worker.
        if on_cloud_run && !roles.gateway {
            check.wrong(
                "worker.push_auth",
                "\"none\" accepts pushes from anyone; it is refused on Cloud Run (K_SERVICE is set)",
            );
        }
        return;
    }
    if worker.push_auth == PushAuth::CloudRunIam && !on_cloud_run {
        check.wrong("worker.push_auth", "\"cloud-run-iam\" requires Cloud Run, but K_SERVICE is not set; use \"oidc\"");
    }
    if config.queue.backend == QueueBackend::Embedded {
        check.wrong(
            "worker.push_auth",
            "must be \"none\" with queue.backend = \"embedded\", because the embedded broker sends no token",
        );
    }
    if worker.oidc.audience.is_none() {
        check.wrong("worker.oidc.audience", "must be set, because worker.push_auth is not \"none\"");
    }
    if worker.oidc.service_accounts.is_empty() {
        check.wrong(
            "worker.oidc.service_accounts",
            "must name at least one account, because worker.push_auth is not \"none\"",
        );
    }
}
