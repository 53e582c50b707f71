//! Checks V4 signatures as documented.

use std::{
    fmt::Write as _,
    io,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, Method, Uri, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use jsonwebtoken::{Algorithm, DecodingKey};
use rand_core::OsRng;
use rsa::{
    RsaPrivateKey,
    pkcs8::{EncodePrivateKey as _, LineEnding},
    traits::PublicKeyParts as _,
};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "GOOG4-RSA-SHA256";
const EMAIL: &str = "signer@emulated.iam.gserviceaccount.com";
/// Seven days.
const LONGEST: i64 = 604_800;

/// A service account's key, generated once for each process.
#[derive(Debug, Clone)]
pub(super) struct SigningKey {
    json: String,
    modulus: String,
    exponent: String,
}

/// Why a signed request is refused: Cloud Storage's status and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str);

impl SigningKey {
    /// The process's key.
    pub(super) fn shared() -> io::Result<Self> {
        static KEY: Mutex<Option<SigningKey>> = Mutex::new(None);
        let mut key = KEY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*key {
            return Ok(key.clone());
        }
        let made = Self::make()?;
        Ok(key.insert(made).clone())
    }

    fn make() -> io::Result<Self> {
        let private = RsaPrivateKey::new(&mut OsRng, 2048).map_err(io::Error::other)?;
        let pem = private.to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)?;
        let json = serde_json::json!({
            "type": "service_account", "project_id": "emulated", "private_key_id": "emulated-key",
            "private_key": pem.as_str(), "client_email": EMAIL, "token_uri": "https://oauth2.invalid/token"
        });
        Ok(Self {
            json: json.to_string(),
            modulus: URL_SAFE_NO_PAD.encode(private.n().to_bytes_be()),
            exponent: URL_SAFE_NO_PAD.encode(private.e().to_bytes_be()),
        })
    }

    /// The key as a service account's key file.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// Checks that the request is signed with this key and not expired.
    pub(super) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap, now: Timestamp) -> Result<(), Refusal> {
        const MALFORMED: Refusal = Refusal(400, "MalformedSecurityHeader");
        const MISMATCH: Refusal = Refusal(403, "SignatureDoesNotMatch");
        let mut parameters: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
        let value = |name: &str| {
            let raw = parameters.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            raw.map(|raw| raw.replace("%2F", "/").replace("%40", "@").replace("%3B", ";")).ok_or(MALFORMED)
        };
        let (date, names) = (value("X-Goog-Date")?, value("X-Goog-SignedHeaders")?);
        let expires = value("X-Goog-Expires")?.parse::<i64>().map_err(|_| MALFORMED)?;
        let signature = from_hex(&value("X-Goog-Signature")?).ok_or(MALFORMED)?;
        let scope = format!("{}/auto/storage/goog4_request", date.get(..8).ok_or(MALFORMED)?);
        if value("X-Goog-Algorithm")? != ALGORITHM || !(1..=LONGEST).contains(&expires) {
            return Err(MALFORMED);
        }
        if value("X-Goog-Credential")? != format!("{EMAIL}/{scope}") {
            return Err(MISMATCH);
        }
        let signed: Vec<&str> = names.split(';').collect();
        let is_covered = |name: &str| !name.starts_with("x-goog-") || signed.contains(&name);
        if !signed.contains(&"host") || !headers.keys().all(|name| is_covered(name.as_str())) {
            return Err(MALFORMED);
        }
        parameters.retain(|pair| !pair.starts_with("X-Goog-Signature="));
        parameters.sort_unstable();
        let lines = signed.iter().try_fold(String::new(), |mut lines, name| {
            let _ = writeln!(lines, "{name}:{}", header_value(headers, name)?); // writing to a String cannot fail
            Some(lines)
        });
        let request = [method.as_str(), uri.path(), &parameters.join("&"), &lines.ok_or(MISMATCH)?, &names];
        let request = format!("{}\nUNSIGNED-PAYLOAD", request.join("\n"));
        let text = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hex(&Sha256::digest(request)));
        self.verify(&text, &signature).then_some(()).ok_or(MISMATCH)?;
        let until = moment(&date).ok_or(MALFORMED)? + SignedDuration::from_secs(expires);
        if now > until { Err(Refusal(400, "ExpiredToken")) } else { Ok(()) }
    }

    fn verify(&self, text: &str, signature: &[u8]) -> bool {
        let Ok(key) = DecodingKey::from_rsa_components(&self.modulus, &self.exponent) else { return false };
        let signature = URL_SAFE_NO_PAD.encode(signature);
        jsonwebtoken::crypto::verify(&signature, text.as_bytes(), &key, Algorithm::RS256).unwrap_or(false)
    }
}

/// A header's value as it is signed: trimmed, with single spaces. Signers leave out the endpoint's port, because the real
/// Cloud Storage has none.
fn header_value(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_host = name == header::HOST.as_str();
    Some(value.split(':').next().filter(|_| is_host).map_or(value.clone(), str::to_owned))
}

fn moment(date: &str) -> Option<Timestamp> {
    let date = DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digit).collect()
}
