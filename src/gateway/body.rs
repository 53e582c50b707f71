//! Bodies: read once, within a limit and a time, parsed once where they are JSON, and every refusal explained.

use std::{fmt, fs::File, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_path_to_error::{Path, Segment, Track};

use super::{
    GatewayState,
    problem::{Code, Problem, WrongField},
};
use crate::{
    domain::{field_error::FieldError, upload::ARCHIVE_TYPE},
    jobs::Spool,
};

/// The longest text of a refusal; parsers quote what they refuse, and that may be a megabyte.
const DETAIL_CHARS: usize = 480;

/// The JSON object in the body.
pub(super) async fn json<T: DeserializeOwned>(
    gateway: &GatewayState,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    check_content_type(headers)?;
    parse(&within(gateway.0.body_timeout, headers, body, gateway.0.body_limit).await?)
}

/// The body as it is, for a file.
pub(super) async fn file(
    gateway: &GatewayState,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, Problem> {
    within(gateway.0.upload_timeout, headers, body, limit).await
}

/// The body in a temporary file, for what is too large for memory. It may take as much longer as it is larger than a picture.
pub(super) async fn spooled(
    gateway: &GatewayState,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<File, Problem> {
    check_length(headers, limit)?;
    let pictures = limit.div_ceil(gateway.submission().settings().uploads.limits.max_bytes.max(1));
    let time = gateway.0.upload_timeout.saturating_mul(u32::try_from(pictures).unwrap_or(u32::MAX));
    let received = async {
        let mut spool = Spool::new().await?;
        let mut chunks = body.into_data_stream();
        let mut length = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| ended_early())?;
            length += chunk.len();
            if length > limit {
                return Err(too_large(limit));
            }
            spool.write(&chunk).await?;
        }
        Ok(spool.finish().await?)
    };
    tokio::time::timeout(time, received).await.map_err(|_| late())?
}

/// Whether the body is said to be an archive.
pub(super) fn is_archive(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(ARCHIVE_TYPE)
}

async fn within(time: Duration, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    tokio::time::timeout(time, read(headers, body, limit)).await.map_err(|_| late())?
}

fn late() -> Problem {
    Problem::new(Code::RequestTimeout, "the body did not arrive in time")
}

fn ended_early() -> Problem {
    Problem::new(Code::Malformed, "the body ended early")
}

const HINT: &str = "send the header Content-Type: application/json";

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail: String| Err(Problem::new(Code::UnsupportedMediaType, detail));
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return refuse(HINT.to_owned()) };
    let Ok(text) = value.to_str() else { return refuse(HINT.to_owned()) };
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    if essence == "application/x-www-form-urlencoded" {
        return refuse(format!("{HINT}; curl -d sends a form unless told: add -H 'Content-Type: application/json'"));
    }
    let structured = essence.strip_prefix("application/").is_some_and(|kind| kind.ends_with("+json"));
    if essence != "application/json" && !structured {
        return refuse(format!("{HINT} instead of {}", shortened(&essence)));
    }
    let charset = parts.find_map(|part| part.strip_prefix("charset=").map(|name| name.trim_matches('"').to_owned()));
    match charset {
        Some(name) if name != "utf-8" && name != "utf8" => refuse("JSON is UTF-8: leave the charset out".to_owned()),
        _ => Ok(()),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body may have at most {limit} bytes"))
}

/// Refuses a body before a byte of it is read, where the client says that it is too long.
pub(super) fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(length) if usize::try_from(length).map_or(true, |length| length > limit) => Err(too_large(limit)),
        _ => Ok(()),
    }
}

async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    check_length(headers, limit)?;
    let mut chunks = body.into_data_stream();
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ended_early())?;
        if first.len() + whole.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        // Most bodies come in one piece, which then need not be copied; a file comes in many.
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Problem::new(Code::Malformed, "the body begins with a byte order mark; send it without"));
    }
    // serde would also take a list, as the fields in order.
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(_) => return Err(Problem::new(Code::Malformed, "the body must be a JSON object")),
        None => return Err(Problem::new(Code::Malformed, "the body is empty; a JSON object is expected")),
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = Track::new();
    let parsed = T::deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    let refused = match parsed {
        Ok(value) => match json.end() {
            Ok(()) => return Ok(value),
            Err(error) => error,
        },
        Err(error) => error,
    };
    let detail = shortened(&refused.to_string());
    let pointer = pointer(&track.path());
    if pointer.is_empty() || refused.is_syntax() || refused.is_eof() {
        return Err(Problem::new(Code::Malformed, detail));
    }
    let wrong = WrongField::from(FieldError { pointer, detail: detail.clone() });
    Err(Problem::new(Code::Malformed, detail).with_errors(vec![wrong]))
}

/// The place where a parser stopped, as a JSON Pointer.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Map { key } => pointer.push_str(&shortened(&key.replace('~', "~0").replace('/', "~1"))),
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => {
                pointer.pop();
                break;
            }
        }
    }
    pointer
}

/// The beginning and the end: what is wrong stands at the one, what would be right at the other.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= DETAIL_CHARS {
        return text.to_owned();
    }
    let head = text.chars().take(DETAIL_CHARS / 4);
    let tail = text.chars().skip(length - DETAIL_CHARS * 3 / 4);
    head.chain(" … ".chars()).chain(tail).collect()
}

/// An integer of any size. One too large for every field is still read, so that its field is named with the other wrong
/// ones; `1.0` and `1e3` are not integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WholeNumber(pub i128);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeNumberVisitor)
    }
}

struct WholeNumberVisitor;

impl serde::de::Visitor<'_> for WholeNumberVisitor {
    type Value = WholeNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E>(self, value: i64) -> Result<WholeNumber, E> {
        Ok(WholeNumber(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<WholeNumber, E> {
        Ok(WholeNumber(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<WholeNumber, E> {
        // serde_json hands integers beyond 64 bits on as floats.
        if value.abs() >= 9.2e18 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates, and no field takes a value near the ends"
            )]
            return Ok(WholeNumber(value as i128));
        }
        Err(E::invalid_type(serde::de::Unexpected::Float(value), &self))
    }
}
