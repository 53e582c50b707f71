//! An archive of pictures: which of its entries are pictures, and which archives are refused.
//!
//! The plan uses the archive's own directory, which may lie. The code that inflates the entries measures them again.

use std::collections::{HashMap, HashSet};

/// The limits of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// The most entries of any kind.
    pub max_entries: usize,
    /// The most bytes of all entries together, unpacked.
    pub max_expansion: u64,
    /// The largest ratio of the unpacked size to the size of the archive.
    pub max_ratio: u64,
    /// The most pictures.
    pub max_pictures: usize,
    /// Bytes of the largest picture. A larger picture is not unpacked: only that picture is unfit.
    pub max_picture_bytes: u64,
}

impl ArchiveLimits {
    /// The default limits, with these limits of pictures.
    pub fn of_pictures(max_pictures: usize, max_picture_bytes: u64) -> Self {
        // Fifty pictures with captions are 200 entries when macOS adds its hidden copy of each.
        Self { max_entries: 1000, max_expansion: 500_000_000, max_ratio: 100, max_pictures, max_picture_bytes }
    }

    /// Whether an archive of `archive_bytes` may unpack to `expanded` bytes.
    pub fn check_expansion(&self, archive_bytes: u64, expanded: u64) -> Result<(), ArchiveError> {
        if expanded > self.max_expansion {
            return Err(ArchiveError::Expands { most: self.max_expansion });
        }
        if expanded > archive_bytes.saturating_mul(self.max_ratio) {
            return Err(ArchiveError::Ratio { most: self.max_ratio });
        }
        Ok(())
    }
}

/// An entry as the archive's directory describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// Its path.
    pub name: String,
    /// The declared kind.
    pub kind: EntryKind,
    /// Whether it needs a password.
    pub is_encrypted: bool,
    /// Whether it is stored or deflated; other compression methods are not supported.
    pub is_plain_method: bool,
    /// The declared size, unpacked.
    pub size: u64,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link, a device or a pipe.
    Special,
}

/// An entry that is treated as a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPicture {
    /// Its path.
    pub name: String,
    /// Its position in the directory.
    pub at: usize,
    /// The position of its caption.
    pub caption: Option<usize>,
}

/// Why a whole archive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It does not begin like a zip file, or its directory is not where it should be.
    #[error("not a zip archive")]
    NotAZip,
    /// It is truncated or corrupt.
    #[error("the archive cannot be read: {0}")]
    Damaged(String),
    /// The file itself is too large.
    #[error("the archive has {bytes} bytes; at most {max} are allowed")]
    TooManyBytes {
        /// Bytes received.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// It has too many entries, or a directory that is too long.
    #[error("the archive contains more than {most} files and folders, or its directory is too long")]
    TooManyEntries {
        /// The limit.
        most: usize,
    },
    /// It unpacks to too many bytes.
    #[error("the archive unpacks to more than {most} bytes")]
    Expands {
        /// The limit.
        most: u64,
    },
    /// It unpacks to too many bytes for its own size.
    #[error("the archive unpacks to more than {most} times its size")]
    Ratio {
        /// The limit.
        most: u64,
    },
    /// No entry is a picture.
    #[error("the archive contains no pictures")]
    NoPictures,
    /// More pictures than a training may use.
    #[error("the archive contains {count} pictures; at most {most} are allowed")]
    TooManyPictures {
        /// Pictures in it.
        count: usize,
        /// The limit.
        most: usize,
    },
    /// An entry that is not allowed.
    #[error("{name} in the archive {wrong}")]
    Entry {
        /// Its path, shortened and without control characters.
        name: String,
        /// What is wrong with it.
        wrong: EntryError,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Its name is too long.
    #[error("has a name of more than {NAME_CHARS} characters")]
    LongName,
    /// Its path is absolute, or has `..`, backslashes or control characters.
    #[error("has a name that is not a plain path inside the archive")]
    Path,
    /// A link, a device or a pipe.
    #[error("is a link or another special file")]
    Special,
    /// It is inside more than one folder.
    #[error("is more than one folder deep")]
    Deep,
    /// It needs a password.
    #[error("is encrypted")]
    Encrypted,
    /// It is neither stored nor deflated.
    #[error("is compressed by a method other than deflate")]
    Method,
    /// Many file systems treat two of the names as one.
    #[error("occurs twice, under names that differ at most in upper and lower case")]
    Duplicate,
    /// Nested archives are not unpacked.
    #[error("is an archive itself; put its pictures into this archive")]
    Archive,
    /// Its unpacked size differs from the declared size.
    #[error("does not have the size that the archive declares")]
    Size,
}

impl EntryError {
    /// The error that refuses the archive because of this entry.
    pub fn of(self, name: &str) -> ArchiveError {
        let shown = name.chars().take(100).map(|c| if c.is_control() { '\u{fffd}' } else { c });
        ArchiveError::Entry { name: shown.collect(), wrong: self }
    }
}

/// Characters of the longest path.
const NAME_CHARS: usize = 255;
/// Characters of the longest caption.
const CAPTION_CHARS: usize = 1000;
/// Bytes of the longest caption: four for each character, and a byte order mark.
pub const CAPTION_BYTES: u64 = 4 * CAPTION_CHARS as u64 + 3;
/// Folders around a picture, at most: many archives contain one folder.
const FOLDERS: usize = 1;
/// Files that desktops add by themselves.
const CLUTTER: [&str; 2] = ["thumbs.db", "desktop.ini"];
/// File extensions of archives. Other archives are recognised by their first bytes.
const ARCHIVES: [&str; 9] = ["zip", "7z", "rar", "tar", "gz", "tgz", "bz2", "xz", "zst"];
/// The first bytes of archives.
const ARCHIVE_MAGIC: [&[u8]; 7] =
    [b"PK\x03\x04", b"PK\x05\x06", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh"];

/// The pictures of an archive, sorted by name, or why the archive is refused.
///
/// Folders, hidden files and files of desktops are skipped. `name.txt` is the caption of the picture `name`. Every other
/// file is treated as a picture, so that no file is dropped silently.
pub fn plan(
    entries: &[ListedEntry],
    archive_bytes: u64,
    limits: &ArchiveLimits,
) -> Result<Vec<PlannedPicture>, ArchiveError> {
    if entries.len() > limits.max_entries {
        return Err(ArchiveError::TooManyEntries { most: limits.max_entries });
    }
    let declared = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
    limits.check_expansion(archive_bytes, declared)?;
    let (mut pictures, mut captions, mut seen) = (Vec::new(), HashMap::new(), HashSet::new());
    for (at, entry) in entries.iter().enumerate() {
        let refuse = |wrong: EntryError| Err(wrong.of(&entry.name));
        let name = entry.name.strip_prefix("./").unwrap_or(&entry.name);
        if name.chars().count() > NAME_CHARS {
            return refuse(EntryError::LongName);
        }
        if !is_plain_path(name) {
            return refuse(EntryError::Path);
        }
        match entry.kind {
            EntryKind::Special => return refuse(EntryError::Special),
            EntryKind::Folder => continue,
            EntryKind::File => {}
        }
        if is_clutter(name) {
            continue;
        }
        let folded = name.to_lowercase();
        let (stem, extension) = split(&folded);
        let wrong = if entry.is_encrypted {
            Some(EntryError::Encrypted)
        } else if !entry.is_plain_method {
            Some(EntryError::Method)
        } else if ARCHIVES.contains(&extension) {
            Some(EntryError::Archive)
        } else if name.matches('/').count() > FOLDERS {
            Some(EntryError::Deep)
        } else {
            None
        };
        if let Some(wrong) = wrong {
            return refuse(wrong);
        }
        if !seen.insert(folded.clone()) {
            return refuse(EntryError::Duplicate);
        }
        if extension == "txt" {
            captions.insert(stem.to_owned(), at);
        } else {
            pictures.push((stem.to_owned(), PlannedPicture { name: name.to_owned(), at, caption: None }));
        }
    }
    match pictures.len() {
        0 => return Err(ArchiveError::NoPictures),
        count if count > limits.max_pictures => {
            return Err(ArchiveError::TooManyPictures { count, most: limits.max_pictures });
        }
        _ => {}
    }
    let captioned =
        |(stem, picture): (String, PlannedPicture)| PlannedPicture { caption: captions.get(&stem).copied(), ..picture };
    let mut planned: Vec<_> = pictures.into_iter().map(captioned).collect();
    planned.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(planned)
}

/// Whether the bytes begin like an archive.
pub fn is_archive(bytes: &[u8]) -> bool {
    ARCHIVE_MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

/// The error of a caption, if it is invalid.
pub fn caption_error(bytes: &[u8]) -> Option<String> {
    match std::str::from_utf8(bytes) {
        Err(_) => Some("its caption is not UTF-8".to_owned()),
        Ok(text) if text.trim_start_matches('\u{feff}').trim_end().chars().count() > CAPTION_CHARS => {
            Some(format!("its caption has more than {CAPTION_CHARS} characters"))
        }
        Ok(_) => None,
    }
}

fn is_plain_path(name: &str) -> bool {
    let is_drive = name.as_bytes().get(1) == Some(&b':');
    let folder_or_file = name.strip_suffix('/').unwrap_or(name);
    // Some programs list the archive's own folder, with an empty name.
    name.is_empty()
        || !is_drive
            && !name.chars().any(|c| c.is_control() || c == '\\')
            && folder_or_file.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn is_clutter(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    name.starts_with("__MACOSX/")
        || file.is_empty()
        || file.starts_with('.')
        || CLUTTER.iter().any(|clutter| file.eq_ignore_ascii_case(clutter))
}

/// A path without its extension, and the extension.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => (stem, extension),
        _ => (name, ""),
    }
}
