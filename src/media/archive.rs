//! Untrusted Zip archives of pictures. One entry at a time is in memory, and every size that an archive declares is
//! checked.
//!
//! Everything here blocks: call it off the async runtime (`spawn_blocking`).

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind as Io, Read, Seek as _},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use zip::{
    CompressionMethod, ZipReadOptions,
    read::{ArchiveOffset, Config, OwnedZipFileEntry},
    result::ZipError,
    unstable::read::ZipIterable,
};

use crate::domain::archive::{
    ArchiveError, ArchiveLimits, CAPTION_BYTES, EntryError, EntryKind, ListedEntry, PlannedPicture, caption_error,
    is_archive, plan,
};

/// Bytes of the list of entries, at most. It is kept in memory, and names, comments and extra fields have any length.
const LIST_BYTES: u64 = 2 << 20;
/// Bytes of the end-of-archive record, without its comment.
const END_BYTES: usize = 22;
/// The start of the list, as the end record of an archive of more than 4 GiB has it.
const ZIP64_OFFSET: u32 = u32::MAX;
/// The crate's message for an entry that is larger than declared.
const SIZE_MESSAGE: &str = "larger than its declared uncompressed size";
/// The bits of a Unix mode that hold the type of file.
const FILE_TYPE: u32 = 0o170_000;
const PLAIN_FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveReadError {
    /// It is unsafe, or not an archive.
    #[error(transparent)]
    Refused(#[from] ArchiveError),
    /// Its file cannot be read.
    #[error("the received archive cannot be read")]
    File(#[source] io::Error),
}

/// An archive whose list is valid.
pub struct Archive {
    file: BufReader<File>,
    bytes: u64,
    limits: ArchiveLimits,
    entries: Vec<OwnedZipFileEntry>,
    planned: Vec<PlannedPicture>,
    expanded: u64,
}

/// A picture from an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePicture {
    /// Its path in the archive.
    pub name: String,
    /// The file, or why it cannot be read.
    pub picture: Result<Bytes, String>,
    /// What is wrong with its caption, if anything.
    pub caption: Option<String>,
}

/// SHA-256 of a file, from its beginning.
pub fn digest(file: &mut File) -> io::Result<[u8; 32]> {
    file.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&buffer[..length]),
        }
    }
}

impl Archive {
    /// Reads the list of an archive. Nothing is inflated yet.
    pub fn open(mut file: File, limits: ArchiveLimits) -> Result<Self, ArchiveReadError> {
        let bytes = file.metadata().map_err(ArchiveReadError::File)?.len();
        let mut head = Vec::with_capacity(4);
        file.rewind().and_then(|()| (&mut file).take(4).read_to_end(&mut head)).map_err(ArchiveReadError::File)?;
        // With anything before the first entry, another program would read something else from the file.
        match &head[..] {
            b"PK\x03\x04" => {}
            b"PK\x05\x06" => return Err(ArchiveError::NoPictures.into()),
            _ => return Err(ArchiveError::NotAZip.into()),
        }
        let mut file = BufReader::new(file);
        let (entries, listed) = list(&mut file, &limits)?;
        let planned = plan(&listed, bytes, &limits)?;
        Ok(Self { file, bytes, limits, entries, planned, expanded: 0 })
    }

    /// The number of pictures.
    pub fn len(&self) -> usize {
        self.planned.len()
    }

    /// Whether it has no pictures; an opened archive always has some.
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// The `n`-th picture; `None` after the last.
    pub fn picture(&mut self, n: usize) -> Result<Option<ArchivePicture>, ArchiveReadError> {
        let Some(PlannedPicture { name, at, caption }) = self.planned.get(n).cloned() else { return Ok(None) };
        let max = self.limits.max_picture_bytes;
        let picture = self.inflated(&name, at, max)?;
        if picture.as_ref().is_ok_and(|bytes| is_archive(bytes)) {
            return Err(EntryError::Archive.of(&name).into());
        }
        let caption = match caption {
            None => None,
            Some(at) => match self.inflated(&name, at, CAPTION_BYTES)? {
                Ok(bytes) => caption_error(&bytes),
                Err(why) => Some(format!("its caption cannot be read: {why}")),
            },
        };
        Ok(Some(ArchivePicture { name, picture, caption }))
    }

    /// The bytes of an entry, or what is wrong with this entry alone.
    fn inflated(&mut self, name: &str, at: usize, max: u64) -> Result<Result<Bytes, String>, ArchiveReadError> {
        let Some(entry) = self.entries.get(at) else { return Ok(Err("it is not in the list".to_owned())) };
        let declared = entry.size();
        if declared > max {
            return Ok(Err(format!("it has {declared} bytes; at most {max} are read")));
        }
        let mut file = match entry.as_ref().with_reader(&mut self.file, ZipReadOptions::new()) {
            Ok(file) => file,
            Err(ZipError::Io(error)) if !is_damage(&error) => return Err(ArchiveReadError::File(error)),
            Err(error) => return Ok(Err(format!("the archive is damaged here: {error}"))),
        };
        // The declared size, which is bounded: growing by doubling would hold the entry twice.
        let mut bytes = Vec::with_capacity(usize::try_from(declared + 1).unwrap_or_default());
        // One byte more than declared proves a false size; the rest is not inflated.
        let read = (&mut file).take(declared + 1).read_to_end(&mut bytes);
        self.expanded = self.expanded.saturating_add(bytes.len() as u64);
        self.limits.check_expansion(self.bytes, self.expanded)?;
        match read {
            Ok(length) if length as u64 == declared => Ok(Ok(bytes.into())),
            Ok(_) => Err(EntryError::Size.of(name).into()),
            // The crate also stops at the declared size; only its message distinguishes that from damage.
            Err(error) if error.to_string().contains(SIZE_MESSAGE) => Err(EntryError::Size.of(name).into()),
            Err(error) if is_damage(&error) => Ok(Err(format!("the archive is damaged here: {error}"))),
            Err(error) => Err(ArchiveReadError::File(error)),
        }
    }
}

/// The entries, as the archive has them and as the domain checks them. Duplicate names are both included.
fn list(
    file: &mut BufReader<File>,
    limits: &ArchiveLimits,
) -> Result<(Vec<OwnedZipFileEntry>, Vec<ListedEntry>), ArchiveReadError> {
    let too_many = || ArchiveError::TooManyEntries { most: limits.max_entries };
    // Offsets count from the first byte: an archive after other data is refused.
    let begins = list_begins(file)?;
    let mut archive = ZipIterable::try_new(file, Config { archive_offset: ArchiveOffset::Known(0) }).map_err(broken)?;
    if archive.len() > limits.max_entries {
        return Err(too_many().into());
    }
    let mut entries = Vec::with_capacity(archive.len());
    let mut listed = Vec::with_capacity(archive.len());
    let mut first = None;
    for entry in archive.files().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let at = entry.central_header_start();
        // If the last list is broken, the crate searches for an earlier one; other programs do not.
        if first.is_none() && begins != ZIP64_OFFSET && at != u64::from(begins) {
            return Err(ArchiveError::Damaged("its list is not where its end record says".to_owned()).into());
        }
        if at - *first.get_or_insert(at) > LIST_BYTES {
            return Err(too_many().into());
        }
        let kind = match entry.unix_mode().map(|mode| mode & FILE_TYPE) {
            _ if entry.is_symlink() => EntryKind::Special,
            Some(FOLDER) => EntryKind::Folder,
            _ if entry.is_dir() => EntryKind::Folder,
            None | Some(0 | PLAIN_FILE) => EntryKind::File,
            Some(_) => EntryKind::Special,
        };
        listed.push(ListedEntry {
            name: entry.name().map_err(broken)?.into_owned(),
            kind,
            is_encrypted: entry.encrypted(),
            is_plain_method: matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated),
            size: entry.size(),
        });
        entries.push(entry.into());
    }
    Ok((entries, listed))
}

/// The start of the list according to the end record; [`ZIP64_OFFSET`] if the archive has a larger record.
fn list_begins(file: &mut BufReader<File>) -> Result<u32, ArchiveReadError> {
    let length = file.seek(io::SeekFrom::End(0)).map_err(ArchiveReadError::File)?;
    let start = length.saturating_sub((END_BYTES + usize::from(u16::MAX)) as u64);
    let mut tail = Vec::new();
    file.seek(io::SeekFrom::Start(start)).and_then(|_| file.read_to_end(&mut tail)).map_err(ArchiveReadError::File)?;
    let ends = |record: &&[u8]| {
        record.starts_with(b"PK\x05\x06")
            && usize::from(u16::from_le_bytes([record[20], record[21]])) == record.len() - END_BYTES
    };
    let last = tail.len().saturating_sub(END_BYTES);
    let record = (0..=last).rev().map(|at| &tail[at..]).filter(|record| record.len() >= END_BYTES).find(ends);
    let record =
        record.ok_or_else(|| ArchiveError::Damaged("it is cut off, or something follows its end".to_owned()))?;
    Ok(u32::from_le_bytes([record[16], record[17], record[18], record[19]]))
}

fn broken(error: ZipError) -> ArchiveReadError {
    match error {
        ZipError::Io(error) if !is_damage(&error) => ArchiveReadError::File(error),
        error => ArchiveError::Damaged(error.to_string()).into(),
    }
}

/// Whether a read failed because of the data.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), Io::UnexpectedEof | Io::InvalidData | Io::InvalidInput | Io::Other)
}
