//! RSA keys for tests.

use std::{
    ops::Deref,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
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

/// A key that is generated on first use, because that takes a while.
pub struct Key {
    pub kid: String,
    material: LazyLock<Material>,
}

pub struct Material {
    pub encoding: EncodingKey,
    pub private_pem: String,
    pub public_pem: String,
    modulus: String,
    exponent: String,
}

impl Key {
    /// The keys of Google and Firebase, and one that is not published. They are the same in the whole process.
    pub fn first() -> &'static [Arc<Self>; 3] {
        static FIRST: LazyLock<[Arc<Key>; 3]> = LazyLock::new(|| std::array::from_fn(|_| Arc::new(Key::new())));
        &FIRST
    }

    pub fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // As long as Google's ids, and never the same.
        let kid = format!("{:040x}", (0xE_u128 << 100) | u128::from(LAST.fetch_add(1, Ordering::Relaxed)));
        Self { kid, material: LazyLock::new(Material::new) }
    }

    pub fn to_jwk(&self) -> Value {
        let Material { modulus, exponent, .. } = &**self;
        json!({ "alg": "RS256", "e": exponent, "kid": self.kid, "kty": "RSA", "n": modulus, "use": "sig" })
    }
}

impl Deref for Key {
    type Target = Material;

    fn deref(&self) -> &Material {
        &self.material
    }
}

impl Material {
    /// 2048 bits, like Google's keys.
    fn new() -> Self {
        let key = RsaPrivateKey::new(&mut rand_core::OsRng, 2048).expect("2048 bits are enough for a key");
        let public = key.to_public_key();
        let der = key.to_pkcs1_der().expect("a key that was just made can be written");
        Self {
            encoding: EncodingKey::from_rsa_der(der.as_bytes()),
            private_pem: key.to_pkcs8_pem(LineEnding::LF).expect("a key that was just made can be written").to_string(),
            public_pem: public.to_public_key_pem(LineEnding::LF).expect("a key that was just made can be written"),
            modulus: BASE64_URL_SAFE_NO_PAD.encode(public.n().to_bytes_be()),
            exponent: BASE64_URL_SAFE_NO_PAD.encode(public.e().to_bytes_be()),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}
