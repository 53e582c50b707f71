//! Cloud Storage beyond the contract: signatures, metadata, outages.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use gcloud_emulator::{Fault, Storage, storage::Recorded};
use mediaforge::{
    config::{GcsConfig, GcsUrls, Secret, SecretRef},
    domain::{
        Timestamp,
        clock::{Clock as _, SystemClock, after},
    },
    media::{self, ErrorKind, MediaFormat, MediaKey, MediaStore, MediaUrl, SignedUpload},
};
use tonic::Code;

use crate::media::{all, key, put, read};

type Store = Arc<dyn MediaStore>;

const EXPIRES: Duration = Duration::from_mins(15);
const AT: &str = "illustrations/u@x+1/ill_1/1-2-0.png";

async fn started() -> Storage {
    Storage::start().await.unwrap_or_else(|error| panic!("{error}"))
}

async fn config(storage: &Storage) -> GcsConfig {
    GcsConfig {
        bucket: Some(storage.create_bucket().await.unwrap()),
        urls: GcsUrls::Signed,
        url_expires: EXPIRES,
        signing_key: SecretRef::from(Secret::new(storage.signing_key())),
        endpoint: Some(storage.url().parse().unwrap()),
    }
}

async fn open(storage: &Storage) -> Store {
    media::open_gcs(&config(storage).await).unwrap()
}

fn now() -> Timestamp {
    SystemClock.now()
}

async fn address(store: &Store, now: Timestamp) -> (String, Option<Timestamp>) {
    match store.url(&key(AT), now).await.unwrap() {
        MediaUrl::Absolute { url, expires_at } => (url, expires_at),
        gateway @ MediaUrl::Gateway(_) => panic!("{gateway:?}"),
    }
}

async fn place(store: &Store, size: u64) -> SignedUpload {
    store.upload_url(&key("uploads/u/upl_1.raw"), "image/png", size, now()).await.unwrap().expect("a place")
}

fn http() -> reqwest::Client {
    mediaforge::http::client().unwrap()
}

async fn get(url: &str) -> (u16, String) {
    let answer = http().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn send(upload: &SignedUpload, bytes: &'static [u8], other: &[(&str, &str)]) -> (u16, String) {
    let mut headers: BTreeMap<&str, &str> =
        upload.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.extend(other.iter().copied());
    let request = http().put(&upload.url).body(bytes);
    let request = headers
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .fold(request, |request, (name, value)| request.header(name, value));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn sent(storage: &Storage, path: &str) -> Vec<Recorded> {
    storage.requests().into_iter().filter(|request| request.uri.path().contains(path)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcs_keeps_the_contract() {
    let storage = started().await;
    all(async || open(&storage).await).await;
}

#[tokio::test]
async fn a_signed_url_opens_until_it_expires() {
    let storage = started().await;
    let store = open(&storage).await;
    put(&store, AT, b"pixels").await.unwrap();
    let (url, expires_at) = address(&store, now()).await;
    assert_eq!(get(&url).await, (200, "pixels".to_owned()));
    // Every other URL is refused.
    let plain = url.split('?').next().unwrap();
    assert_eq!(get(plain).await.0, 403);
    assert_eq!(get(&url.replace("1-2-0", "1-2-1")).await.0, 403);
    assert_eq!(get(&url.replace("X-Goog-Expires=900", "X-Goog-Expires=9000")).await.0, 403);
    assert!(expires_at.unwrap() <= after(now(), EXPIRES));
    storage.advance(Duration::from_mins(14));
    assert_eq!(get(&url).await.0, 200);
    storage.advance(Duration::from_mins(2));
    let (status, why) = get(&url).await;
    assert!(status == 400 && why.contains("ExpiredToken"), "{status} {why}");
}

#[tokio::test]
async fn a_signed_url_has_the_documented_shape() {
    let storage = started().await;
    let config = GcsConfig { endpoint: None, bucket: Some("pictures".to_owned()), ..config(&storage).await };
    let Ok(store) = media::open_gcs(&config) else { panic!("no credentials are needed to open it") };
    let (url, _) = address(&store, now()).await;
    let (address, query) = url.split_once('?').unwrap();
    assert_eq!(address, "https://storage.googleapis.com/pictures/illustrations/u%40x%2B1/ill_1/1-2-0.png");
    let parameters: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let value = |name: &str| parameters.iter().find(|(given, _)| *given == name).unwrap().1;
    let date = value("X-Goog-Date");
    assert!(date.len() == 16 && date.ends_with('Z') && &date[8..9] == "T", "{date}");
    let credential =
        format!("signer%40emulated.iam.gserviceaccount.com%2F{}%2Fauto%2Fstorage%2Fgoog4_request", &date[..8]);
    let expected = [
        ("X-Goog-Algorithm", "GOOG4-RSA-SHA256"),
        ("X-Goog-Credential", &credential),
        ("X-Goog-Date", date),
        ("X-Goog-Expires", "900"),
        ("X-Goog-SignedHeaders", "host"),
    ];
    assert_eq!(parameters[..5], expected);
    assert_eq!((parameters[5].0, parameters[5].1.len(), parameters.len()), ("X-Goog-Signature", 512, 6));
}

#[tokio::test]
async fn urls_are_signed_again_at_half_their_life() {
    let storage = started().await;
    let store = open(&storage).await;
    let first = now();
    let (url, expires_at) = address(&store, first).await;
    let expires_at = expires_at.unwrap();
    assert_eq!(address(&store, after(first, Duration::from_secs(449))).await, (url.clone(), Some(expires_at)));
    let later = after(first, EXPIRES / 2 + Duration::from_secs(1));
    let (_, renewed) = address(&store, later).await;
    assert!(renewed.unwrap() > expires_at, "what is handed out is good for half its life at least");
    // A cached URL is not signed again.
    assert_eq!(address(&store, later).await.1, renewed);
}

#[tokio::test]
async fn a_public_bucket_has_plain_urls() {
    let storage = started().await;
    let config = GcsConfig { urls: GcsUrls::Public, ..config(&storage).await };
    let store = media::open_gcs(&config).unwrap();
    put(&store, AT, b"pixels").await.unwrap();
    let (url, expires_at) = address(&store, now()).await;
    let bucket = config.bucket.unwrap();
    let expected = format!("{}/{bucket}/illustrations/u%40x%2B1/ill_1/1-2-0.png", storage.url());
    assert_eq!((url.as_str(), expires_at), (expected.as_str(), None));
    assert_eq!(get(&url).await.0, 403);
    storage.make_public();
    assert_eq!(get(&url).await, (200, "pixels".to_owned()));
    let written = String::from_utf8_lossy(&sent(&storage, "/upload/")[0].body).into_owned();
    assert!(written.contains(r#""cacheControl":"public, max-age=31536000, immutable""#), "{written}");
}

#[tokio::test]
async fn objects_have_headers_for_caches_and_browsers() {
    let storage = started().await;
    let store = open(&storage).await;
    put(&store, AT, b"pixels").await.unwrap();
    put(&store, "uploads/u/upl_1.json", b"{}").await.unwrap();
    let written: Vec<_> = sent(&storage, "/upload/");
    let [picture, facts] = written.as_slice() else { panic!("one request each, not {}", written.len()) };
    for (request, expected) in [
        (picture, [r#""contentType":"image/png""#, r#""cacheControl":"private, max-age=31536000, immutable""#]),
        (facts, [r#""contentType":"application/json""#, r#""cacheControl":"no-store""#]),
    ] {
        let query = request.uri.query().unwrap();
        assert!(query.contains("ifGenerationMatch=0") && query.contains("uploadType=multipart"), "{query}");
        assert!(!request.headers.contains_key("authorization"), "no token travels in the clear");
        let body = String::from_utf8_lossy(&request.body);
        assert!(expected.iter().all(|words| body.contains(words)), "{body}");
    }
    let body = String::from_utf8_lossy(&picture.body).into_owned();
    assert!(body.contains(r#""contentDisposition":"inline; filename=\"1-2-0.png\"""#), "{body}");
}

#[tokio::test]
async fn a_place_takes_one_file_of_its_type_and_size() {
    let storage = started().await;
    let store = open(&storage).await;
    let upload = place(&store, 6).await;
    let expected =
        [("content-type", "image/png"), ("x-goog-content-length-range", "0,6"), ("x-goog-if-generation-match", "0")];
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    assert_eq!(upload.headers, expected);
    for (bytes, headers, refusal) in [
        (&b"pixels"[..], &[("content-type", "text/html")][..], (403, "SignatureDoesNotMatch")),
        (b"pixels", &[("content-type", "")], (403, "SignatureDoesNotMatch")),
        (b"pixels", &[("x-goog-content-length-range", "0,7")], (403, "SignatureDoesNotMatch")),
        (b"pixels", &[("x-goog-content-length-range", "")], (403, "SignatureDoesNotMatch")),
        (b"pixels", &[("x-goog-if-generation-match", "")], (403, "SignatureDoesNotMatch")),
        (b"pixels", &[("x-goog-acl", "public-read")], (400, "MalformedSecurityHeader")),
        (b"pixels!", &[], (400, "EntityTooLarge")),
    ] {
        let (status, why) = send(&upload, bytes, headers).await;
        assert!(status == refusal.0 && why.contains(refusal.1), "{headers:?}: {status} {why}");
    }
    assert!(store.head(&key("uploads/u/upl_1.raw")).await.unwrap().is_none());
    assert_eq!(send(&upload, b"pixels", &[]).await.0, 200);
    assert_eq!(read(&store, "uploads/u/upl_1.raw", None).await.unwrap(), b"pixels");
    let (status, why) = send(&upload, b"others", &[]).await;
    assert!(status == 412, "what is there is not overwritten: {why}");
    // The URL does not allow reads, and expires.
    assert_eq!(get(&upload.url).await.0, 403);
    storage.advance(EXPIRES + Duration::from_mins(1));
    assert_eq!(send(&upload, b"pixels", &[]).await.0, 400);
}

#[tokio::test]
async fn a_lost_response_is_retried() {
    let storage = started().await;
    let store = open(&storage).await;
    storage.faults().inject("/o", Fault::LoseReply(Code::Unavailable), 1);
    // This looks like an object of another writer; keys are unique, so there is none.
    assert_eq!(put(&store, "a.png", b"first").await, Err(ErrorKind::AlreadyExists));
    assert_eq!(read(&store, "a.png", None).await.unwrap(), b"first");

    storage.faults().inject("a.png", Fault::LoseReply(Code::Unavailable), 1);
    store.delete(&key("a.png")).await.unwrap();
    assert!(store.head(&key("a.png")).await.unwrap().is_none());

    storage.faults().inject("b.png", Fault::Refuse(Code::Unavailable), 2);
    put(&store, "b.png", b"x").await.unwrap();
    assert!(store.head(&key("b.png")).await.unwrap().is_some(), "tried three times");
    assert_eq!(storage.faults().pending(), 0);
}

#[tokio::test]
async fn an_outage_is_reported_and_survived() {
    let storage = started().await;
    let (address, config) = (storage.address(), config(&storage).await);
    let store = media::open_gcs(&config).unwrap();
    put(&store, "a.png", b"before").await.unwrap();
    for (code, kind) in [
        (Code::Unavailable, ErrorKind::Unavailable),
        (Code::ResourceExhausted, ErrorKind::Unavailable),
        (Code::DeadlineExceeded, ErrorKind::Timeout),
        (Code::PermissionDenied, ErrorKind::Broken),
    ] {
        storage.faults().inject("", Fault::Refuse(code), usize::MAX);
        assert_eq!(store.head(&key("a.png")).await.unwrap_err().kind, kind, "{code:?}");
        assert_eq!(put(&store, "b.png", b"x").await, Err(kind), "{code:?}");
        storage.faults().clear();
    }
    drop(storage);
    // Its port is closed once its task has ended.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let silent = [ErrorKind::Unavailable, ErrorKind::Timeout];
    assert!(silent.contains(&store.ping().await.unwrap_err().kind));
    assert!(silent.contains(&put(&store, "c.png", b"x").await.unwrap_err()));
    assert!(silent.contains(&store.get(&key("a.png"), None).await.map(drop).unwrap_err().kind));
    let _again = Storage::start_at(address).await.unwrap();
    assert_eq!(read(&store, "a.png", None).await.unwrap(), b"before");
    put(&store, "c.png", b"after").await.unwrap();
}

#[tokio::test]
async fn errors_advise_the_operator() {
    let storage = started().await;
    let good = config(&storage).await;
    let store = media::open_gcs(&GcsConfig { bucket: Some("nowhere".to_owned()), ..good.clone() }).unwrap();
    for error in
        [store.ping().await.unwrap_err(), store.put(&key("a.png"), MediaFormat::Png, Bytes::new()).await.unwrap_err()]
    {
        assert!(error.kind == ErrorKind::Broken, "{error}");
        assert!(error.to_string().contains("there is no bucket nowhere; create it"), "{error}");
    }
    let store = media::open_gcs(&good).unwrap();
    storage.faults().inject("", Fault::Refuse(Code::PermissionDenied), usize::MAX);
    for error in
        [store.ping().await.unwrap_err(), store.put(&key("a.png"), MediaFormat::Png, Bytes::new()).await.unwrap_err()]
    {
        assert!(error.to_string().contains("roles/storage.objectUser"), "{error}");
    }
    let broken = GcsConfig { signing_key: SecretRef::from(Secret::new("secret, but no JSON")), ..good };
    let error = media::open_gcs(&broken).map(drop).unwrap_err().to_string();
    assert!(error.contains("media.gcs.signing_key") && !error.contains("secret,"), "{error}");
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let storage = started().await;
    let store = open(&storage).await;
    for n in 0..5 {
        put(&store, &format!("l/{n}.png"), b"x").await.unwrap();
    }
    // An object whose name is not a key is not listed, but it is deleted with the prefix.
    let odd: String =
        storage.requests()[0].uri.to_string().replace("l%2F0.png", "l%2F.odd").replace("l/0.png", "l/.odd");
    let first = &storage.requests()[0];
    let written =
        http().post(format!("{}{odd}", storage.url())).headers(first.headers.clone()).body(first.body.clone());
    assert!(written.send().await.unwrap().status().is_success());
    // A limit of two reads pages of two; one object of the first page is foreign.
    let found: Vec<MediaKey> = store.list("l/", 2).await.unwrap();
    assert_eq!(found, [key("l/0.png"), key("l/1.png")]);
    assert_eq!(
        sent(&storage, "/o")
            .iter()
            .filter(|request| request.uri.query().is_some_and(|q| q.contains("pageToken")))
            .count(),
        1
    );
    store.delete_prefix("l/").await.unwrap();
    assert_eq!(store.list("l/", 10).await.unwrap(), []);
    let (status, left) =
        get(&format!("{}{}", storage.url(), odd.replace("/upload", "").split('?').next().unwrap())).await;
    assert!(status == 200 && !left.contains(".odd"), "{left}");
}
