//! OIDC tokens of Google's service accounts: what Pub/Sub and the scheduler send.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName};
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::{
    IdentityError, KeySet, TokenError, bearer,
    token::{Token, seconds},
};
use crate::domain::clock::Clock;

/// How far clocks may differ, in seconds.
const SKEW: i64 = 30;
/// Both spellings that Google uses.
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];
/// What Cloud Run puts where the signature was, once IAM has verified it.
const REMOVED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";
/// IAM looks at this header first and then leaves `Authorization` as the caller wrote it.
const OTHER_HEADER: HeaderName = HeaderName::from_static("x-serverless-authorization");

/// Verifies who pushes.
///
/// That Google has signed a token says little, for everybody with a service account can have one signed for any audience:
/// what counts is whose account it is. Tokens are sent again and again for up to an hour, so their age is no ground.
pub struct Oidc {
    signature: Signature,
    audience: String,
    accounts: Vec<String>,
    clock: Arc<dyn Clock>,
}

/// Who verifies the signature.
enum Signature {
    Here(KeySet),
    /// Cloud Run's IAM, before the request came here.
    Removed,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    email: String,
    email_verified: bool,
    iat: i64,
    exp: i64,
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Oidc {
    /// Verifies tokens in full: made for this audience, by one of these accounts (emails).
    pub fn verified_here(audience: String, accounts: Vec<String>, keys: KeySet, clock: Arc<dyn Clock>) -> Self {
        Self { signature: Signature::Here(keys), audience, accounts, clock }
    }

    /// Looks at the claims of tokens whose signature Cloud Run's IAM has verified and removed. Only for a service that
    /// requires authentication: anybody can write what stands in a signature's place.
    pub fn verified_by_cloud_run(audience: String, accounts: Vec<String>, clock: Arc<dyn Clock>) -> Self {
        Self { signature: Signature::Removed, audience, accounts, clock }
    }

    /// Lets a request in, by its headers.
    pub async fn verify(&self, headers: &HeaderMap) -> Result<(), IdentityError> {
        let token = Token::parse(bearer(headers)?, Algorithm::RS256)?;
        self.check(&token.claims()?)?;
        let is_removed = token.signature == REMOVED;
        match &self.signature {
            Signature::Here(_) if is_removed => Err(TokenError::SignatureRemoved.into()),
            Signature::Here(keys) => {
                let kid = token.header.kid.as_deref().filter(|kid| !kid.is_empty()).ok_or(TokenError::NoKeyId)?;
                Ok(token.verify(&keys.key(kid).await?, Algorithm::RS256)?)
            }
            Signature::Removed if !is_removed || headers.contains_key(OTHER_HEADER) => {
                Err(TokenError::NotVerifiedByCloudRun.into())
            }
            Signature::Removed => Ok(()),
        }
    }

    fn check(&self, claims: &Claims) -> Result<(), TokenError> {
        let now = seconds(self.clock.now());
        if !ISSUERS.contains(&claims.iss.as_str()) {
            return Err(TokenError::Issuer);
        }
        if claims.aud != self.audience {
            return Err(TokenError::Audience);
        }
        if claims.iat > now + SKEW {
            return Err(TokenError::Future);
        }
        if claims.exp <= now - SKEW {
            return Err(TokenError::Expired);
        }
        if !self.accounts.contains(&claims.email) {
            return Err(TokenError::Account);
        }
        if !claims.email_verified {
            return Err(TokenError::EmailNotVerified);
        }
        Ok(())
    }
}
