//! RSA keys of tests.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use rsa::{
    RsaPrivateKey,
    pkcs1::EncodeRsaPrivateKey as _,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
    traits::PublicKeyParts as _,
};
use serde_json::{Value, json};

pub struct Key {
    pub kid: String,
    pub encoding: EncodingKey,
    pub private_pem: String,
    pub public_pem: String,
    modulus: String,
    exponent: String,
}

impl Key {
    /// Google's, Firebase's, and one that nobody publishes: made once in a process, for they take a while.
    pub fn first() -> &'static [Arc<Self>; 3] {
        static FIRST: LazyLock<[Arc<Key>; 3]> = LazyLock::new(|| std::array::from_fn(|_| Arc::new(Key::new())));
        &FIRST
    }

    /// 2048 bits, as Google's.
    pub fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let key = RsaPrivateKey::new(&mut rand_core::OsRng, 2048).expect("2048 bits are enough for a key");
        let public = key.to_public_key();
        let private_pem =
            key.to_pkcs8_pem(LineEnding::LF).expect("a key that was just made can be written").to_string();
        let der = key.to_pkcs1_der().expect("a key that was just made can be written");
        Self {
            kid: format!("{:040x}", 0xE_u128 << 100 | u128::from(LAST.fetch_add(1, Ordering::Relaxed))),
            encoding: EncodingKey::from_rsa_der(der.as_bytes()),
            private_pem,
            public_pem: public.to_public_key_pem(LineEnding::LF).expect("a key that was just made can be written"),
            modulus: BASE64_URL_SAFE_NO_PAD.encode(public.n().to_bytes_be()),
            exponent: BASE64_URL_SAFE_NO_PAD.encode(public.e().to_bytes_be()),
        }
    }

    pub fn to_jwk(&self) -> Value {
        json!({ "alg": "RS256", "e": self.exponent, "kid": self.kid, "kty": "RSA", "n": self.modulus, "use": "sig" })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}
