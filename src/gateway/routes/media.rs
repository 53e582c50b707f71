//! `GET /media/{key}`: the pictures, where the gateway itself serves them.

use std::ops::Range;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use bytes::Bytes;
use futures::{TryStreamExt as _, stream::BoxStream};

use crate::{
    gateway::{
        GatewayState,
        auth::OpenPicture,
        params::PictureKey,
        problem::{Code, Problem},
    },
    media::{MediaInfo, MediaKey, MediaRead},
};

/// What lies under a key never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The same for the one client who may fetch it.
const FOR_EVER_PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// A picture
///
/// `imageUrl` and `thumbnailUrl` lead here where pictures are stored by the gateway itself. Its address is its secret;
/// where callers sign in it ends after an hour or two, and GET the job answers a new one.
#[utoipa::path(
    get,
    operation_id = "getPicture",
    path = "/media/{*key}",
    tag = "media",
    params(
        ("key" = String, Path, description = "The picture's key.",
            example = "illustrations/local/ill_4kQ0b1xYc7ZpT2mN9sVd/1-2-0.png"),
        ("Range" = Option<String>, Header, description = "One range of bytes: `bytes=0-1023`."),
        ("If-Range" = Option<String>, Header, description = "The range only if the ETag is still this one."),
        ("If-None-Match" = Option<String>, Header, description = "ETags the client has."),
    ),
    responses(
        (status = 200, description = "The picture.", content(
            (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp")
        ), headers(
            ("ETag" = String, description = "Names the bytes."),
            ("Accept-Ranges" = String, description = "`bytes`"),
            ("Cache-Control" = String, description = "`public, max-age=31536000, immutable`"),
            ("Content-Disposition" = String, description = "`inline` with a file name"),
        )),
        (status = 206, description = "The part that `Range` asks for.", content(
            (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp")
        ), headers(("Content-Range" = String, description = "Which part: `bytes 0-1023/34567`"))),
        (status = 304, description = "The client has it."),
        (status = 404, description = "There is no such picture."),
        (status = 416, description = "The range lies outside the picture."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn get(
    State(gateway): State<GatewayState>,
    OpenPicture(key): OpenPicture,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut response = answer(&gateway, key, &method, &headers).await?;
    if gateway.has_private_pictures() {
        response.headers_mut().insert(header::CACHE_CONTROL, FOR_EVER_PRIVATE);
    }
    Ok(response)
}

async fn answer(
    gateway: &GatewayState,
    key: MediaKey,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let queries = gateway.queries();
    if !queries.serves_media() {
        // An address here would outlive the one that was handed out.
        return Err(PictureKey::missing());
    }
    let asks = |name| headers.contains_key(name);
    if *method == Method::HEAD || asks(header::IF_NONE_MATCH) || asks(header::RANGE) {
        let info = queries.media_info(&key).await?.ok_or_else(PictureKey::missing)?;
        if has_it(headers, &info.etag) {
            return Ok((StatusCode::NOT_MODIFIED, described(&key, &info)).into_response());
        }
        // Ranges are defined for GET only.
        if *method == Method::HEAD {
            return Ok(whole(&key, &info, Body::empty()));
        }
        if let Some(range) = wanted(headers, &info)? {
            let MediaRead { info, body } =
                queries.open_media(&key, Some(range.clone())).await?.ok_or_else(PictureKey::missing)?;
            return Ok(part(&key, &info, range, streamed(body)));
        }
    }
    let MediaRead { info, body } = queries.open_media(&key, None).await?.ok_or_else(PictureKey::missing)?;
    Ok(whole(&key, &info, streamed(body)))
}

/// A file that breaks off cuts the connection: the client must not take a part for the whole.
fn streamed(body: BoxStream<'static, std::io::Result<Bytes>>) -> Body {
    Body::from_stream(body.inspect_err(|error| tracing::warn!(%error, "a picture broke off")))
}

fn whole(key: &MediaKey, info: &MediaInfo, body: Body) -> Response {
    let length = [(header::CONTENT_LENGTH, HeaderValue::from(info.length))];
    (described(key, info), length, body).into_response()
}

fn part(key: &MediaKey, info: &MediaInfo, range: Range<u64>, body: Body) -> Response {
    let Range { start, end } = range;
    let mut headers = described(key, info);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    if let Ok(value) = HeaderValue::try_from(format!("bytes {start}-{}/{}", end - 1, info.length)) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
}

fn described(key: &MediaKey, info: &MediaInfo) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(info.content_type));
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", info.etag)) {
        headers.insert(header::ETAG, etag);
    }
    // The alphabet of keys has neither quotes nor control characters, so nothing needs escaping.
    let name = key.as_str().rsplit('/').next().unwrap_or_default();
    if let Ok(value) = HeaderValue::try_from(format!("inline; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    headers
}

/// Whether `If-None-Match` names this tag; a weak one will do (RFC 9110 §13.1.2).
fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(etag)
    })
}

/// The one range to send; `None` for the whole: no range, several, one that makes no sense, or one of another version.
fn wanted(headers: &HeaderMap, info: &MediaInfo) -> Result<Option<Range<u64>>, Problem> {
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    if let Some(condition) = headers.get(header::IF_RANGE) {
        // A date never matches: tags are what we hand out. A weak tag does not vouch for bytes.
        let same = condition.to_str().is_ok_and(|tag| tag.trim() == format!("\"{}\"", info.etag));
        if !same {
            return Ok(None);
        }
    }
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let length = info.length;
    let range = match (number(first), number(last)) {
        (Some(first), None) if last.trim().is_empty() => first..length,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (None, Some(suffix)) if first.trim().is_empty() => length.saturating_sub(suffix)..length,
        _ => return Ok(None),
    };
    if range.is_empty() {
        let mut problem = Problem::new(Code::RangeNotSatisfiable, format!("the picture has {length} bytes"));
        if let Ok(value) = HeaderValue::try_from(format!("bytes */{length}")) {
            problem = problem.with_header(header::CONTENT_RANGE, value);
        }
        return Err(problem);
    }
    Ok(Some(range))
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
