//! Short-lived tokens that open one path, for what a browser fetches without headers: event streams and pictures.

use std::{fmt, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};

use super::{
    IdentityError, TokenError,
    token::{Token, seconds},
};
use crate::domain::{
    Timestamp,
    clock::{Clock, after},
    ids::UserId,
};

/// Says in a token's header that it is one of these.
const TYPE: &str = "mediaforge-path+jwt";

/// What a token opens its path for. It stands in the token as its audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Opens {
    /// To watch events in the name of a user.
    #[serde(rename = "mediaforge:events")]
    Events,
    /// To fetch a picture, whoever asks.
    #[serde(rename = "mediaforge:media")]
    Media,
}

/// A token and when it ends.
#[derive(Clone)]
pub struct SignedPathToken {
    /// The token; it goes into a query as it is.
    pub token: String,
    /// It opens nothing from then on.
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: Opens,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<UserId>,
    exp: i64,
}

/// Makes and verifies such tokens. All instances of a service need the same key.
pub struct PathTokens {
    signs: EncodingKey,
    verifies: DecodingKey,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for PathTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathTokens").field("key", &"[redacted]").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl PathTokens {
    /// Tokens signed with `key` (HMAC-SHA256, so 32 bytes or more); those for events end after `ttl`.
    pub fn new(key: &[u8], ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { signs: EncodingKey::from_secret(key), verifies: DecodingKey::from_secret(key), ttl, clock }
    }

    /// A token with which the user's events at this path (without a query) can be watched.
    pub fn for_events(&self, user: &UserId, path: &str) -> Option<SignedPathToken> {
        self.sign(Opens::Events, Some(user), path, after(self.clock.now(), self.ttl))
    }

    /// A token for the picture at this path, good for one to two hours. It is the same for an hour, so that browsers find
    /// in their cache what they have fetched.
    pub fn for_picture(&self, path: &str) -> Option<SignedPathToken> {
        const HOUR: i64 = 3600;
        let end = (seconds(self.clock.now()) / HOUR + 2) * HOUR;
        self.sign(Opens::Media, None, path, Timestamp::from_second(end).unwrap_or(Timestamp::MAX))
    }

    /// `None` only by a defect: text is signed, which cannot fail.
    fn sign(&self, aud: Opens, user: Option<&UserId>, path: &str, expires_at: Timestamp) -> Option<SignedPathToken> {
        let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::HS256) };
        let claims = Claims { aud, path: path.to_owned(), sub: user.cloned(), exp: seconds(expires_at) };
        let token = encode(&header, &claims, &self.signs);
        let token = token.inspect_err(|error| tracing::error!(%error, "cannot sign a token for a path")).ok()?;
        Some(SignedPathToken { token, expires_at })
    }

    /// The user in whose name the token opens the events at this path.
    pub fn verify_events(&self, token: &str, path: &str) -> Result<UserId, IdentityError> {
        self.verify(token, Opens::Events, path)?.ok_or(TokenError::Claims.into())
    }

    /// Whether the token opens the picture at this path.
    pub fn verify_picture(&self, token: &str, path: &str) -> Result<(), IdentityError> {
        self.verify(token, Opens::Media, path).map(drop)
    }

    fn verify(&self, token: &str, opens: Opens, path: &str) -> Result<Option<UserId>, IdentityError> {
        let token = Token::parse(token, Algorithm::HS256)?;
        if token.header.typ.as_deref() != Some(TYPE) {
            return Err(TokenError::Header.into());
        }
        // First of all: whether it expired is told to those alone who once had a good one.
        token.verify(&self.verifies, Algorithm::HS256)?;
        let claims: Claims = token.claims()?;
        if claims.aud != opens || claims.path != path {
            return Err(TokenError::OtherPath.into());
        }
        if claims.exp <= seconds(self.clock.now()) {
            return Err(IdentityError::PathTokenExpired);
        }
        Ok(claims.sub)
    }
}
