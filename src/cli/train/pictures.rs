//! Checks the files before anything is sent.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::super::{Exit, Failure};
use crate::domain::upload::ARCHIVE_TYPE;

/// Maximum size of a picture in bytes.
const MAX_PICTURE: u64 = 20 * 1024 * 1024;
/// Maximum size of an archive in bytes.
const MAX_ARCHIVE: u64 = 200 * 1024 * 1024;

/// A file that looks like a picture, or like an archive of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) path: PathBuf,
    pub(super) content_type: &'static str,
    pub(super) length: u64,
}

impl Picture {
    /// Whether it is an archive of pictures.
    pub(super) fn is_archive(&self) -> bool {
        self.content_type == ARCHIVE_TYPE
    }

    /// The file name.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// Checks the files. The error lists every file that cannot be used.
pub(super) fn check_all(paths: &[PathBuf]) -> Result<Vec<Picture>, Failure> {
    let mut pictures = Vec::new();
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for path in paths {
        let earlier = path.canonicalize().ok().and_then(|real| seen.insert(real, path));
        match (earlier, inspect(path)) {
            (_, Err(reason)) => wrong.push((path, reason)),
            (Some(earlier), Ok(_)) => wrong.push((path, format!("is the same file as {}", earlier.display()))),
            (None, Ok(picture)) => pictures.push(picture),
        }
    }
    if wrong.is_empty() {
        return Ok(pictures);
    }
    let mut message = format!("{} of {} pictures cannot be used", wrong.len(), paths.len());
    for (path, reason) in wrong {
        let _ = write!(message, "\n  {}: {reason}", path.display()); // writing to a String cannot fail
    }
    Err(Failure::new(Exit::Usage, message).hint("nothing was uploaded"))
}

fn inspect(path: &Path) -> Result<Picture, String> {
    let describe = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    // Opening a pipe or a device can block, so only regular files are opened.
    let metadata = path.metadata().map_err(describe)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut head = Vec::with_capacity(16);
    File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).map_err(describe)?;
    let length = metadata.len();
    let content_type = content_type(&head).ok_or("is neither a PNG, JPEG or WebP picture nor a zip archive")?;
    let max = if content_type == ARCHIVE_TYPE { MAX_ARCHIVE } else { MAX_PICTURE };
    if length > max {
        return Err(format!("has {} MiB; at most {} MiB are allowed", length.div_ceil(1 << 20), max >> 20));
    }
    Ok(Picture { path: path.to_owned(), content_type, length })
}

/// The type according to the first bytes, because the name may be wrong.
fn content_type(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'P', b'K', 0x03, 0x04, ..] => Some(ARCHIVE_TYPE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_cannot_be_used_is_listed_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let good = file("a.txt", b"\x89PNG\r\n\x1a\nrest");
        let jpeg = file("b.png", b"\xff\xd8\xff\xe0rest");
        let webp = file("c", b"RIFF\0\0\0\0WEBPVP8 ");
        let zip = file("d.png", b"PK\x03\x04rest");
        let accepted = check_all(&[good.clone(), jpeg.clone(), webp, zip]).unwrap();
        let types: Vec<_> = accepted.iter().map(|picture| picture.content_type).collect();
        assert_eq!(types, ["image/png", "image/jpeg", "image/webp", "application/zip"]);
        assert!(accepted[3].is_archive() && !accepted[0].is_archive());
        assert_eq!((accepted[0].length, accepted[0].name().as_str()), (12, "a.txt"));

        let huge = file("huge.jpg", b"\xff\xd8\xff");
        File::options().write(true).open(&huge).unwrap().set_len(MAX_PICTURE + 1).unwrap();
        let heavy = file("heavy.zip", b"PK\x03\x04");
        File::options().write(true).open(&heavy).unwrap().set_len(MAX_ARCHIVE + 1).unwrap();
        let again = dir.path().join(".").join("a.txt");
        let wrong = [
            good,
            file("text.png", b"hello"),
            file("empty.png", b""),
            dir.path().into(),
            "gone.png".into(),
            huge,
            heavy,
            again,
        ];
        let failure = check_all(&wrong).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        let message = &failure.message;
        assert!(message.starts_with("7 of 8 pictures cannot be used\n"), "{message}");
        for part in [
            "text.png: is neither a PNG",
            "empty.png: is neither a PNG",
            "is not a regular file",
            "gone.png: does not exist",
            "21 MiB",
            "201 MiB",
            "is the same file as",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}
