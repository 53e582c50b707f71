//! Tokens of any kind, good and bad.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::Value;

use super::{Identity, Issuer, key::Key};

/// What signs a token. The algorithm is what its header says, where that fits the key, else RS256 or HS256.
#[derive(Debug, Clone, Copy)]
pub enum Signing<'a> {
    /// The key of that issuer.
    By(Issuer),
    /// A key that nobody publishes.
    Stranger,
    /// A shared secret: HS256, as with a public key taken for one.
    Secret(&'a [u8]),
    /// These words in place of a signature: nothing for `alg: none`, `SIGNATURE_REMOVED_BY_GOOGLE` for a stripped one.
    Written(&'a str),
}

impl Identity {
    /// A token of exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value, signing: Signing<'_>) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let asked = header["alg"].as_str().and_then(|name| name.parse::<Algorithm>().ok());
        let by_key = |key: &Key| {
            let rsa = [
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ];
            signature(&message, &key.encoding, asked.filter(|asked| rsa.contains(asked)).unwrap_or(Algorithm::RS256))
        };
        let signature = match signing {
            Signing::By(issuer) => by_key(&self.key(issuer)),
            Signing::Stranger => by_key(&Key::first()[2]),
            Signing::Secret(secret) => {
                let hmac = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
                let asked = asked.filter(|asked| hmac.contains(asked)).unwrap_or(Algorithm::HS256);
                signature(&message, &EncodingKey::from_secret(secret), asked)
            }
            Signing::Written(words) => words.to_owned(),
        };
        format!("{message}.{signature}")
    }
}

fn signature(message: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    crypto::sign(message.as_bytes(), key, algorithm).expect("a key of this family signs")
}
