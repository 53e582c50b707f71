//! Identifies the caller of every route.
//!
//! With [`Auth::None`] the gateway trusts the `userId` of a request. With [`Auth::Firebase`] the token identifies the caller
//! before a byte of the body is read, and a `userId` must match it. Browsers fetch events (`EventSource`) and pictures
//! (`<img>`) without headers: a token in the address gives access to that path only.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{Extensions, Uri, header, request::Parts},
};

use super::{
    GatewayState,
    params::{PictureKey, QueryParams},
    problem::{InvalidField, Problem},
};
use crate::{
    domain::{Timestamp, field_error::FieldError, ids::UserId},
    identity::{Firebase, IdentityError, PathTokens, SignedPathToken, TokenError, bearer},
    media::MediaKey,
};

/// The query parameter and the body field with the caller's id.
const USER_ID: &str = "userId";
/// The query parameter with a path token.
const TOKEN: &str = "token";
/// The caller of a request without a `userId`.
const DEFAULT_USER: &str = "local";

/// How callers are identified.
#[derive(Debug, Clone)]
pub enum Auth {
    /// By the `userId` of a request, without proof: for a laptop only.
    None,
    /// By the ID token of a Firebase user.
    Firebase(Arc<FirebaseAuth>),
}

/// Identifies Firebase users.
#[derive(Debug)]
pub struct FirebaseAuth {
    /// Verifies their ID tokens.
    pub users: Firebase,
    /// Creates and verifies the tokens in addresses.
    pub paths: PathTokens,
}

/// What a request tells about its caller before its body is read.
#[derive(Debug)]
pub(super) enum Credentials {
    /// The `userId` of the request counts, without proof.
    Unverified {
        /// The query parameter `userId`.
        query: Option<String>,
    },
    /// The user of a valid token, already admitted.
    Verified(UserId),
}

impl Credentials {
    /// The caller of a request whose body may contain a `userId`. The inner error belongs into the list of invalid fields;
    /// the outer error ends the request.
    pub fn user(&self, in_body: Option<&str>) -> Result<Result<UserId, InvalidField>, Problem> {
        match (self, in_body) {
            (Self::Verified(user), Some(id)) if id != user.as_str() => Err(Problem::user_id_mismatch()),
            (Self::Verified(user), _) => Ok(Ok(user.clone())),
            (Self::Unverified { .. }, Some(id)) => {
                Ok(id.parse().map_err(|error| FieldError::new(USER_ID, format!("{error}")).into()))
            }
            (Self::Unverified { query }, None) => {
                let id = query.as_deref().unwrap_or(DEFAULT_USER);
                Ok(id.parse().map_err(|error| InvalidField::query(USER_ID, format!("{error}"))))
            }
        }
    }

    /// Applies the user's rate limit, unless that has already happened.
    pub fn admit(&self, gateway: &GatewayState, user: &UserId, extensions: &Extensions) -> Result<(), Problem> {
        match self {
            Self::Unverified { .. } => gateway.admit(user, extensions),
            Self::Verified(_) => Ok(()),
        }
    }

    async fn verified(firebase: &FirebaseAuth, parts: &Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        let user = firebase.users.verify(bearer(&parts.headers).map_err(IdentityError::from)?).await?;
        let claimed = parameter(&parts.uri, USER_ID)?;
        gateway.admit(&user, &parts.extensions)?;
        match claimed {
            Some(other) if other != user.as_str() => Err(Problem::user_id_mismatch()),
            _ => Ok(Self::Verified(user)),
        }
    }
}

fn parameter<'a>(uri: &'a Uri, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
    QueryParams::of(uri).one(name).map_err(|wrong| Problem::invalid(vec![wrong]))
}

impl FromRequestParts<GatewayState> for Credentials {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        match &gateway.0.auth {
            Auth::None => Ok(Self::Unverified { query: parameter(&parts.uri, USER_ID)?.map(Cow::into_owned) }),
            Auth::Firebase(firebase) => Self::verified(firebase, parts, gateway).await,
        }
    }
}

/// The caller of a route without a body.
#[derive(Debug)]
pub(super) struct Caller(pub UserId);

impl FromRequestParts<GatewayState> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        let credentials = Credentials::from_request_parts(parts, gateway).await?;
        let user = credentials.user(None)?.map_err(|wrong| Problem::invalid(vec![wrong]))?;
        credentials.admit(gateway, &user, &parts.extensions)?;
        Ok(Self(user))
    }
}

/// The path token in a request's address, if there is one.
fn path_token(parts: &Parts) -> Result<Option<Cow<'_, str>>, Problem> {
    let token = parameter(&parts.uri, TOKEN)?;
    if token.is_some() && parts.headers.contains_key(header::AUTHORIZATION) {
        return Err(IdentityError::from(TokenError::Repeated).into());
    }
    Ok(token)
}

/// The caller of an events route: identified by a token in the address, or like the caller of any other route.
#[derive(Debug)]
pub(super) struct EventsCaller(pub UserId);

impl FromRequestParts<GatewayState> for EventsCaller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        if let Auth::Firebase(firebase) = &gateway.0.auth
            && let Some(token) = path_token(parts)?
        {
            let user = firebase.paths.verify_events(&token, parts.uri.path())?;
            gateway.admit(&user, &parts.extensions)?;
            return Ok(Self(user));
        }
        let Caller(user) = Caller::from_request_parts(parts, gateway).await?;
        Ok(Self(user))
    }
}

/// A picture that this request may read: it has a token in its address, or the picture belongs to the caller.
#[derive(Debug)]
pub(super) struct ReadablePicture(pub MediaKey);

impl FromRequestParts<GatewayState> for ReadablePicture {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        let key = PictureKey::from_request_parts(parts, gateway).await;
        if let Auth::Firebase(firebase) = &gateway.0.auth {
            if let Some(token) = path_token(parts)? {
                firebase.paths.verify_picture(&token, parts.uri.path())?;
            } else {
                let Caller(user) = Caller::from_request_parts(parts, gateway).await?;
                let owner = key.as_ref().ok().and_then(|PictureKey(key)| key.as_str().split('/').nth(1));
                if owner != Some(user.as_str()) {
                    return Err(PictureKey::not_found());
                }
            }
        }
        key.map(|PictureKey(key)| Self(key))
    }
}

impl GatewayState {
    /// A token that opens the user's events at this path; `None` if callers do not sign in.
    pub(super) fn events_token(&self, user: &UserId, path: &str) -> Option<SignedPathToken> {
        match &self.0.auth {
            Auth::None => None,
            Auth::Firebase(firebase) => firebase.paths.for_events(user, path),
        }
    }

    /// The query that a browser needs to fetch the picture at this path, and when the query expires; `None` if it needs
    /// none.
    pub(super) fn picture_query(&self, path: &str) -> Option<(String, Timestamp)> {
        match &self.0.auth {
            Auth::None => None,
            Auth::Firebase(firebase) => {
                let SignedPathToken { token, expires_at } = firebase.paths.for_picture(path)?;
                Some((format!("?{TOKEN}={token}"), expires_at))
            }
        }
    }

    /// Whether a picture can be read only with a token.
    pub(super) fn has_private_pictures(&self) -> bool {
        matches!(self.0.auth, Auth::Firebase(_))
    }
}
