//! Converts the configuration into the settings of the use cases, the gateway and the servers.

use std::num::{NonZeroU32, NonZeroUsize};

use super::AppError;
use crate::{
    config::Config,
    domain::{
        brand::BrandLimits, breaker::BreakerPolicy, job::JobPolicy, pricing::Prices, request::RequestLimits,
        retry::RetryPolicy, upload::UploadLimits,
    },
    gateway::{Auth, GatewayLimits, GatewaySettings},
    jobs::{Deadlines, JobsConfig, SubmissionSettings, Timeouts, UploadSettings},
    server::ServerLimits,
};

/// `queue_delays` comes from [`crate::queue::JobQueue::delays`].
pub(super) fn jobs_config(config: &Config, queue_delays: bool) -> Result<JobsConfig, AppError> {
    let (jobs, credits, limits) = (&config.jobs, &config.credits, &config.limits);
    Ok(JobsConfig {
        policy: JobPolicy {
            retry: RetryPolicy { max_attempts: jobs.max_attempts, base: jobs.backoff, cap: jobs.backoff_cap },
            republish_after: jobs.republish_after,
            republish_cap: jobs.backoff_cap.max(jobs.republish_after),
            cancel_grace: jobs.cancel_grace,
            queue_delays,
        },
        deadlines: Deadlines { illustration: jobs.illustration_deadline, training: jobs.training_deadline },
        starting_grant: credits.starting_grant,
        submission: SubmissionSettings {
            prices: Prices {
                image: credits.image,
                image_large: credits.image_large,
                large_above_px: credits.large_above_px,
                training: credits.training,
            },
            limits: RequestLimits {
                prompt_chars: limits.prompt_chars,
                min_side: limits.min_side,
                max_side: limits.max_side,
                max_count: limits.max_count,
            },
            catalogue: config.catalogue()?,
            jobs_in_flight: NonZeroU32::new(limits.jobs_in_flight),
            brand_limits: BrandLimits {
                min_images: limits.min_training_images,
                max_images: limits.max_training_images,
                max_colors: 5,
                name_chars: 80,
                min_side: limits.min_training_side,
                max_aspect: 3,
                min_difference: 6,
            },
            training_estimate: jobs.training_estimate.clone(),
            uploads: UploadSettings {
                limits: UploadLimits {
                    max_bytes: limits.upload_bytes,
                    max_pixels: limits.upload_pixels,
                    max_archive_bytes: limits.upload_zip_bytes,
                },
                keep: limits.upload_keep,
            },
        },
        retention: jobs.retention,
        breaker: BreakerPolicy {
            failures: config.breaker.failures,
            cooldown: config.breaker.cooldown,
            cap: config.breaker.cap,
        },
        timeouts: Timeouts { backend: jobs.backend_timeout, media: jobs.media_timeout },
    })
}

pub(super) fn gateway_settings(config: &Config, connections: usize, auth: Auth) -> GatewaySettings {
    let gateway = &config.gateway;
    // Each stream keeps a connection open. This leaves a tenth for short requests such as `/health`.
    let streams = gateway.streams.min(connections - connections.div_ceil(10));
    GatewaySettings {
        public_url: gateway.public_url.clone(),
        body_limit: gateway.body_limit,
        cors_origins: gateway.cors_origins.clone(),
        auth,
        limits: GatewayLimits {
            body_timeout: config.server.body_timeout,
            upload_timeout: gateway.upload_timeout,
            requests: NonZeroUsize::new(config.server.requests),
            user_requests: NonZeroU32::new(gateway.user_requests),
            address_requests: NonZeroU32::new(gateway.address_requests),
            trusted_proxies: gateway.trusted_proxies,
            streams: NonZeroUsize::new(streams),
            streams_per_user: NonZeroUsize::new(gateway.streams_per_user),
        },
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// The limits of both servers, within the open files that the system permits.
pub(super) fn server_limits(config: &Config) -> ServerLimits {
    let server = &config.server;
    let connections = match open_files() {
        // The rest is for the database, pictures, outgoing calls and the other server.
        Some(files) => server.connections.min((files / 4 * 3).max(16)),
        None => server.connections,
    };
    if connections < server.connections {
        tracing::warn!(
            connections,
            configured = server.connections,
            "this process may open too few files for server.connections; raise its limit (ulimit -n)"
        );
    }
    ServerLimits { connections, header_timeout: server.header_timeout, idle_timeout: server.idle_timeout }
}

/// Raises the limit of open files as far as the system permits and returns it; the usual limit of 1024 is meant for
/// programs that use select(2). `None` where no such limit exists.
#[cfg(unix)]
fn open_files() -> Option<usize> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // macOS refuses the limit that it reports; then the old one stays.
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).ok()
}

#[cfg(not(unix))]
fn open_files() -> Option<usize> {
    None
}
