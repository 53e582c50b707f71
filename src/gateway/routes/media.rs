//! `GET /media/{key}`: pictures, if the gateway itself serves them.

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
        auth::ReadablePicture,
        params::PictureKey,
        problem::{Code, Problem},
    },
    media::{MediaInfo, MediaKey, MediaRead},
};

/// The picture under a key never changes.
const CACHE_FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The same, for the caches of this client only.
const CACHE_FOR_EVER_PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// Get an image
///
/// `imageUrl` and `thumbnailUrl` of a job point here if the gateway itself stores the images. Anyone who knows the address can
/// read the image. If callers sign in, the address expires after one to two hours; read the job again to get a new one.
#[utoipa::path(
    get,
    operation_id = "getPicture",
    path = "/media/{*key}",
    tag = "media",
    params(
        ("key" = String, Path, description = "The key of the image.",
            example = "illustrations/local/ill_4kQ0b1xYc7ZpT2mN9sVd/1-2-0.png"),
        ("Range" = Option<String>, Header, description = "One range of bytes: `bytes=0-1023`."),
        ("If-Range" = Option<String>, Header, description = "Honour `Range` only if the ETag is still the same."),
        ("If-None-Match" = Option<String>, Header, description = "The ETags of the copies that the client has."),
    ),
    responses(
        (status = 200, description = "The image.", content(
            (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp")
        ), headers(
            ("ETag" = String, description = "Identifies the content."),
            ("Accept-Ranges" = String, description = "`bytes`"),
            ("Cache-Control" = String, description = "`public, max-age=31536000, immutable`"),
            ("Content-Disposition" = String, description = "`inline` with a file name"),
        )),
        (status = 206, description = "The requested part.", content(
            (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp")
        ), headers(("Content-Range" = String, description = "The part that is sent: `bytes 0-1023/34567`."))),
        (status = 304, description = "The client's copy is current."),
        (status = 404, description = "There is no such image."),
        (status = 416, description = "The range is outside the image."),
    )
)]
pub(in crate::gateway) async fn get(
    State(gateway): State<GatewayState>,
    ReadablePicture(key): ReadablePicture,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut response = respond(&gateway, key, &method, &headers).await?;
    if gateway.has_private_pictures() {
        response.headers_mut().insert(header::CACHE_CONTROL, CACHE_FOR_EVER_PRIVATE);
    }
    Ok(response)
}

async fn respond(
    gateway: &GatewayState,
    key: MediaKey,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let queries = gateway.queries();
    if !queries.serves_media() {
        // This route would still work after the signed URL in the job has expired.
        return Err(PictureKey::not_found());
    }
    let has = |name| headers.contains_key(name);
    if *method == Method::HEAD || has(header::IF_NONE_MATCH) || has(header::RANGE) {
        let info = queries.media_info(&key).await?.ok_or_else(PictureKey::not_found)?;
        if is_current(headers, &info.etag) {
            return Ok((StatusCode::NOT_MODIFIED, media_headers(&key, &info)).into_response());
        }
        // Ranges are defined for GET only.
        if *method == Method::HEAD {
            return Ok(full_response(&key, &info, Body::empty()));
        }
        if let Some(range) = requested_range(headers, &info)? {
            let MediaRead { info, body } =
                queries.open_media(&key, Some(range.clone())).await?.ok_or_else(PictureKey::not_found)?;
            return Ok(partial_response(&key, &info, range, stream_body(body)));
        }
    }
    let MediaRead { info, body } = queries.open_media(&key, None).await?.ok_or_else(PictureKey::not_found)?;
    Ok(full_response(&key, &info, stream_body(body)))
}

/// If reading fails, the connection is cut, so that the client does not take a part for the whole.
fn stream_body(body: BoxStream<'static, std::io::Result<Bytes>>) -> Body {
    Body::from_stream(body.inspect_err(|error| tracing::warn!(%error, "reading a picture failed")))
}

fn full_response(key: &MediaKey, info: &MediaInfo, body: Body) -> Response {
    let length = [(header::CONTENT_LENGTH, HeaderValue::from(info.length))];
    (media_headers(key, info), length, body).into_response()
}

fn partial_response(key: &MediaKey, info: &MediaInfo, range: Range<u64>, body: Body) -> Response {
    let Range { start, end } = range;
    let mut headers = media_headers(key, info);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    if let Ok(value) = HeaderValue::try_from(format!("bytes {start}-{}/{}", end - 1, info.length)) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
}

fn media_headers(key: &MediaKey, info: &MediaInfo) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(info.content_type));
    headers.insert(header::CACHE_CONTROL, CACHE_FOR_EVER);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", info.etag)) {
        headers.insert(header::ETAG, etag);
    }
    // Keys contain neither quotes nor control characters, so the name needs no escaping.
    let name = key.as_str().rsplit('/').next().unwrap_or_default();
    if let Ok(value) = HeaderValue::try_from(format!("inline; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    headers
}

/// Whether `If-None-Match` contains this tag; the comparison is weak (RFC 9110 §13.1.2).
fn is_current(headers: &HeaderMap, etag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(etag)
    })
}

/// The range to send; `None` for the full picture: without a range, with several or an invalid one, or if `If-Range` does
/// not match.
fn requested_range(headers: &HeaderMap, info: &MediaInfo) -> Result<Option<Range<u64>>, Problem> {
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    if let Some(condition) = headers.get(header::IF_RANGE) {
        // A date never matches, because responses carry only tags. A weak tag does not guarantee equal bytes.
        let matches = condition.to_str().is_ok_and(|tag| tag.trim() == format!("\"{}\"", info.etag));
        if !matches {
            return Ok(None);
        }
    }
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let length = info.length;
    let range = match (parse_number(first), parse_number(last)) {
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

fn parse_number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
