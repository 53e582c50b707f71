//! Who calls: verifies the tokens of Firebase users, of Google's service accounts, and those that open one path.
//!
//! The two kinds of caller have different issuers, keys and audiences, so each has a verifier of its own: a user's token
//! never opens the worker, nor a service account's the gateway. Time is the [`Clock`](crate::domain::clock::Clock)'s: what a
//! library says about expiry goes by a clock that no test can move, so only signatures are left to it.

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

/// Why a caller is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// There is no token, or it is not good. The cause is for the log: a caller who guesses is not helped.
    #[error("{0}")]
    InvalidToken(TokenError),
    /// A token for one path was good once.
    #[error("its time has passed")]
    PathTokenExpired,
    /// The token is good, and its user has an id that cannot be one here.
    #[error("its user cannot be one here: {0}")]
    UnusableUser(InvalidId),
    /// The token is good, and its user has not signed in: anybody can have as many of those as they like.
    #[error("its user is anonymous")]
    Anonymous,
    /// The keys that tokens are signed with were never had, or are too old to know this one: nobody can tell.
    #[error("the keys that tokens are signed with cannot be fetched")]
    KeysUnavailable {
        /// When they are asked for again.
        retry_after: Duration,
    },
}

impl From<TokenError> for IdentityError {
    fn from(cause: TokenError) -> Self {
        Self::InvalidToken(cause)
    }
}

/// What is wrong with a token. Nothing of the token is in it, so that it may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request has none.
    #[error("there is no token")]
    Missing,
    /// `Authorization` is no `Bearer TOKEN`.
    #[error("Authorization is no bearer token")]
    NotBearer,
    /// Several headers, or a header and a parameter.
    #[error("there is more than one token")]
    Repeated,
    /// Longer than any real one.
    #[error("it is too long")]
    TooLong,
    /// Not three parts of base64url without padding.
    #[error("it is not three parts of base64url")]
    NotThreeParts,
    /// A header that cannot be read.
    #[error("its header cannot be read")]
    Header,
    /// Another algorithm than the one that is used.
    #[error("its algorithm is not the one that is used")]
    Algorithm,
    /// A header that demands extensions nobody here knows.
    #[error("its header demands extensions")]
    Critical,
    /// No key is named.
    #[error("it names no key")]
    NoKeyId,
    /// A token that is exchanged for an ID token first.
    #[error("it is a custom token; sign in with it and send the ID token")]
    CustomToken,
    /// Claims that are missing, repeated or of a wrong type.
    #[error("its claims are missing or cannot be read")]
    Claims,
    /// Made by somebody else.
    #[error("its issuer is another")]
    Issuer,
    /// Made for somebody else.
    #[error("its audience is another")]
    Audience,
    /// No user, or one whose id is too long.
    #[error("its subject is empty or too long")]
    Subject,
    /// Its time has passed.
    #[error("its time has passed")]
    Expired,
    /// Its time has not come.
    #[error("it is from the future")]
    Future,
    /// A key that its issuer does not have.
    #[error("its key is unknown")]
    UnknownKey,
    /// A signature that is not that key's.
    #[error("its signature is wrong")]
    Signature,
    /// Cloud Run has taken the signature away, where it was to be verified here.
    #[error("Cloud Run has removed its signature, which worker.push_auth = \"oidc\" needs")]
    SignatureRemoved,
    /// The signature is still there, where Cloud Run was to verify it.
    #[error("Cloud Run has not verified its signature; does the service require authentication?")]
    NotVerifiedByCloudRun,
    /// A service account that may not call.
    #[error("its service account is none of worker.oidc.service_accounts")]
    Account,
    /// An email that Google does not vouch for.
    #[error("its email is not verified")]
    EmailNotVerified,
    /// A token for another path, or for another use of it.
    #[error("it opens another path")]
    OtherPath,
}
