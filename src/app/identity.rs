//! The callers that the configuration permits.

use std::sync::Arc;

use super::{AppError, google_cloud::project};
use crate::{
    config::{AuthMode, Config, PushAuth},
    domain::clock::SystemClock,
    error::{BackendError, ErrorKind},
    gateway::{Auth, FirebaseAuth},
    identity::{Firebase, KeySet, Oidc, PathTokens},
};

/// How the gateway authenticates its callers.
pub(super) fn auth(config: &Config) -> Result<Auth, AppError> {
    let gateway = &config.gateway;
    if gateway.auth == AuthMode::None {
        return Ok(Auth::None);
    }
    let clock = Arc::new(SystemClock);
    let keys = KeySet::new(gateway.firebase.keys_url.clone(), clock.clone())?;
    let id = gateway.firebase.project.as_deref().unwrap_or(project(config));
    let tokens = &gateway.stream_tokens;
    // Validation requires the key: without it, any client could make such tokens.
    let key = tokens.key.value().ok_or_else(|| {
        BackendError::new(ErrorKind::Internal, "gateway.auth").because("gateway.stream_tokens.key was not read")
    })?;
    Ok(Auth::Firebase(Arc::new(FirebaseAuth {
        users: Firebase::new(id, keys, clock.clone()).allowing_anonymous(gateway.firebase.allow_anonymous),
        paths: PathTokens::new(key.reveal().as_bytes(), tokens.ttl, clock),
    })))
}

/// The callers that may push to the worker and sweep; `None`: any caller.
pub(super) fn push_callers(config: &Config) -> Result<Option<Oidc>, AppError> {
    let oidc = &config.worker.oidc;
    let clock = Arc::new(SystemClock);
    // Validation requires an audience; an empty one matches no token.
    let audience = oidc.audience.clone().unwrap_or_default();
    let accounts = oidc.service_accounts.clone();
    Ok(match config.worker.push_auth {
        PushAuth::None => None,
        PushAuth::Oidc => {
            let keys = KeySet::new(oidc.keys_url.clone(), clock.clone())?;
            Some(Oidc::verified_here(audience, accounts, keys, clock))
        }
        PushAuth::CloudRunIam => Some(Oidc::verified_by_cloud_run(audience, accounts, clock)),
    })
}
