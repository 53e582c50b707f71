//! Parses tokens: three parts, a header, claims. Nothing is verified yet.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::TokenError;
use crate::domain::Timestamp;

/// The maximum size of a token in bytes. Firebase allows 1000 bytes of custom claims; real tokens have 1000 to 2000 bytes.
const MAX_BYTES: usize = 8 << 10;

/// A JWT (RFC 7519).
pub(super) struct Token<'a> {
    /// The signed text: header and claims as received.
    signed: &'a str,
    /// The third part as received.
    pub signature: &'a str,
    pub header: Header,
    claims: Vec<u8>,
}

/// The header. `jku`, `x5u` and similar fields are ignored on purpose: they tell where to fetch keys.
#[derive(Deserialize)]
pub(super) struct Header {
    alg: String,
    pub kid: Option<String>,
    pub typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Parses a token, which must have this algorithm.
    pub fn parse(text: &'a str, algorithm: Algorithm) -> Result<Self, TokenError> {
        if text.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::NotThreeParts)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::NotThreeParts)?;
        // base64url has no dot, so a fourth part fails here.
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

    /// The claims as `T`; fails if a claim of `T` is missing or repeated.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, TokenError> {
        serde_json::from_slice(&self.claims).map_err(|_| TokenError::Claims)
    }

    /// Verifies the signature.
    pub fn verify(&self, key: &DecodingKey, algorithm: Algorithm) -> Result<(), TokenError> {
        match crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TokenError::Signature),
        }
    }
}

/// Seconds since 1970, as used in tokens.
pub(super) fn seconds(now: Timestamp) -> i64 {
    now.as_second()
}
