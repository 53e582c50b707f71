//! ID tokens of Firebase users.

use std::{fmt, sync::Arc};

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::{
    IdentityError, KeySet, TokenError,
    token::{Token, seconds},
};
use crate::domain::{clock::Clock, ids::UserId};

/// How far clocks may differ, in seconds: what Firebase's own libraries allow.
const SKEW: i64 = 300;
/// Characters of a user's id, at most.
const UID_CHARS: usize = 128;
/// Whom custom tokens are made for.
const CUSTOM_TOKEN_AUDIENCE: &str =
    "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit";

/// Verifies ID tokens of one Firebase project.
///
/// It looks at the token alone: a user who is disabled, or whose tokens are revoked, is let in until the token's hour is
/// over. Custom tokens and session cookies are refused.
pub struct Firebase {
    project: String,
    issuer: String,
    keys: KeySet,
    clock: Arc<dyn Clock>,
    allow_anonymous: bool,
}

/// What an ID token says, as far as it is looked at. `aud` is one text: a list is of somebody else.
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
    /// A verifier of this project's tokens; the project's id, not its number.
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

    /// The same, which also lets in users who have not signed in. Each is a new user, with a new account's credits.
    #[must_use]
    pub fn allowing_anonymous(self, allow_anonymous: bool) -> Self {
        Self { allow_anonymous, ..self }
    }

    /// The user whose token it is.
    pub async fn verify(&self, token: &str) -> Result<UserId, IdentityError> {
        let token = Token::parse(token, Algorithm::RS256)?;
        let kid = token.header.kid.as_deref().unwrap_or_default();
        if kid.is_empty() {
            return Err(without_key(&token).into());
        }
        let claims: Claims = token.claims()?;
        // Before the key: what is not for us causes no fetch.
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
        if claims.sub.is_empty() || claims.sub.chars().count() > UID_CHARS {
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

/// Why a token names no key.
fn without_key(token: &Token<'_>) -> TokenError {
    #[derive(Deserialize)]
    struct Audience {
        aud: String,
    }
    match token.claims() {
        Ok(Audience { aud }) if aud == CUSTOM_TOKEN_AUDIENCE => TokenError::CustomToken,
        _ => TokenError::NoKeyId,
    }
}
