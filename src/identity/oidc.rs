//! OIDC tokens of Google's service accounts, as sent by Pub/Sub and Cloud Scheduler.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName};
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::{
    IdentityError, KeySet, TokenError, bearer,
    token::{Token, seconds},
};
use crate::domain::clock::Clock;

/// The allowed clock difference in seconds.
const SKEW: i64 = 30;
/// Google uses both spellings.
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];
/// Cloud Run replaces the signature by this text after IAM has verified it.
const REMOVED_SIGNATURE: &str = "SIGNATURE_REMOVED_BY_GOOGLE";
/// If this header is present, IAM checks it and leaves `Authorization` as the caller has sent it.
const SERVERLESS_AUTHORIZATION: HeaderName = HeaderName::from_static("x-serverless-authorization");

/// Verifies the tokens of push requests.
///
/// Google's signature alone proves little: anyone with a service account can get a token for any audience. The account of the
/// token decides. Tokens are reused for up to an hour, so a token is not refused because of its age.
pub struct Oidc {
    signature: SignatureCheck,
    audience: String,
    accounts: Vec<String>,
    clock: Arc<dyn Clock>,
}

/// Where the signature is verified.
enum SignatureCheck {
    Local(KeySet),
    /// IAM has verified it before the request reached this process.
    CloudRun,
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
    /// Verifies tokens completely: signature, audience and account (email).
    pub fn verified_here(audience: String, accounts: Vec<String>, keys: KeySet, clock: Arc<dyn Clock>) -> Self {
        Self { signature: SignatureCheck::Local(keys), audience, accounts, clock }
    }

    /// Checks the claims of tokens whose signature Cloud Run's IAM has verified and removed. Use this only for a service that
    /// requires authentication, because anyone can send a token with a removed signature.
    pub fn verified_by_cloud_run(audience: String, accounts: Vec<String>, clock: Arc<dyn Clock>) -> Self {
        Self { signature: SignatureCheck::CloudRun, audience, accounts, clock }
    }

    /// Verifies the token in a request's headers.
    pub async fn verify(&self, headers: &HeaderMap) -> Result<(), IdentityError> {
        let token = Token::parse(bearer(headers)?, Algorithm::RS256)?;
        self.check(&token.claims()?)?;
        let is_removed = token.signature == REMOVED_SIGNATURE;
        match &self.signature {
            SignatureCheck::Local(_) if is_removed => Err(TokenError::SignatureRemoved.into()),
            SignatureCheck::Local(keys) => {
                let kid = token.header.kid.as_deref().filter(|kid| !kid.is_empty()).ok_or(TokenError::NoKeyId)?;
                Ok(token.verify(&keys.key(kid).await?, Algorithm::RS256)?)
            }
            SignatureCheck::CloudRun if !is_removed || headers.contains_key(SERVERLESS_AUTHORIZATION) => {
                Err(TokenError::NotVerifiedByCloudRun.into())
            }
            SignatureCheck::CloudRun => Ok(()),
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
