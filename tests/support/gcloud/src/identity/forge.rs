//! Valid and forged tokens.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::Value;

use super::{Identity, Issuer, key::Key};

/// How a token is signed. The header names the algorithm if that fits the key; otherwise RS256 or HS256.
#[derive(Debug, Clone, Copy)]
pub enum Signing<'a> {
    /// The key of this issuer.
    By(Issuer),
    /// An RSA key that is not published.
    Stranger,
    /// A shared secret (HS256), for example a public key that is misused as one.
    Secret(&'a [u8]),
    /// This text instead of a signature: empty for `alg: none`, `SIGNATURE_REMOVED_BY_GOOGLE` for a stripped signature.
    Written(&'a str),
}

impl Identity {
    /// A token with exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value, signing: Signing<'_>) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let algorithm = header["alg"].as_str().and_then(|name| name.parse::<Algorithm>().ok());
        let by_key = |key: &Key| {
            let rsa = [
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ];
            signature(
                &message,
                &key.encoding,
                algorithm.filter(|algorithm| rsa.contains(algorithm)).unwrap_or(Algorithm::RS256),
            )
        };
        let signature = match signing {
            Signing::By(issuer) => by_key(&self.key(issuer)),
            Signing::Stranger => by_key(&Key::first()[2]),
            Signing::Secret(secret) => {
                let hmac = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
                let algorithm = algorithm.filter(|algorithm| hmac.contains(algorithm)).unwrap_or(Algorithm::HS256);
                signature(&message, &EncodingKey::from_secret(secret), algorithm)
            }
            Signing::Written(words) => words.to_owned(),
        };
        format!("{message}.{signature}")
    }
}

fn signature(message: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    crypto::sign(message.as_bytes(), key, algorithm).expect("a key of this family signs")
}
