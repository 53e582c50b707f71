//! Identifiers. Parsing checks them once, at the boundary; every value of these types is valid.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{clock::Random, hex, kind::JobKind};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 20;

/// The text is not a valid identifier of this type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidId {
    what: &'static str,
    rule: &'static str,
}

/// `ill_` or `brd_` plus 20 base62 characters (119 bits).
///
/// Random, not ordered by time: with ordered keys all writes hit one range of Firestore's index (a hot spot).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// A fresh id that cannot be guessed.
    pub fn random(kind: JobKind, random: &dyn Random) -> Self {
        Self(random_text(kind.id_prefix(), random))
    }

    /// The id for (user, idempotency key): a repeated submit finds the first job, even after a crash.
    pub fn derived(kind: JobKind, user: &UserId, key: &str) -> Self {
        let mut hash = Sha256::new();
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((user.as_str().len() as u64).to_be_bytes());
        hash.update(user.as_str());
        hash.update(key);
        let digest = hash.finalize();
        let mut bits = [0_u8; 16];
        bits.copy_from_slice(&digest[..16]);
        Self(text_of_bits(kind.id_prefix(), u128::from_be_bytes(bits)))
    }

    /// The kind of job that the prefix names.
    pub fn kind(&self) -> JobKind {
        JobKind::of_id(&self.0).unwrap_or(JobKind::Illustration)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `prefix` plus 20 random base62 characters.
pub(super) fn random_text(prefix: &str, random: &dyn Random) -> String {
    text_of_bits(prefix, u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()))
}

pub(super) fn text_of_bits(prefix: &str, mut bits: u128) -> String {
    let mut text = String::with_capacity(prefix.len() + RANDOM_CHARS);
    text.push_str(prefix);
    for _ in 0..RANDOM_CHARS {
        text.push(char::from(BASE62[(bits % 62) as usize]));
        bits /= 62;
    }
    text
}

impl FromStr for JobId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let tail = JobKind::of_id(text).and_then(|kind| text.strip_prefix(kind.id_prefix()));
        match tail {
            Some(tail) if tail.len() == RANDOM_CHARS && tail.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidId { what: "a job id", rule: "ill_ or brd_ and 20 letters or digits" }),
        }
    }
}

/// A user: 1–128 letters, digits and `_ . @ + -`, beginning with a letter or digit.
///
/// The alphabet is narrow because the id is part of media keys, where `..`, `/` and control characters must not occur.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_name(text, "a user id").map(Self)
    }
}

/// A team; the same alphabet as [`UserId`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TeamId(String);

impl TeamId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TeamId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_name(text, "a team id").map(Self)
    }
}

fn parse_name(text: &str, what: &'static str) -> Result<String, InvalidId> {
    let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest_ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@+-".contains(&b));
    if first_ok && rest_ok && text.len() <= 128 {
        Ok(text.to_owned())
    } else {
        Err(InvalidId { what, rule: "1 to 128 letters, digits or _ . @ + - and begin with a letter or digit" })
    }
}

/// The owner of credits: `users/{userId}` or, for members of a team, `teams/{teamId}` (the Firestore paths).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AccountId {
    /// One user's account.
    User(UserId),
    /// The account that the members of a team share.
    Team(TeamId),
}

impl FromStr for AccountId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some(("users", id)) => Ok(Self::User(id.parse()?)),
            Some(("teams", id)) => Ok(Self::Team(id.parse()?)),
            _ => Err(InvalidId { what: "an account", rule: "users/{userId} or teams/{teamId}" }),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "users/{id}"),
            Self::Team(id) => write!(f, "teams/{id}"),
        }
    }
}

/// The process that holds a lease: its process id and a random part, because process ids repeat across machines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    /// An id for the process with this process id.
    pub fn new(process: u32, random: &dyn Random) -> Self {
        Self(format!("worker-{process}-{:08x}", random.next_u64() >> 32))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a validated request, in hex. It distinguishes a repeated request from a different one under the same
/// idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestHash(String);

impl RequestHash {
    /// The hash of `canonical`, a form of the request that does not depend on spelling or field order.
    pub fn of(canonical: &[u8]) -> Self {
        Self(hex::encode(&Sha256::digest(canonical)))
    }

    /// The hash as 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a request in responses and in the log: the client's own if it is short and harmless there, else a fresh one.
pub fn request_id(given: Option<&[u8]>, random: &dyn Random) -> String {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"_.-".contains(b);
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.iter().all(legal) => String::from_utf8_lossy(id).into_owned(),
        _ => format!("req_{:016x}{:016x}", random.next_u64(), random.next_u64()),
    }
}

macro_rules! text_conversions {
    ($($id:ty),*) => {$(
        impl TryFrom<String> for $id {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$id> for String {
            fn from(id: $id) -> String {
                id.to_string()
            }
        }
    )*};
}
text_conversions!(JobId, UserId, TeamId, AccountId);

macro_rules! display_inner {
    ($($id:ty),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
display_inner!(JobId, UserId, TeamId, WorkerId, RequestHash);
