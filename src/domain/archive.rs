//! An archive of pictures: which of its entries count, and which archives are not opened at all.
//!
//! What an archive says of itself is looked at first, and believed in nothing: whoever inflates it counts again.

use std::collections::{HashMap, HashSet};

/// What an archive may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Entries of any kind, at most.
    pub max_entries: usize,
    /// Bytes that everything in it comes to, at most.
    pub max_expansion: u64,
    /// The same as a multiple of the archive's own size, at most.
    pub max_ratio: u64,
    /// Pictures, at most.
    pub max_pictures: usize,
    /// Bytes of a picture, at most. A larger one is not inflated; it alone is unfit.
    pub max_picture_bytes: u64,
}

impl ArchiveLimits {
    /// The usual limits, with these on the pictures.
    pub fn of_pictures(max_pictures: usize, max_picture_bytes: u64) -> Self {
        // Fifty pictures with captions, each with the shadow a Mac adds, are 200 entries.
        Self { max_entries: 1000, max_expansion: 500_000_000, max_ratio: 100, max_pictures, max_picture_bytes }
    }

    /// Whether an archive of so many bytes may come to so many.
    pub fn check_expansion(&self, archive_bytes: u64, expanded: u64) -> Result<(), ArchiveError> {
        if expanded > self.max_expansion {
            return Err(ArchiveError::Expands { most: self.max_expansion });
        }
        if expanded > archive_bytes.saturating_mul(self.max_ratio) {
            return Err(ArchiveError::Dense { most: self.max_ratio });
        }
        Ok(())
    }
}

/// What an archive says of one of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub name: String,
    /// What it is said to be.
    pub kind: EntryKind,
    /// Whether a password is needed.
    pub is_encrypted: bool,
    /// Whether it is stored as it is or deflated: other methods are not read.
    pub is_plain_method: bool,
    /// Bytes it is said to come to.
    pub size: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link, a device, a pipe.
    Special,
}

/// An entry that counts: looked at as a picture, whatever it turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its path.
    pub name: String,
    /// Its position in the list.
    pub at: usize,
    /// The position of the text that belongs to it.
    pub caption: Option<usize>,
}

/// Why an archive is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It does not begin as a zip does, or its list of entries is not where it should be.
    #[error("not a zip archive")]
    NotAZip,
    /// It is cut off or corrupt.
    #[error("the archive cannot be read: {0}")]
    Damaged(String),
    /// The file itself is too large.
    #[error("the archive has {bytes} bytes; at most {max} are read")]
    TooManyBytes {
        /// What came.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// Too many entries, or too long a list of them.
    #[error("the archive holds more than {most} files and folders, or their list is too long")]
    TooManyEntries {
        /// What is allowed.
        most: usize,
    },
    /// It comes to too much.
    #[error("what the archive holds comes to more than {most} bytes")]
    Expands {
        /// What is allowed.
        most: u64,
    },
    /// It comes to too much for its size.
    #[error("what the archive holds comes to more than {most} times its size")]
    Dense {
        /// What is allowed.
        most: u64,
    },
    /// Nothing in it counts.
    #[error("the archive holds no pictures")]
    NoPictures,
    /// More pictures than a brand may be made of.
    #[error("the archive holds {count} pictures; at most {most} are taken")]
    TooManyPictures {
        /// What it holds.
        count: usize,
        /// What is allowed.
        most: usize,
    },
    /// An entry that no honest archive of pictures has.
    #[error("{name} in the archive {wrong}")]
    Entry {
        /// Its path, fit to be shown.
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
    /// Absolute, with `..`, backslashes or control characters.
    #[error("has a name that is no plain path inside the archive")]
    Path,
    /// A link, a device, a pipe.
    #[error("is a link or something else that is no file")]
    Special,
    /// Deeper than one folder.
    #[error("lies more than one folder deep")]
    Deep,
    /// A password is needed.
    #[error("is encrypted")]
    Encrypted,
    /// Neither stored nor deflated.
    #[error("is compressed by another method than deflate")]
    Method,
    /// Two names that many file systems take for one.
    #[error("is there twice, by names that differ at most in upper and lower case")]
    Twice,
    /// Archives in archives are not opened.
    #[error("is an archive itself; put its pictures into this one")]
    Archive,
    /// It came to more or less than the list says.
    #[error("is not of the size that the archive says")]
    Size,
}

impl EntryError {
    /// The refusal of an archive for this entry.
    pub fn of(self, name: &str) -> ArchiveError {
        let shown = name.chars().take(100).map(|c| if c.is_control() { '\u{fffd}' } else { c });
        ArchiveError::Entry { name: shown.collect(), wrong: self }
    }
}

/// Characters of a name, at most.
const NAME_CHARS: usize = 255;
/// Characters of a caption, at most.
const CAPTION_CHARS: usize = 1000;
/// Bytes of a caption, at most: so many characters of the longest kind, and a byte order mark.
pub const CAPTION_BYTES: u64 = 4 * CAPTION_CHARS as u64 + 3;
/// Folders a picture may lie in: archives are often made of one folder.
const FOLDERS: usize = 1;
/// Files of desktops that nobody means to send.
const CLUTTER: [&str; 2] = ["thumbs.db", "desktop.ini"];
/// Endings of archives; others are known by how they begin.
const ARCHIVES: [&str; 9] = ["zip", "7z", "rar", "tar", "gz", "tgz", "bz2", "xz", "zst"];
/// How archives begin.
const ARCHIVE_MAGIC: [&[u8]; 7] =
    [b"PK\x03\x04", b"PK\x05\x06", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh"];

/// The entries that count, sorted by name, or why the archive is refused.
///
/// Folders, hidden files and what desktops leave behind do not count, nor do texts: `name.txt` is the caption of the
/// picture `name`. Everything else does, so that nothing is left out in silence.
pub fn plan(entries: &[Listed], archive_bytes: u64, limits: &ArchiveLimits) -> Result<Vec<Planned>, ArchiveError> {
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
            return refuse(EntryError::Twice);
        }
        if extension == "txt" {
            captions.insert(stem.to_owned(), at);
        } else {
            pictures.push((stem.to_owned(), Planned { name: name.to_owned(), at, caption: None }));
        }
    }
    match pictures.len() {
        0 => return Err(ArchiveError::NoPictures),
        count if count > limits.max_pictures => {
            return Err(ArchiveError::TooManyPictures { count, most: limits.max_pictures });
        }
        _ => {}
    }
    let captioned = |(stem, picture): (String, Planned)| Planned { caption: captions.get(&stem).copied(), ..picture };
    let mut planned: Vec<_> = pictures.into_iter().map(captioned).collect();
    planned.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(planned)
}

/// Whether bytes begin as an archive does.
pub fn is_archive(bytes: &[u8]) -> bool {
    ARCHIVE_MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

/// What is wrong with a caption, if anything.
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
    // The archive's own folder, as some programs list it.
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

/// A path without its ending, and the ending.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => (stem, extension),
        _ => (name, ""),
    }
}
