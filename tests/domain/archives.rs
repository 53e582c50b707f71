//! Archives: which entries are pictures, and which archives are refused by their directory alone.

use mediaforge::domain::archive::{
    ArchiveError, ArchiveLimits, EntryError, EntryKind, ListedEntry, PlannedPicture, caption_error, is_archive, plan,
};
use proptest::prelude::*;

const BYTES: u64 = 10_000_000;

fn limits() -> ArchiveLimits {
    ArchiveLimits::of_pictures(50, 20 << 20)
}

fn file(name: &str) -> ListedEntry {
    ListedEntry { name: name.to_owned(), kind: EntryKind::File, is_encrypted: false, is_plain_method: true, size: 1000 }
}

fn planned(names: &[&str]) -> Result<Vec<PlannedPicture>, ArchiveError> {
    plan(&names.iter().map(|name| file(name)).collect::<Vec<_>>(), BYTES, &limits())
}

#[test]
fn pictures_are_sorted_and_paired_with_captions_and_clutter_is_skipped() {
    let mut entries: Vec<_> = [
        "set/b.png",
        "./set/A.JPG",
        "__MACOSX/set/._b.png",
        "set/._b.png",
        "set/.DS_Store",
        ".hidden/deep/er/x.png",
        "Thumbs.db",
        "set/desktop.ini",
        "set/a.txt",
        "b.txt",
        "readme.txt",
        "c",
        "notes.md",
    ]
    .map(file)
    .into();
    entries.retain(|entry| !entry.name.starts_with(".hidden"));
    entries.push(ListedEntry { kind: EntryKind::Folder, ..file("set/") });
    entries.push(ListedEntry { kind: EntryKind::Folder, ..file("./") });
    let found: Vec<_> = plan(&entries, BYTES, &limits())
        .expect("an archive")
        .into_iter()
        .map(|PlannedPicture { name, at, caption }| {
            (name, entries[at].name.clone(), caption.map(|at| entries[at].name.clone()))
        })
        .collect();
    let row = |name: &str, listed: &str, caption: Option<&str>| {
        (name.to_owned(), listed.to_owned(), caption.map(ToOwned::to_owned))
    };
    let expected = [
        row("c", "c", None),
        row("notes.md", "notes.md", None),
        row("set/A.JPG", "./set/A.JPG", Some("set/a.txt")),
        row("set/b.png", "set/b.png", None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_suspicious_entry_refuses_the_archive() {
    let is = |listed: ListedEntry, wrong: EntryError| {
        let name = listed.name.clone();
        let refused = plan(&[file("a.png"), listed], BYTES, &limits()).expect_err(&name);
        let ArchiveError::Entry { wrong: found, .. } = refused else { panic!("{name}: {refused}") };
        assert_eq!(found, wrong, "{name}");
    };
    for name in [
        "/etc/passwd",
        "../a.png",
        "a/../../b.png",
        "a//b.png",
        "a\\b.png",
        "C:a.png",
        "c:/a",
        "a\0.png",
        "a\n.png",
        "..",
    ] {
        is(file(name), EntryError::Path);
    }
    is(file("__MACOSX/../../x"), EntryError::Path);
    is(file(&"x".repeat(256)), EntryError::LongName);
    is(file("a/b/c.png"), EntryError::Deep);
    is(file("A.PNG"), EntryError::Duplicate);
    is(file("a.png"), EntryError::Duplicate);
    for name in ["more.zip", "a/more.TAR", "x.tar.gz", "x.7z", "x.rar"] {
        is(file(name), EntryError::Archive);
    }
    is(ListedEntry { kind: EntryKind::Special, ..file("link") }, EntryError::Special);
    is(ListedEntry { kind: EntryKind::Special, ..file(".link") }, EntryError::Special);
    is(ListedEntry { is_encrypted: true, ..file("b.png") }, EntryError::Encrypted);
    is(ListedEntry { is_plain_method: false, ..file("b.png") }, EntryError::Method);
}

#[test]
fn the_unpacked_size_is_limited() {
    let refused = |entries: &[ListedEntry], bytes| plan(entries, bytes, &limits()).expect_err("too much");
    let sized = |size| ListedEntry { size, ..file("a.png") };
    assert_eq!(refused(&[sized(500_000_001)], u64::MAX), ArchiveError::Expands { most: 500_000_000 });
    assert_eq!(refused(&[sized(u64::MAX), sized(u64::MAX)], u64::MAX), ArchiveError::Expands { most: 500_000_000 });
    assert_eq!(refused(&[sized(100_001)], 1000), ArchiveError::Ratio { most: 100 });
    assert!(plan(&[sized(100_000)], 1000, &limits()).is_ok());
    assert!(plan(&[sized(500_000_000)], u64::MAX, &limits()).is_ok());
    // Skipped entries count, too.
    assert_eq!(
        refused(&[file("a.png"), ListedEntry { size: 1 << 40, ..file(".x") }], u64::MAX),
        ArchiveError::Expands { most: 500_000_000 }
    );

    let many: Vec<_> = (0..1001).map(|n| file(&format!(".{n}"))).collect();
    assert_eq!(refused(&many, BYTES), ArchiveError::TooManyEntries { most: 1000 });
    assert_eq!(refused(&many[1..], BYTES), ArchiveError::NoPictures);
    assert_eq!(planned(&["a.txt", ".b", "__MACOSX/c.png"]), Err(ArchiveError::NoPictures));
    let pictures: Vec<_> = (0..51).map(|n| file(&format!("{n}.png"))).collect();
    assert_eq!(refused(&pictures, BYTES), ArchiveError::TooManyPictures { count: 51, most: 50 });
    assert_eq!(plan(&pictures[1..], BYTES, &limits()).map(|planned| planned.len()), Ok(50));
}

#[test]
fn a_caption_is_short_utf8_text() {
    assert_eq!(caption_error("ein Fuchs 🦊".as_bytes()), None);
    assert_eq!(caption_error("ü".repeat(1000).as_bytes()), None);
    assert!(caption_error("ü".repeat(1001).as_bytes()).is_some_and(|why| why.contains("1000")));
    assert!(caption_error(b"caf\xe9").is_some_and(|why| why.contains("UTF-8")));
    assert!(is_archive(b"PK\x03\x04rest") && is_archive(b"\x1f\x8b\x08") && !is_archive(b"\x89PNG"));
}

proptest! {
    #[test]
    fn no_planned_name_leaves_the_archive(names in proptest::collection::vec("[a./\\\\:\u{0}B]{0,8}", 1..6)) {
        if let Ok(planned) = plan(&names.iter().map(|name| file(name)).collect::<Vec<_>>(), BYTES, &limits()) {
            prop_assert!(planned.is_sorted_by(|one, other| one.name <= other.name));
            for PlannedPicture { name, .. } in planned {
                prop_assert!(!name.starts_with('/') && !name.contains('\\') && name.split('/').count() <= 2);
                prop_assert!(name.split('/').all(|part| !["", ".", ".."].contains(&part)));
            }
        }
    }
}
