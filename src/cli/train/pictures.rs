//! The pictures as they lie here, before anything is sent.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::super::{Exit, Failure};
use crate::domain::upload::ARCHIVE_TYPE;

/// What the service takes at most.
const LONGEST: u64 = 20 * 1024 * 1024;
/// The same of an archive.
const LONGEST_ARCHIVE: u64 = 200 * 1024 * 1024;

/// A file that looks like a picture, or like an archive of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) path: PathBuf,
    pub(super) content_type: &'static str,
    pub(super) length: u64,
}

impl Picture {
    /// Whether it stands for the pictures in it.
    pub(super) fn is_archive(&self) -> bool {
        self.content_type == ARCHIVE_TYPE
    }

    /// The last part of its path.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// The pictures, or everything that is wrong with any of them.
pub(super) fn checked(paths: &[PathBuf]) -> Result<Vec<Picture>, Failure> {
    let mut pictures = Vec::new();
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for path in paths {
        let earlier = path.canonicalize().ok().and_then(|real| seen.insert(real, path));
        match (earlier, looked_at(path)) {
            (_, Err(reason)) => wrong.push((path, reason)),
            (Some(earlier), Ok(_)) => wrong.push((path, format!("is named twice, first as {}", earlier.display()))),
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

fn looked_at(path: &Path) -> Result<Picture, String> {
    let said = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    // Of what is no plain file (a pipe, a device) not even the opening is harmless.
    let metadata = path.metadata().map_err(said)?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    let mut head = Vec::with_capacity(16);
    File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).map_err(said)?;
    let length = metadata.len();
    let content_type = content_type(&head).ok_or("is no PNG, JPEG or WebP picture, and no zip archive")?;
    let longest = if content_type == ARCHIVE_TYPE { LONGEST_ARCHIVE } else { LONGEST };
    if length > longest {
        return Err(format!("has {} MiB; {} MiB are allowed", length.div_ceil(1 << 20), longest >> 20));
    }
    Ok(Picture { path: path.to_owned(), content_type, length })
}

/// By what the file begins with: its name may say anything.
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
    fn every_file_that_cannot_be_used_is_named_with_its_reason() {
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
        let accepted = checked(&[good.clone(), jpeg.clone(), webp, zip]).unwrap();
        let types: Vec<_> = accepted.iter().map(|picture| picture.content_type).collect();
        assert_eq!(types, ["image/png", "image/jpeg", "image/webp", "application/zip"]);
        assert!(accepted[3].is_archive() && !accepted[0].is_archive());
        assert_eq!((accepted[0].length, accepted[0].name().as_str()), (12, "a.txt"));

        let huge = file("huge.jpg", b"\xff\xd8\xff");
        File::options().write(true).open(&huge).unwrap().set_len(LONGEST + 1).unwrap();
        let heavy = file("heavy.zip", b"PK\x03\x04");
        File::options().write(true).open(&heavy).unwrap().set_len(LONGEST_ARCHIVE + 1).unwrap();
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
        let failure = checked(&wrong).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        let message = &failure.message;
        assert!(message.starts_with("7 of 8 pictures cannot be used\n"), "{message}");
        for part in [
            "text.png: is no PNG",
            "empty.png: is no PNG",
            "is no file",
            "gone.png: there is no such",
            "21 MiB",
            "201 MiB",
            "twice",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}
