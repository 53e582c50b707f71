//! The outside of a token: three parts, a header, claims. Nothing of it is believed yet.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::TokenError;
use crate::domain::Timestamp;

/// Bytes of a token, at most. Firebase allows 1000 bytes of custom claims; real tokens have one or two thousand in all.
const LONGEST: usize = 8 << 10;

/// A token in the form of a JWT (RFC 7519).
pub(super) struct Token<'a> {
    /// What is signed: header and claims as they were sent.
    signed: &'a str,
    /// The third part as it was sent.
    pub signature: &'a str,
    pub header: Header,
    claims: Vec<u8>,
}

/// What a header says. `jku`, `x5u` and the like name places to fetch keys from: nobody looks at them.
#[derive(Deserialize)]
pub(super) struct Header {
    alg: String,
    pub kid: Option<String>,
    pub typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Takes a token apart; the algorithm must be the one that its verifier uses.
    pub fn parse(text: &'a str, algorithm: Algorithm) -> Result<Self, TokenError> {
        if text.len() > LONGEST {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::NotThreeParts)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::NotThreeParts)?;
        // The alphabet has no dot, so a fourth part fails here.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::NotThreeParts);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Header)?;
        let claims = decode(claims)?;
        if header.alg.parse() != Ok(algorithm) {
            return Err(TokenError::Algorithm);
        }
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        Ok(Self { signed, signature, header, claims })
    }

    /// The claims as `T`, which fails where one that `T` needs is missing or repeated.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, TokenError> {
        serde_json::from_slice(&self.claims).map_err(|_| TokenError::Claims)
    }

    /// Whether the key has signed it.
    pub fn verify(&self, key: &DecodingKey, algorithm: Algorithm) -> Result<(), TokenError> {
        match crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TokenError::Signature),
        }
    }
}

/// Now, in the seconds since 1970 that tokens count in.
pub(super) fn seconds(now: Timestamp) -> i64 {
    now.as_second()
}
