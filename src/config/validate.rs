//! Checks that types cannot express: ranges, and keys that must fit together. All mistakes are reported at once.

mod cloud;
mod engines;

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::{AuthMode, Config, GOOGLE_CLOUD_NOT_INCLUDED, Profile, QueueBackend, Roles, StoreBackend, duration::text};
use crate::net;

/// The circumstances that decide which checks apply.
pub(super) struct Context {
    pub(super) profile: Profile,
    pub(super) roles: Option<Roles>,
    pub(super) on_cloud_run: bool,
}

type Mistakes = Vec<(Option<String>, String)>;

/// Returns all mistakes, each with its key.
pub(super) fn check(config: &Config, context: &Context) -> Mistakes {
    let mut check = Check::default();
    paths_and_addresses(config, &mut check);
    servers(config, &mut check);
    worker(config, &mut check);
    jobs(config, context.profile, &mut check);
    breaker(config, &mut check);
    amounts(config, &mut check);
    uploads(config, &mut check);
    queue(config, context.profile, &mut check);
    engines::check(config, context.roles, &mut check);
    catalogue(config, &mut check);
    cloud::ranges(config, &mut check);
    if let Some(roles) = context.roles {
        serving(config, roles, context.on_cloud_run, &mut check);
    }
    check.0
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Check(Mistakes);

impl Check {
    pub(super) fn wrong(&mut self, key: &str, detail: impl Into<String>) {
        self.0.push((Some(key.to_owned()), detail.into()));
    }

    /// Checks what Vertex AI needs; `key` selects it. A missing project is reported once.
    pub(super) fn vertex(&mut self, config: &Config, key: &str) {
        const PROJECT: &str = "gcp.project";
        if !cfg!(feature = "google-cloud") {
            self.wrong(key, format!("Vertex AI is not available: {GOOGLE_CLOUD_NOT_INCLUDED}"));
        }
        let is_reported = self.0.iter().any(|(key, _)| key.as_deref() == Some(PROJECT));
        if config.gcp.project.is_none() && !is_reported {
            self.wrong(PROJECT, "must be set, for Vertex AI is used");
        }
    }

    pub(super) fn range<T: PartialOrd + Display>(&mut self, key: &str, value: &T, range: &RangeInclusive<T>) {
        if !range.contains(value) {
            self.wrong(key, format!("{value} is out of range; {} to {}", range.start(), range.end()));
        }
    }

    pub(super) fn time(&mut self, key: &str, value: Duration, range: &RangeInclusive<Duration>) {
        if !range.contains(&value) {
            let (min, max) = (text(*range.start()), text(*range.end()));
            self.wrong(key, format!("{} is out of range; {min} to {max}", text(value)));
        }
    }

    pub(super) fn some_time(&mut self, key: &str, value: Duration) {
        if value.is_zero() {
            self.wrong(key, "must not be zero");
        }
    }

    pub(super) fn at_most(&mut self, key: &str, value: Duration, other: &str, most: Duration) {
        if value > most {
            self.wrong(key, format!("{} must not be above {other} ({})", text(value), text(most)));
        }
    }

    pub(super) fn http_url(&mut self, key: &str, url: Option<&url::Url>) {
        let Some(url) = url else { return };
        if !net::is_http_base(url) {
            self.wrong(
                key,
                format!("{} must be http:// or https:// without user, query or fragment", without_secrets(url)),
            );
        }
    }
}

/// An address without user, password and query: the error may end in a log.
fn without_secrets(url: &url::Url) -> String {
    if url.cannot_be_a_base() {
        return format!("{}:...", url.scheme());
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

fn paths_and_addresses(config: &Config, check: &mut Check) {
    if config.data_dir.starts_with("~") {
        check.wrong("data_dir", "only a shell expands \"~\"; write the whole path");
    }
    check.http_url("gateway.public_url", config.gateway.public_url.as_ref());
    check.http_url("queue.embedded.push_url", config.queue.embedded.push_url.as_ref());
    check.range("gateway.body_limit", &config.gateway.body_limit, &(1024..=10 * 1024 * 1024));
    for origin in &config.gateway.cors_origins {
        if !net::is_http_origin(origin) {
            check.wrong(
                "gateway.cors_origins",
                format!(
                    "{origin:?} is not an origin; write scheme://host[:port] exactly as browsers send it, without a path"
                ),
            );
        }
    }
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&config.telemetry.filter) {
        check.wrong("telemetry.filter", format!("{:?} is not a log filter: {error}", config.telemetry.filter));
    }
}

fn servers(config: &Config, check: &mut Check) {
    let (server, gateway) = (&config.server, &config.gateway);
    let least = Duration::from_millis(100);
    check.range("server.connections", &server.connections, &(16..=1_000_000));
    check.range("server.requests", &server.requests, &(0..=1_000_000));
    check.time("server.header_timeout", server.header_timeout, &(least..=Duration::from_mins(5)));
    check.time("server.idle_timeout", server.idle_timeout, &(server.header_timeout..=Duration::from_hours(1)));
    check.time("server.body_timeout", server.body_timeout, &(least..=Duration::from_mins(10)));
    check.time("gateway.upload_timeout", gateway.upload_timeout, &(least..=Duration::from_mins(10)));
    check.range("gateway.user_requests", &gateway.user_requests, &(0..=1_000_000));
    check.range("gateway.address_requests", &gateway.address_requests, &(0..=1_000_000));
    check.range("gateway.trusted_proxies", &gateway.trusted_proxies, &(0..=16));
    check.range("gateway.streams", &gateway.streams, &(0..=1_000_000));
    check.range("gateway.streams_per_user", &gateway.streams_per_user, &(0..=1_000_000));
    check.range("limits.jobs_in_flight", &config.limits.jobs_in_flight, &(0..=1_000_000));
}

fn worker(config: &Config, check: &mut Check) {
    let worker = &config.worker;
    check.range("worker.slots", &worker.slots, &(1..=1024));
    check.some_time("worker.lease", worker.lease);
    check.some_time("worker.sweep_every", worker.sweep_every);
    check.time("worker.drain", worker.drain, &(Duration::ZERO..=Duration::from_secs(8)));
    if let Some(heartbeat) = worker.heartbeat {
        check.some_time("worker.heartbeat", heartbeat);
        if worker.lease < heartbeat * 3 {
            let (lease, beats) = (text(worker.lease), text(heartbeat * 3));
            check.wrong(
                "worker.lease",
                format!("{lease} is shorter than three heartbeats ({beats}); a short delay would lose the job"),
            );
        }
    }
    let deadline = config.queue.embedded.ack_deadline;
    if config.queue.backend == QueueBackend::Embedded && worker.slot_wait >= deadline {
        let (wait, deadline) = (text(worker.slot_wait), text(deadline));
        check.wrong("worker.slot_wait", format!("{wait} must be below queue.embedded.ack_deadline ({deadline})"));
    }
}

fn jobs(config: &Config, profile: Profile, check: &mut Check) {
    let jobs = &config.jobs;
    check.range("jobs.max_attempts", &jobs.max_attempts, &(1..=100));
    check.some_time("jobs.backoff", jobs.backoff);
    check.some_time("jobs.illustration_deadline", jobs.illustration_deadline);
    check.some_time("jobs.training_deadline", jobs.training_deadline);
    if jobs.training_estimate.trim().is_empty() {
        check.wrong("jobs.training_estimate", "must not be empty");
    }
    check.some_time("jobs.attempt_timeout", jobs.attempt_timeout);
    check.some_time("jobs.republish_after", jobs.republish_after);
    let timeouts = Duration::from_millis(100)..=Duration::from_mins(5);
    check.time("jobs.backend_timeout", jobs.backend_timeout, &timeouts);
    check.time("jobs.media_timeout", jobs.media_timeout, &timeouts);
    check.at_most("jobs.backoff", jobs.backoff, "jobs.backoff_cap", jobs.backoff_cap);
    check.at_most(
        "jobs.attempt_timeout",
        jobs.attempt_timeout,
        "jobs.illustration_deadline",
        jobs.illustration_deadline,
    );
    if let Some(retention) = jobs.retention {
        // Removed jobs cannot be restored, and a retention of seconds is probably a typing error.
        let least = if profile == Profile::Test { Duration::from_millis(1) } else { Duration::from_hours(1) };
        check.time("jobs.retention", retention, &(least..=Duration::from_hours(100 * 365 * 24)));
    }
}

/// Keeps a breaker from pausing an engine for hours.
fn breaker(config: &Config, check: &mut Check) {
    let breaker = &config.breaker;
    check.range("breaker.failures", &breaker.failures, &(1..=1000));
    check.some_time("breaker.cooldown", breaker.cooldown);
    check.at_most("breaker.cooldown", breaker.cooldown, "breaker.cap", breaker.cap);
    check.at_most("breaker.cap", breaker.cap, "an hour", Duration::from_hours(1));
}

fn amounts(config: &Config, check: &mut Check) {
    // With at most a billion per job, sums stay far below the limits of every store's integers.
    let credits = 0..=1_000_000_000;
    check.range("credits.starting_grant", &config.credits.starting_grant, &credits);
    check.range("credits.image", &config.credits.image, &credits);
    check.range("credits.image_large", &config.credits.image_large, &credits);
    check.range("credits.training", &config.credits.training, &credits);
    check.range("limits.prompt_chars", &config.limits.prompt_chars, &(1..=100_000));
    check.range("limits.max_count", &config.limits.max_count, &(1..=16));
    check.range("limits.max_side", &config.limits.max_side, &(1..=8192));
    if config.limits.min_side == 0 || config.limits.min_side > config.limits.max_side {
        let most = config.limits.max_side;
        check.wrong(
            "limits.min_side",
            format!("{} is out of range; 1 to limits.max_side ({most})", config.limits.min_side),
        );
    }
}

fn uploads(config: &Config, check: &mut Check) {
    let limits = &config.limits;
    check.range("limits.max_training_images", &limits.max_training_images, &(1..=200));
    check.range("limits.min_training_images", &limits.min_training_images, &(1..=limits.max_training_images));
    check.range("limits.min_training_side", &limits.min_training_side, &(1..=2048));
    check.range("limits.upload_bytes", &limits.upload_bytes, &(1024..=64 << 20));
    check.range("limits.upload_zip_bytes", &limits.upload_zip_bytes, &(1024..=1 << 30));
    check.range("limits.upload_pixels", &limits.upload_pixels, &(1..=100_000_000));
    check.some_time("limits.upload_keep", limits.upload_keep);
}

/// Applies the ranges of Pub/Sub, so that settings work with both queues. Tests may use shorter times.
fn queue(config: &Config, profile: Profile, check: &mut Check) {
    let queue = &config.queue.embedded;
    let faster = profile == Profile::Test;
    let least = if faster { Duration::from_millis(100) } else { Duration::from_secs(10) };
    check.time("queue.embedded.ack_deadline", queue.ack_deadline, &(least..=Duration::from_mins(10)));
    check.range(
        "queue.embedded.max_delivery_attempts",
        &queue.max_delivery_attempts,
        &(if faster { 1 } else { 5 }..=100),
    );
    check.some_time("queue.embedded.min_backoff", queue.min_backoff);
    check.some_time("queue.embedded.retention", queue.retention);
    check.at_most("queue.embedded.min_backoff", queue.min_backoff, "queue.embedded.max_backoff", queue.max_backoff);
    check.time("queue.embedded.max_backoff", queue.max_backoff, &(Duration::ZERO..=Duration::from_mins(10)));
    if let Some(in_flight) = queue.max_in_flight {
        check.range("queue.embedded.max_in_flight", &in_flight, &(1..=1000));
    }
}

fn catalogue(config: &Config, check: &mut Check) {
    if let Err(error) = config.catalogue() {
        check.wrong("styles", error.to_string());
    }
    for (id, style) in &config.styles {
        if style.name.trim().is_empty() {
            check.wrong(&format!("styles.{id}.name"), "must not be empty");
        }
    }
}

/// Checks that apply only to a process that serves.
fn serving(config: &Config, roles: Roles, on_cloud_run: bool, check: &mut Check) {
    let (gateway, worker) = (config.gateway.listen, config.worker.listen);
    if roles.gateway && roles.worker && gateway == worker && gateway.port() != 0 {
        check.wrong(
            "worker.listen",
            format!("{worker} is also gateway.listen; one process cannot listen on an address twice"),
        );
    }
    cloud::serving(config, roles, on_cloud_run, check);
    if !on_cloud_run {
        return;
    }
    if roles.gateway && config.gateway.auth == AuthMode::None {
        check.wrong(
            "gateway.auth",
            "\"none\" trusts the userId of every request; it is refused on Cloud Run (K_SERVICE is set)",
        );
    }
    if roles != Roles::ALL {
        let separate_disks = "each instance of a Cloud Run service has its own disk, so the other role would never see";
        if config.store.backend == StoreBackend::Sqlite {
            check.wrong("store.backend", format!("{separate_disks} a job kept in \"sqlite\""));
        }
        if config.queue.backend == QueueBackend::Embedded {
            check.wrong("queue.backend", format!("{separate_disks} a message of the \"embedded\" broker"));
        }
    }
}
