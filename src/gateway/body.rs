//! Reads request bodies within a size limit and a timeout, and parses JSON with errors that name the field.

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
    problem::{Code, InvalidField, Problem},
};
use crate::{
    domain::{field_error::FieldError, upload::ARCHIVE_TYPE},
    jobs::Spool,
};

/// The maximum length of an error text: parsers quote their input, which may be a megabyte.
const MAX_DETAIL_CHARS: usize = 480;

/// Reads the body as a JSON object.
pub(super) async fn json<T: DeserializeOwned>(
    gateway: &GatewayState,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    check_content_type(headers)?;
    parse(&read_within(gateway.0.body_timeout, headers, body, gateway.0.body_limit).await?)
}

/// Reads the body into memory, for a file.
pub(super) async fn file(
    gateway: &GatewayState,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, Problem> {
    read_within(gateway.0.upload_timeout, headers, body, limit).await
}

/// Reads the body into a temporary file, for a file that is too large for memory. The timeout grows with the limit.
pub(super) async fn spooled(
    gateway: &GatewayState,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<File, Problem> {
    check_length(headers, limit)?;
    let factor = limit.div_ceil(gateway.submission().settings().uploads.limits.max_bytes.max(1));
    let timeout = gateway.0.upload_timeout.saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX));
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
    tokio::time::timeout(timeout, received).await.map_err(|_| timed_out())?
}

/// Whether the Content-Type is that of an archive.
pub(super) fn is_archive(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(ARCHIVE_TYPE)
}

async fn read_within(timeout: Duration, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    tokio::time::timeout(timeout, read(headers, body, limit)).await.map_err(|_| timed_out())?
}

fn timed_out() -> Problem {
    Problem::new(Code::RequestTimeout, "the body did not arrive in time")
}

fn ended_early() -> Problem {
    Problem::new(Code::Malformed, "the body ended early")
}

const CONTENT_TYPE_HINT: &str = "send the header Content-Type: application/json";

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail: String| Err(Problem::new(Code::UnsupportedMediaType, detail));
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return refuse(CONTENT_TYPE_HINT.to_owned()) };
    let Ok(text) = value.to_str() else { return refuse(CONTENT_TYPE_HINT.to_owned()) };
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    if essence == "application/x-www-form-urlencoded" {
        return refuse(format!(
            "{CONTENT_TYPE_HINT}; curl -d sends a form by default: add -H 'Content-Type: application/json'"
        ));
    }
    let structured = essence.strip_prefix("application/").is_some_and(|kind| kind.ends_with("+json"));
    if essence != "application/json" && !structured {
        return refuse(format!("{CONTENT_TYPE_HINT} instead of {}", shortened(&essence)));
    }
    let charset = parts.find_map(|part| part.strip_prefix("charset=").map(|name| name.trim_matches('"').to_owned()));
    match charset {
        Some(name) if name != "utf-8" && name != "utf8" => {
            refuse("JSON is always UTF-8: remove the charset".to_owned())
        }
        _ => Ok(()),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body may have at most {limit} bytes"))
}

/// Refuses a body whose Content-Length is too large, before a byte of it is read.
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
    let mut joined = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ended_early())?;
        if first.len() + joined.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        // Most bodies arrive in one chunk, which is not copied; a file arrives in many.
        if first.is_empty() && joined.is_empty() {
            first = chunk;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&chunk);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Problem::new(Code::Malformed, "the body begins with a byte order mark; remove it"));
    }
    // serde would also accept a list, as the fields in order.
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(_) => return Err(Problem::new(Code::Malformed, "the body must be a JSON object")),
        None => return Err(Problem::new(Code::Malformed, "the body is empty; send a JSON object")),
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = Track::new();
    let parsed = T::deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    let error = match parsed {
        Ok(value) => match json.end() {
            Ok(()) => return Ok(value),
            Err(error) => error,
        },
        Err(error) => error,
    };
    let detail = shortened(&error.to_string());
    let pointer = pointer(&track.path());
    if pointer.is_empty() || error.is_syntax() || error.is_eof() {
        return Err(Problem::new(Code::Malformed, detail));
    }
    let wrong = InvalidField::from(FieldError { pointer, detail: detail.clone() });
    Err(Problem::new(Code::Malformed, detail).with_errors(vec![wrong]))
}

/// The position where the parser stopped, as a JSON Pointer.
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

/// The beginning and the end of a long text: serde names the unexpected input first and the expected type last.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= MAX_DETAIL_CHARS {
        return text.to_owned();
    }
    let head = text.chars().take(MAX_DETAIL_CHARS / 4);
    let tail = text.chars().skip(length - MAX_DETAIL_CHARS * 3 / 4);
    head.chain(" … ".chars()).chain(tail).collect()
}

/// An integer of any size: a number that is too large is then reported together with the other invalid fields. `1.0` and
/// `1e3` are not integers.
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
        // serde_json passes integers beyond 64 bits as floats.
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
