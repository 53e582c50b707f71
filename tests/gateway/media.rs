//! `/media`: full pictures, ranges, conditional requests, errors.

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use mediaforge::media::MediaFormat;

use crate::support::{World, world};

const PATH: &str = "/media/illustrations/ann/ill_x/1-2-0.png";

async fn with_picture() -> World {
    let world = world();
    let key = PATH.strip_prefix("/media/").unwrap().parse().unwrap();
    world.media.put(&key, MediaFormat::Png, Bytes::from_static(b"0123456789abcdefghij")).await.unwrap();
    world
}

/// The picture's tag, in its quotes.
async fn etag(world: &World) -> String {
    let etag = world.get(PATH).await.header("etag").unwrap().to_owned();
    assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    etag
}

#[tokio::test]
async fn a_picture_has_all_headers() {
    let world = with_picture().await;
    let etag = etag(&world).await;
    for method in [Method::GET, Method::HEAD] {
        let answer = world.call(method.clone(), PATH).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body.len(), if method == Method::GET { 20 } else { 0 });
        let expected = [
            ("content-type", "image/png"),
            ("content-length", "20"),
            ("etag", etag.as_str()),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("accept-ranges", "bytes"),
            ("content-disposition", "inline; filename=\"1-2-0.png\""),
            ("x-content-type-options", "nosniff"),
        ];
        for (name, value) in expected {
            assert_eq!(answer.header(name), Some(value), "{method} {name}");
        }
    }
}

#[tokio::test]
async fn ranges_are_honoured() {
    let world = with_picture().await;
    let cases = [
        ("bytes=0-4", "01234", "bytes 0-4/20"),
        ("bytes=15-", "fghij", "bytes 15-19/20"),
        ("bytes=-5", "fghij", "bytes 15-19/20"),
        ("bytes=-500", "0123456789abcdefghij", "bytes 0-19/20"),
        ("bytes=18-99999999999", "ij", "bytes 18-19/20"),
        ("bytes=3-3", "3", "bytes 3-3/20"),
    ];
    for (range, body, content_range) in cases {
        let answer = world.get_with(PATH, &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.body, body, "{range}");
        assert_eq!(answer.header("content-range"), Some(content_range));
        assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()));
    }
    for range in ["bytes=20-", "bytes=999-1000", "bytes=-0"] {
        let answer = world.get_with(PATH, &[("range", range)]).await;
        answer.problem(416, "range_not_satisfiable");
        assert_eq!(answer.header("content-range"), Some("bytes */20"), "{range}");
    }
    // Invalid ranges and several ranges return the full picture.
    for range in [
        "bytes=4-1",
        "bytes=a-b",
        "bytes=",
        "bytes=-",
        "lines=1-2",
        "bytes=0-1,3-4",
        "bytes=+1-2",
        "bytes=99999999999999999999-",
    ] {
        let answer = world.get_with(PATH, &[("range", range)]).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 20), "{range}");
    }
}

#[tokio::test]
async fn conditional_requests_are_honoured() {
    let world = with_picture().await;
    let etag = etag(&world).await;
    for tags in [&etag, &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
        let answer = world.get_with(PATH, &[("if-none-match", tags)]).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_MODIFIED, 0), "{tags}");
        assert_eq!(answer.header("etag"), Some(etag.as_str()));
        assert!(answer.header("cache-control").is_some());
    }
    assert_eq!(world.get_with(PATH, &[("if-none-match", "\"other\"")]).await.status, StatusCode::OK);
    let range = async |tag: &str| world.get_with(PATH, &[("range", "bytes=0-0"), ("if-range", tag)]).await;
    assert_eq!(range(&etag).await.status, StatusCode::PARTIAL_CONTENT);
    for other in ["\"other\"", &format!("W/{etag}"), "Sun, 01 Mar 2026 12:00:00 GMT"] {
        assert_eq!(range(other).await.status, StatusCode::OK, "{other}");
    }
}

#[tokio::test]
async fn other_files_are_not_found() {
    let world = with_picture().await;
    let bad = [
        "/media/",
        "/media/..",
        "/media/../Cargo.toml",
        "/media/illustrations/%2e%2e/%2e%2e/etc/passwd",
        "/media/illustrations/ann//x.png",
        "/media/%2Fetc%2Fpasswd",
        "/media/.hidden",
        "/media/a%00.png",
        "/media/%FF",
        "/media/a%5Cb.png",
        "/media/illustrations/ann/ill_x/9-9-9.png",
    ];
    for path in bad {
        for method in [Method::GET, Method::HEAD] {
            let answer = world.call(method, path).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
    world.faults.media.fail(Some(mediaforge::error::ErrorKind::Unavailable));
    world.get(PATH).await.problem(503, "unavailable");
}
