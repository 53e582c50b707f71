//! The contract of `MediaStore`: `all` runs every case on a backend.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use bytes::Bytes;
use futures::StreamExt as _;
use mediaforge::{
    domain::Timestamp,
    media::{ErrorKind, MediaFormat, MediaKey, MediaStore, MediaUrl},
};

type Store = Arc<dyn MediaStore>;

pub fn key(text: &str) -> MediaKey {
    text.parse().unwrap()
}

pub async fn put(store: &Store, at: &str, bytes: &[u8]) -> Result<(), ErrorKind> {
    let key = key(at);
    let format = MediaFormat::of_key(&key).unwrap();
    store.put(&key, format, Bytes::copy_from_slice(bytes)).await.map_err(|error| error.kind)
}

pub async fn read(store: &Store, at: &str, range: Option<std::ops::Range<u64>>) -> Option<Vec<u8>> {
    let mut object = store.get(&key(at), range).await.unwrap()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = object.body.next().await {
        let chunk = chunk.unwrap();
        assert!(chunk.len() <= 1 << 20, "a chunk is bounded");
        bytes.extend_from_slice(&chunk);
    }
    Some(bytes)
}

async fn an_object_is_read_back_as_it_was_put(store: Store) {
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    put(&store, "illustrations/u@x/ill_1/1-0.png", &bytes).await.unwrap();
    let path = "illustrations/u@x/ill_1/1-0.png";
    let info = store.head(&key(path)).await.unwrap().unwrap();
    assert_eq!((info.length, info.content_type), (200_000, "image/png"));
    assert!(!info.etag.is_empty() && !info.etag.contains('"'));
    assert_eq!(store.get(&key(path), None).await.unwrap().unwrap().info, info);
    assert_eq!(read(&store, path, None).await.unwrap(), bytes);
    for range in [0..1, 0..200_000, 65_535..65_537, 199_999..200_000, 5..5] {
        let part = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert_eq!(read(&store, path, Some(range)).await.unwrap(), part);
    }
    assert!(store.get(&key(path), Some(0..200_001)).await.is_err(), "a range lies within the object");
    put(&store, "empty.webp", b"").await.unwrap();
    assert_eq!(read(&store, "empty.webp", None).await.unwrap(), b"");
}

async fn a_second_put_changes_nothing(store: Store) {
    put(&store, "a/1.png", b"first").await.unwrap();
    let info = store.head(&key("a/1.png")).await.unwrap();
    assert_eq!(put(&store, "a/1.png", b"second").await, Err(ErrorKind::AlreadyExists));
    assert_eq!(read(&store, "a/1.png", None).await.unwrap(), b"first");
    assert_eq!(store.head(&key("a/1.png")).await.unwrap(), info, "the entity tag is stable");
}

async fn of_concurrent_puts_one_wins(store: Store) {
    for round in 0..5 {
        let at = format!("race/{round}/deep/1.png");
        let puts = (0..16_u8).map(|n| {
            let (store, at) = (store.clone(), at.clone());
            tokio::spawn(async move { (n, put(&store, &at, &[n; 5000]).await) })
        });
        let mut winners = Vec::new();
        for outcome in futures::future::join_all(puts).await {
            match outcome.unwrap() {
                (n, Ok(())) => winners.push(n),
                (_, Err(kind)) => assert_eq!(kind, ErrorKind::AlreadyExists),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(read(&store, &at, None).await.unwrap(), [winners[0]; 5000]);
    }
}

async fn puts_survive_deletes_beside_them(store: Store) {
    let puts = (0..40).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let at = format!("busy/dir/{n}.png");
            put(&store, &at, b"x").await.unwrap();
            store.delete(&key(&at)).await.unwrap();
        })
    });
    for outcome in futures::future::join_all(puts).await {
        outcome.unwrap();
    }
    store.ping().await.unwrap();
}

async fn an_entity_tag_tells_contents_apart(store: Store) {
    let mut tags = BTreeSet::new();
    for content in [b"aaaa", b"bbbb", b"cccc"] {
        put(&store, "t.png", content).await.unwrap();
        tags.insert(store.head(&key("t.png")).await.unwrap().unwrap().etag);
        // Another object takes the free inode, on a backend that has inodes.
        store.delete(&key("t.png")).await.unwrap();
        put(&store, &format!("{}.png", tags.len()), b"dddd").await.unwrap();
    }
    assert_eq!(tags.len(), 3);
}

async fn deletes_are_idempotent(store: Store) {
    put(&store, "d/e/1.png", b"x").await.unwrap();
    for _ in 0..2 {
        store.delete(&key("d/e/1.png")).await.unwrap();
        assert_eq!(store.head(&key("d/e/1.png")).await.unwrap(), None);
    }
    put(&store, "d/e/1.png", b"again").await.unwrap();
    assert_eq!(read(&store, "d/e/1.png", None).await.unwrap(), b"again");
}

async fn a_prefix_takes_its_objects_and_no_others(store: Store) {
    for at in ["p/job/1-0.png", "p/job/2-0.png", "p/job/2-0_thumb.webp", "p/job2/1-0.png", "p/other.png"] {
        put(&store, at, at.as_bytes()).await.unwrap();
    }
    store.delete_prefix("p/job/").await.unwrap();
    store.delete_prefix("p/job/").await.unwrap();
    store.delete_prefix("never/was/").await.unwrap();
    for (at, there) in [("p/job/1-0.png", false), ("p/job/2-0_thumb.webp", false), ("p/job2/1-0.png", true)] {
        assert_eq!(store.head(&key(at)).await.unwrap().is_some(), there, "{at}");
    }
    assert!(store.head(&key("p/other.png")).await.unwrap().is_some());
    for bad in ["", "/", "p/job", "../", "p/../", "/etc/", "p//", ".tmp/"] {
        assert!(store.delete_prefix(bad).await.is_err(), "{bad:?}");
    }
}

async fn a_list_is_limited_and_stays_below_the_prefix(store: Store) {
    for at in [
        "illustrations/u/ill_1/1-2-0.png",
        "illustrations/u/ill_1/1-2-0_thumb.webp",
        "illustrations/u/ill_12/1-2-0.png",
    ] {
        put(&store, at, b"x").await.unwrap();
    }
    let names = |keys: Vec<MediaKey>| keys.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let found = names(store.list("illustrations/u/ill_1/", 10).await.unwrap());
    let expected = ["illustrations/u/ill_1/1-2-0.png", "illustrations/u/ill_1/1-2-0_thumb.webp"].map(str::to_owned);
    assert_eq!(found, expected.into());
    assert_eq!(names(store.list("illustrations/u/", 10).await.unwrap()).len(), 3);
    assert_eq!(store.list("illustrations/u/", 2).await.unwrap().len(), 2);
    assert_eq!(store.list("illustrations/nobody/", 10).await.unwrap(), []);
    assert!(store.list("illustrations/u", 10).await.is_err(), "a prefix ends in a slash");
}

#[test]
fn a_key_tells_which_claim_stored_it() {
    let (user, job) = ("ada".parse().unwrap(), "ill_0123456789abcdefABCD".parse().unwrap());
    let brand = "brd_0123456789abcdefABCD".parse().unwrap();
    for stored in [
        MediaKey::picture(&user, &job, 2, 17, 3, MediaFormat::Png),
        MediaKey::thumbnail(&user, &job, 2, 17, 0),
        MediaKey::sample(&user, &brand, 2, 17, 1, MediaFormat::Jpeg),
    ] {
        assert_eq!(stored.fence(), Some(17), "{stored}");
    }
    let learnt = MediaKey::training(&user, &brand, 17, 3, MediaFormat::Png);
    assert_eq!(learnt.fence(), None, "a training picture does not belong to an attempt");
    for other in ["a.png", "uploads/ada/upl_1.json", "a/1-2.png", "a/x-2-0.png", "a/1-2-0-0.png"] {
        assert_eq!(key(other).fence(), None, "{other}");
    }
}

async fn a_miss_is_none(store: Store) {
    put(&store, "x/1.png", b"x").await.unwrap();
    for at in ["nothing.png", "x/2.png", "x", "x/1.png/below.png"] {
        assert!(store.get(&key(at), None).await.unwrap().is_none(), "{at}");
        assert!(store.head(&key(at)).await.unwrap().is_none(), "{at}");
        store.delete(&key(at)).await.unwrap();
    }
    assert_eq!(read(&store, "x/1.png", None).await.unwrap(), b"x");
}

async fn a_url_names_the_object(store: Store) {
    let at = "illustrations/u/ill_1/1-0.png";
    put(&store, at, b"x").await.unwrap();
    match store.url(&key(at), Timestamp::UNIX_EPOCH).await.unwrap() {
        MediaUrl::Gateway(path) => assert_eq!(path, format!("/media/{at}")),
        MediaUrl::Absolute { url, .. } => assert!(url.starts_with("http") && url.contains("ill_1/1-0.png"), "{url}"),
    }
    let is_path = matches!(store.url(&key(at), Timestamp::UNIX_EPOCH).await.unwrap(), MediaUrl::Gateway(_));
    assert_eq!(store.is_behind_the_gateway(), is_path);
}

async fn a_place_to_put_leads_past_the_gateway_or_nowhere(store: Store) {
    let at = key("uploads/u/upl_1.raw");
    let place = store.upload_url(&at, "image/png", 100, Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(place.is_none(), store.is_behind_the_gateway());
    if let Some(place) = place {
        assert!(place.url.contains("upl_1.raw") && place.expires_at > Timestamp::UNIX_EPOCH);
        assert_eq!(place.headers["content-type"], "image/png");
    }
    assert!(store.head(&at).await.unwrap().is_none(), "nothing is written");
}

async fn the_extension_names_the_format(store: Store) {
    let error = store.put(&key("a.webp"), MediaFormat::Png, Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
}

async fn a_copy_is_an_object_of_its_own(store: Store) {
    put(&store, "uploads/u/1.png", b"pixels").await.unwrap();
    let copy = |from: &'static str, to: &'static str| {
        let store = store.clone();
        async move { store.copy(&key(from), &key(to)).await.map_err(|error| error.kind) }
    };
    assert_eq!(copy("uploads/u/1.png", "brands/u/b/0.png").await, Ok(true));
    assert_eq!(read(&store, "brands/u/b/0.png", None).await.unwrap(), b"pixels");
    let info = store.head(&key("brands/u/b/0.png")).await.unwrap().unwrap();
    assert_eq!((info.length, info.content_type), (6, "image/png"));

    assert_eq!(copy("uploads/u/2.png", "brands/u/b/1.png").await, Ok(false), "the source does not exist");
    assert!(store.head(&key("brands/u/b/1.png")).await.unwrap().is_none());
    put(&store, "brands/u/b/2.png", b"taken").await.unwrap();
    assert_eq!(copy("uploads/u/1.png", "brands/u/b/2.png").await, Err(ErrorKind::AlreadyExists));
    assert_eq!(read(&store, "brands/u/b/2.png", None).await.unwrap(), b"taken");
    assert_eq!(copy("uploads/u/1.png", "uploads/u/1.png").await, Err(ErrorKind::AlreadyExists));

    store.delete(&key("uploads/u/1.png")).await.unwrap();
    assert_eq!(read(&store, "brands/u/b/0.png", None).await.unwrap(), b"pixels", "the copy stays");
    put(&store, "uploads/u/1.png", b"others").await.unwrap();
    assert_eq!(read(&store, "brands/u/b/0.png", None).await.unwrap(), b"pixels");
    store.delete_prefix("brands/u/b/").await.unwrap();
    assert_eq!(read(&store, "uploads/u/1.png", None).await.unwrap(), b"others", "and goes alone");
}

async fn only_old_objects_below_the_prefix_expire(store: Store) {
    for at in ["up/a/1.png", "up/a/2.json", "up/b/deep/3.webp", "up2/a/1.png", "other.png"] {
        put(&store, at, b"old").await.unwrap();
    }
    assert_eq!(store.expire("up/", Timestamp::UNIX_EPOCH).await.unwrap(), 0, "nothing is as old as that");
    let old = store.head(&key("up/b/deep/3.webp")).await.unwrap().unwrap().modified;
    // The clock of a file system can be coarse; wait until it has advanced.
    let young = loop {
        put(&store, "up/young/1.png", b"young").await.unwrap();
        let modified = store.head(&key("up/young/1.png")).await.unwrap().unwrap().modified;
        if modified > old {
            break modified;
        }
        store.delete(&key("up/young/1.png")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    };
    assert_eq!(store.expire("up/", young).await.unwrap(), 3);
    assert_eq!(store.expire("up/", young).await.unwrap(), 0);
    for (at, there) in [("up/a/1.png", false), ("up/a/2.json", false), ("up/b/deep/3.webp", false)].into_iter().chain([
        ("up/young/1.png", true),
        ("up2/a/1.png", true),
        ("other.png", true),
    ]) {
        assert_eq!(store.head(&key(at)).await.unwrap().is_some(), there, "{at}");
    }
    let late = young + jiff::SignedDuration::from_hours(1);
    assert_eq!(store.expire("never/was/", late).await.unwrap(), 0);
    for bad in ["", "/", "up", "../", "up/../", "/etc/", ".tmp/"] {
        assert!(store.expire(bad, late).await.is_err(), "{bad:?}");
    }
    put(&store, "up/a/1.png", b"again").await.unwrap();
    assert_eq!(read(&store, "up/a/1.png", None).await.unwrap(), b"again");
}

/// Every case; `open` returns a new, empty store each time.
pub async fn all<F: Future<Output = Store>>(open: impl Fn() -> F) {
    an_object_is_read_back_as_it_was_put(open().await).await;
    a_second_put_changes_nothing(open().await).await;
    of_concurrent_puts_one_wins(open().await).await;
    puts_survive_deletes_beside_them(open().await).await;
    an_entity_tag_tells_contents_apart(open().await).await;
    deletes_are_idempotent(open().await).await;
    a_prefix_takes_its_objects_and_no_others(open().await).await;
    a_list_is_limited_and_stays_below_the_prefix(open().await).await;
    a_miss_is_none(open().await).await;
    a_url_names_the_object(open().await).await;
    a_place_to_put_leads_past_the_gateway_or_nowhere(open().await).await;
    the_extension_names_the_format(open().await).await;
    a_copy_is_an_object_of_its_own(open().await).await;
    only_old_objects_below_the_prefix_expire(open().await).await;
}

#[test]
fn only_safe_text_becomes_a_key() {
    let name = "a".repeat(128);
    let long = [name.as_str(); 3].join("/");
    for good in ["a", "a/b.png", "u@x.de/A-Z_0+9/1-0_thumb.webp", "a..b", &long] {
        assert!(good.parse::<MediaKey>().is_ok(), "{good}");
    }
    // No file system allows longer names.
    let longer = "a".repeat(129);
    let longest = [name.as_str(); 4].join("/");
    for bad in [
        "",
        "/",
        "/x",
        "x/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/..",
        "./a",
        ".hidden",
        "a/.hidden",
        "a\0b",
        "a\\b",
        "..\\x",
        "C:x",
        "a b",
        "ä",
        "a%2fb",
        "a\nb",
        "~",
        "*",
        &longer,
        &longest,
    ] {
        assert!(bad.parse::<MediaKey>().is_err(), "{bad:?}");
    }
}
