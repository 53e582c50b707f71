//! Identifies callers: verifies the ID tokens of Firebase users, the OIDC tokens of Google's service accounts, and tokens that
//! open one path.
//!
//! Users and service accounts have different issuers, keys and audiences, and therefore separate verifiers: a user's token
//! never opens the worker, and a service account's token never opens the gateway. Time comes from the
//! [`Clock`](crate::domain::clock::Clock). The JWT library only verifies signatures, because its expiry check uses a clock
//! that tests cannot set.

mod bearer;
mod firebase;
mod jwks;
mod oidc;
mod path_token;
mod token;

use std::time::Duration;

pub use bearer::bearer;
pub use firebase::Firebase;
pub use jwks::KeySet;
pub use oidc::Oidc;
pub use path_token::{PathTokens, SignedPathToken};

use crate::domain::ids::InvalidId;

/// Why a caller could not be identified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The token is missing or invalid. The cause is for the log only, so that a caller cannot learn from guesses.
    #[error("{0}")]
    InvalidToken(TokenError),
    /// The path token was valid, but has expired.
    #[error("the token has expired")]
    PathTokenExpired,
    /// The token is valid, but its user id cannot be used here.
    #[error("the user id of the token cannot be used: {0}")]
    UnusableUser(InvalidId),
    /// The token is valid, but belongs to an anonymous user. Anyone can create any number of anonymous users.
    #[error("the user of the token is anonymous")]
    Anonymous,
    /// The token cannot be verified, because the keys were never fetched or are too old to contain its key.
    #[error("the keys that verify tokens cannot be fetched")]
    KeysUnavailable {
        /// When the next fetch is due.
        retry_after: Duration,
    },
}

impl From<TokenError> for IdentityError {
    fn from(cause: TokenError) -> Self {
        Self::InvalidToken(cause)
    }
}

/// What is wrong with a token. Contains nothing of the token, so it can be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the request has no token")]
    Missing,
    #[error("the Authorization header is not a bearer token")]
    NotBearer,
    /// Several headers, or a header and a parameter.
    #[error("the request has more than one token")]
    Repeated,
    #[error("the token is too long")]
    TooLong,
    #[error("the token is not three parts of base64url without padding")]
    NotThreeParts,
    #[error("the header of the token cannot be read")]
    Header,
    #[error("the token has an unexpected algorithm")]
    Algorithm,
    /// `crit` lists extensions that the verifier must support.
    #[error("the header of the token requires extensions")]
    Critical,
    #[error("the token has no key id")]
    NoKeyId,
    #[error("it is a custom token; sign in with it and send the ID token")]
    CustomToken,
    /// Claims are missing, repeated or of a wrong type.
    #[error("the claims of the token are missing or cannot be read")]
    Claims,
    #[error("the token has another issuer")]
    Issuer,
    #[error("the token has another audience")]
    Audience,
    #[error("the subject of the token is empty or too long")]
    Subject,
    #[error("the token has expired")]
    Expired,
    #[error("the token is from the future")]
    Future,
    #[error("the issuer has no key with the key id of the token")]
    UnknownKey,
    #[error("the signature of the token is wrong")]
    Signature,
    /// The signature was to be verified here.
    #[error("Cloud Run has removed the signature, which worker.push_auth = \"oidc\" needs")]
    SignatureRemoved,
    /// The signature was to be verified by Cloud Run.
    #[error("Cloud Run has not verified the signature; does the service require authentication?")]
    NotVerifiedByCloudRun,
    #[error("worker.oidc.service_accounts does not contain the service account of the token")]
    Account,
    #[error("the email of the token is not verified")]
    EmailNotVerified,
    /// A token for another path or another purpose.
    #[error("the token opens another path")]
    OtherPath,
}
