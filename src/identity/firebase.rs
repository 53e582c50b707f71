//! ID tokens of Firebase users.

use std::{fmt, sync::Arc};

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::{
    IdentityError, KeySet, TokenError,
    token::{Token, seconds},
};
use crate::domain::{clock::Clock, ids::UserId};

/// The allowed clock difference in seconds, as in Firebase's own libraries.
const SKEW: i64 = 300;
/// The maximum length of a user id.
const MAX_UID_CHARS: usize = 128;
/// The audience of custom tokens.
const CUSTOM_TOKEN_AUDIENCE: &str =
    "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit";

/// Verifies ID tokens of one Firebase project.
///
/// Only the token is checked: a disabled user, or one whose tokens are revoked, is admitted until the token expires after an
/// hour. Custom tokens and session cookies are refused.
pub struct Firebase {
    project: String,
    issuer: String,
    keys: KeySet,
    clock: Arc<dyn Clock>,
    allow_anonymous: bool,
}

/// The checked claims of an ID token. `aud` is a single string in a Firebase token, so a list is refused.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    exp: i64,
    auth_time: i64,
    #[serde(default)]
    firebase: SignIn,
}

#[derive(Default, Deserialize)]
struct SignIn {
    #[serde(default)]
    sign_in_provider: String,
}

impl fmt::Debug for Firebase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Firebase").field("project", &self.project).finish_non_exhaustive()
    }
}

impl Firebase {
    /// A verifier for the tokens of this project. Pass the project id, not the project number.
    pub fn new(project: impl Into<String>, keys: KeySet, clock: Arc<dyn Clock>) -> Self {
        let project = project.into();
        Self {
            issuer: format!("https://securetoken.google.com/{project}"),
            project,
            keys,
            clock,
            allow_anonymous: false,
        }
    }

    /// Also admits anonymous users. Each of them is a new user with the credits of a new account.
    #[must_use]
    pub fn allowing_anonymous(self, allow_anonymous: bool) -> Self {
        Self { allow_anonymous, ..self }
    }

    /// The user of the token.
    pub async fn verify(&self, token: &str) -> Result<UserId, IdentityError> {
        let token = Token::parse(token, Algorithm::RS256)?;
        let kid = token.header.kid.as_deref().unwrap_or_default();
        if kid.is_empty() {
            return Err(missing_key_id(&token).into());
        }
        let claims: Claims = token.claims()?;
        // Check the claims first, so that a token for another service causes no fetch of keys.
        self.check(&claims)?;
        token.verify(&self.keys.key(kid).await?, Algorithm::RS256)?;
        if claims.firebase.sign_in_provider == "anonymous" && !self.allow_anonymous {
            return Err(IdentityError::Anonymous);
        }
        claims.sub.parse().map_err(IdentityError::UnusableUser)
    }

    fn check(&self, claims: &Claims) -> Result<(), TokenError> {
        let now = seconds(self.clock.now());
        if claims.aud != self.project {
            return Err(TokenError::Audience);
        }
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        if claims.sub.is_empty() || claims.sub.chars().count() > MAX_UID_CHARS {
            return Err(TokenError::Subject);
        }
        if claims.iat > now + SKEW || claims.auth_time > now + SKEW {
            return Err(TokenError::Future);
        }
        if claims.exp <= now - SKEW {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

/// Tells a custom token from other tokens without a key id.
fn missing_key_id(token: &Token<'_>) -> TokenError {
    #[derive(Deserialize)]
    struct Audience {
        aud: String,
    }
    match token.claims() {
        Ok(Audience { aud }) if aud == CUSTOM_TOKEN_AUDIENCE => TokenError::CustomToken,
        _ => TokenError::NoKeyId,
    }
}
