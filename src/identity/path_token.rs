//! Short-lived tokens that open one path, because browsers fetch event streams and pictures without headers.

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

/// The `typ` in the header of a path token.
const TYPE: &str = "mediaforge-path+jwt";

/// What a token may be used for; the audience of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Purpose {
    /// Watch the events of a user.
    #[serde(rename = "mediaforge:events")]
    Events,
    /// Fetch a picture. The token belongs to no user.
    #[serde(rename = "mediaforge:media")]
    Media,
}

/// A token for one path.
#[derive(Clone)]
pub struct SignedPathToken {
    /// The token; it needs no escaping in a query.
    pub token: String,
    /// The token is invalid from this time on.
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: Purpose,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<UserId>,
    exp: i64,
}

/// Creates and verifies path tokens. All instances of a service need the same key.
pub struct PathTokens {
    signing_key: EncodingKey,
    verifying_key: DecodingKey,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for PathTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathTokens").field("key", &"[redacted]").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl PathTokens {
    /// Signs with `key` (HMAC-SHA256: at least 32 bytes). Tokens for events expire after `ttl`.
    pub fn new(key: &[u8], ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { signing_key: EncodingKey::from_secret(key), verifying_key: DecodingKey::from_secret(key), ttl, clock }
    }

    /// A token that opens the user's events at this path (without a query).
    pub fn for_events(&self, user: &UserId, path: &str) -> Option<SignedPathToken> {
        self.sign(Purpose::Events, Some(user), path, after(self.clock.now(), self.ttl))
    }

    /// A token for the picture at this path, valid for one to two hours. It stays the same for an hour, so that browsers find
    /// the picture in their cache.
    pub fn for_picture(&self, path: &str) -> Option<SignedPathToken> {
        const HOUR: i64 = 3600;
        let end = (seconds(self.clock.now()) / HOUR + 2) * HOUR;
        self.sign(Purpose::Media, None, path, Timestamp::from_second(end).unwrap_or(Timestamp::MAX))
    }

    /// `None` only after a defect, because signing text cannot fail.
    fn sign(&self, aud: Purpose, user: Option<&UserId>, path: &str, expires_at: Timestamp) -> Option<SignedPathToken> {
        let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::HS256) };
        let claims = Claims { aud, path: path.to_owned(), sub: user.cloned(), exp: seconds(expires_at) };
        let token = encode(&header, &claims, &self.signing_key);
        let token = token.inspect_err(|error| tracing::error!(%error, "cannot sign a path token")).ok()?;
        Some(SignedPathToken { token, expires_at })
    }

    /// The user whose events at this path the token opens.
    pub fn verify_events(&self, token: &str, path: &str) -> Result<UserId, IdentityError> {
        self.verify(token, Purpose::Events, path)?.ok_or(TokenError::Claims.into())
    }

    /// Checks that the token opens the picture at this path.
    pub fn verify_picture(&self, token: &str, path: &str) -> Result<(), IdentityError> {
        self.verify(token, Purpose::Media, path).map(drop)
    }

    fn verify(&self, token: &str, purpose: Purpose, path: &str) -> Result<Option<UserId>, IdentityError> {
        let token = Token::parse(token, Algorithm::HS256)?;
        if token.header.typ.as_deref() != Some(TYPE) {
            return Err(TokenError::Header.into());
        }
        // Verify the signature first: only the owner of a once valid token may learn that it has expired.
        token.verify(&self.verifying_key, Algorithm::HS256)?;
        let claims: Claims = token.claims()?;
        if claims.aud != purpose || claims.path != path {
            return Err(TokenError::OtherPath.into());
        }
        if claims.exp <= seconds(self.clock.now()) {
            return Err(IdentityError::PathTokenExpired);
        }
        Ok(claims.sub)
    }
}
