//! Who asks. Every route learns its caller here and nowhere else.
//!
//! With [`Auth::None`] a request says who asks. With [`Auth::Firebase`] its token does, before a byte of the body is read;
//! what the request says beside must be the same. What a browser fetches without headers (events by `EventSource`,
//! pictures by `<img>`) is opened by a token in its address that is good for that path alone.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{Extensions, Uri, header, request::Parts},
};

use super::{
    GatewayState,
    params::{Params, PictureKey},
    problem::{Problem, WrongField},
};
use crate::{
    domain::{Timestamp, field_error::FieldError, ids::UserId},
    identity::{Cause, Firebase, PathTokens, Ticket, Unidentified, bearer},
    media::MediaKey,
};

/// The query parameter and the field of a body that name the caller.
const USER_ID: &str = "userId";
/// The query parameter of a token for one path.
const TOKEN: &str = "token";
/// The caller who names nobody.
const LOCAL: &str = "local";

/// How callers are known.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Whatever `userId` says is believed: for a laptop only.
    None,
    /// By the ID token of a Firebase user.
    Firebase(Arc<SignIn>),
}

/// What it takes to know Firebase's users.
#[derive(Debug)]
pub struct SignIn {
    /// Verifies their tokens.
    pub users: Firebase,
    /// Makes and verifies the tokens in addresses.
    pub paths: PathTokens,
}

/// What a request says of its caller, before its body is read.
#[derive(Debug)]
pub(super) enum Credentials {
    /// Whatever is claimed is believed.
    Believed {
        /// `?userId=`
        query: Option<String>,
    },
    /// The user of a good token, who has been admitted.
    Verified(UserId),
}

impl Credentials {
    /// The caller, for a request whose body may name one. A wrong field is for the list of all that is wrong; the other
    /// error ends the request.
    pub fn user(&self, in_body: Option<&str>) -> Result<Result<UserId, WrongField>, Problem> {
        match (self, in_body) {
            (Self::Verified(user), Some(id)) if id != user.as_str() => Err(Problem::not_you()),
            (Self::Verified(user), _) => Ok(Ok(user.clone())),
            (Self::Believed { .. }, Some(id)) => {
                Ok(id.parse().map_err(|error| FieldError::new(USER_ID, format!("{error}")).into()))
            }
            (Self::Believed { query }, None) => {
                let id = query.as_deref().unwrap_or(LOCAL);
                Ok(id.parse().map_err(|error| WrongField::query(USER_ID, format!("{error}"))))
            }
        }
    }

    /// Holds the caller to their rate, unless that has been done.
    pub fn admit(&self, gateway: &GatewayState, user: &UserId, extensions: &Extensions) -> Result<(), Problem> {
        match self {
            Self::Believed { .. } => gateway.admit(user, extensions),
            Self::Verified(_) => Ok(()),
        }
    }

    async fn verified(sign_in: &SignIn, parts: &Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        let user = sign_in.users.verify(bearer(&parts.headers).map_err(Unidentified::from)?).await?;
        let named = parameter(&parts.uri, USER_ID)?;
        gateway.admit(&user, &parts.extensions)?;
        match named {
            Some(other) if other != user.as_str() => Err(Problem::not_you()),
            _ => Ok(Self::Verified(user)),
        }
    }
}

fn parameter<'a>(uri: &'a Uri, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
    Params::of(uri).one(name).map_err(|wrong| Problem::invalid(vec![wrong]))
}

impl FromRequestParts<GatewayState> for Credentials {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        match &gateway.0.auth {
            Auth::None => Ok(Self::Believed { query: parameter(&parts.uri, USER_ID)?.map(Cow::into_owned) }),
            Auth::Firebase(sign_in) => Self::verified(sign_in, parts, gateway).await,
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

/// The token of one path in a request's address, where it has one.
fn path_token(parts: &Parts) -> Result<Option<Cow<'_, str>>, Problem> {
    let token = parameter(&parts.uri, TOKEN)?;
    if token.is_some() && parts.headers.contains_key(header::AUTHORIZATION) {
        return Err(Unidentified::from(Cause::Repeated).into());
    }
    Ok(token)
}

/// The caller of a route of events: by a token in its address, or as of any route.
#[derive(Debug)]
pub(super) struct Watcher(pub UserId);

impl FromRequestParts<GatewayState> for Watcher {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        if let Auth::Firebase(sign_in) = &gateway.0.auth
            && let Some(token) = path_token(parts)?
        {
            let user = sign_in.paths.verify_events(&token, parts.uri.path())?;
            gateway.admit(&user, &parts.extensions)?;
            return Ok(Self(user));
        }
        let Caller(user) = Caller::from_request_parts(parts, gateway).await?;
        Ok(Self(user))
    }
}

/// A picture that this request may fetch: by a token in its address, or because it is the caller's.
#[derive(Debug)]
pub(super) struct OpenPicture(pub MediaKey);

impl FromRequestParts<GatewayState> for OpenPicture {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        let key = PictureKey::from_request_parts(parts, gateway).await;
        if let Auth::Firebase(sign_in) = &gateway.0.auth {
            if let Some(token) = path_token(parts)? {
                sign_in.paths.verify_picture(&token, parts.uri.path())?;
            } else {
                let Caller(user) = Caller::from_request_parts(parts, gateway).await?;
                let owner = key.as_ref().ok().and_then(|PictureKey(key)| key.as_str().split('/').nth(1));
                if owner != Some(user.as_str()) {
                    return Err(PictureKey::missing());
                }
            }
        }
        key.map(|PictureKey(key)| Self(key))
    }
}

impl GatewayState {
    /// The token with which this user's events at this path are watched; `None` where callers need none.
    pub(super) fn events_ticket(&self, user: &UserId, path: &str) -> Option<Ticket> {
        match &self.0.auth {
            Auth::None => None,
            Auth::Firebase(sign_in) => sign_in.paths.for_events(user, path),
        }
    }

    /// What the path of a picture is followed by, so that a browser can fetch it, and until when it can.
    pub(super) fn picture_query(&self, path: &str) -> Option<(String, Timestamp)> {
        match &self.0.auth {
            Auth::None => None,
            Auth::Firebase(sign_in) => {
                let Ticket { token, expires_at } = sign_in.paths.for_picture(path)?;
                Some((format!("?{TOKEN}={token}"), expires_at))
            }
        }
    }

    /// Whether pictures are for those alone who know a good address.
    pub(super) fn has_private_pictures(&self) -> bool {
        matches!(self.0.auth, Auth::Firebase(_))
    }
}
