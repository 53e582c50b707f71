//! Opens the database, or explains why it must not be used.
//!
//! An empty database is created only where there has never been one. The marker file records that there was one, so a lost
//! or emptied file is an error that an operator sees, not the silent loss of all credits.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{DATABASE, MARKER, OpenError, migrations, sync};

/// "MFrg": marks the file as ours (SQLite header, bytes 68–71).
const APPLICATION_ID: i64 = 0x4d46_7267;
/// Version of the data directory's layout, as the marker names it.
const FORMAT: i64 = 1;
/// Up to this size, the start checks every page. Larger files would take too long; there it checks the b-tree roots only.
const CHECK_ALL_UP_TO: u64 = 1 << 20;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Creates the data directory for this user alone.
pub(super) fn create_directory(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::NotWritable { path: path.to_owned(), source };
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync::directory(parent).map_err(failed),
        None => Ok(()),
    }
}

/// Opens the database of a directory for writing, up to date and with every setting made.
pub(super) fn open(directory: &Path) -> Result<Connection, OpenError> {
    let path = directory.join(DATABASE);
    let failed = |source| OpenError::NotWritable { path: directory.to_owned(), source };
    // Two processes that start at once must not both create the file.
    let gate = sync::touch(&directory.join("open.lock"))?;
    gate.lock().map_err(failed)?;

    let was_created = read_marker(directory)?;
    let is_there = inspect(&path, was_created)?;
    let mut db = connect(&path, !was_created)?;
    check_owner(&db, &path, was_created)?;
    migrations::run(&mut db, &path)?;
    if is_there {
        check_structure(&db, &path)?;
    }
    if !was_created {
        let finished = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        finished.map_err(|source| OpenError::sqlite(&path, source))?;
        sync::directory(directory).map_err(failed)?;
        sync::put(directory, MARKER, format!("mediaforge data directory, format {FORMAT}\n").as_bytes())
            .map_err(failed)?;
    }
    drop(gate);
    Ok(db)
}

/// The number of the last change of any job.
pub(super) fn sequence(db: &Connection, directory: &Path) -> Result<u64, OpenError> {
    let value = db.query_row("SELECT value FROM sequence", [], |row| row.get::<_, i64>(0));
    value.map(i64::unsigned_abs).map_err(|source| OpenError::sqlite(&directory.join(DATABASE), source))
}

/// Makes the settings that every connection needs.
pub(super) fn configure(db: &Connection) -> rusqlite::Result<()> {
    // SQLite's own handler sleeps up to 100 ms; the other process holds the lock for one group commit, a few ms.
    db.busy_handler(Some(|tries| {
        std::thread::sleep(Duration::from_micros(500));
        tries < 10_000
    }))?;
    db.set_prepared_statement_cache_capacity(64);
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "temp_store", "MEMORY")
}

fn read_marker(directory: &Path) -> Result<bool, OpenError> {
    let path = directory.join(MARKER);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(OpenError::NotWritable { path, source }),
        Ok(text) => {
            let found = text.split_whitespace().last().and_then(|word| word.parse().ok()).unwrap_or(FORMAT);
            if found > FORMAT { Err(OpenError::NewerSchema { path, found, known: FORMAT }) } else { Ok(true) }
        }
    }
}

/// Checks the file without SQLite, which would create, replay or repair it. Returns whether there is a database.
fn inspect(path: &Path, was_created: bool) -> Result<bool, OpenError> {
    let unreadable = |source| OpenError::NotWritable { path: path.to_owned(), source };
    let gone = |found| OpenError::Gone { path: path.to_owned(), found };
    let damaged = |detail: String| OpenError::Damaged { path: path.to_owned(), detail };
    let log = log_length(path);
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if was_created || log > 0 { Err(gone("missing")) } else { Ok(false) };
        }
        Err(source) => return Err(unreadable(source)),
    };
    if length == 0 {
        // Without the marker this is an interrupted creation: no caller has ever got an answer from it.
        return if was_created { Err(gone("empty")) } else { Ok(false) };
    }
    let mut header = [0_u8; 100];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut header))
        .map_err(|_| damaged(format!("it ends after {length} bytes")))?;
    if !header.starts_with(MAGIC) {
        return Err(damaged("it does not begin like a SQLite database".to_owned()));
    }
    let number = |at: usize| header[at..at + 4].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let page_size = match number(16) >> 16 {
        1 => 65_536,
        size => size,
    };
    let is_counted = number(24) == number(92);
    let expected = number(28) * page_size;
    // With a log beside it the file may be shorter: SQLite replays the log.
    if log == 0 && is_counted && length < expected {
        return Err(damaged(format!("it is cut short: {length} of {expected} bytes")));
    }
    Ok(true)
}

fn log_length(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(PathBuf::from(log)).map_or(0, |metadata| metadata.len())
}

fn connect(path: &Path, may_create: bool) -> Result<Connection, OpenError> {
    let settle = || {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, may_create);
        let db = Connection::open_with_flags(path, flags)?;
        configure(&db)?;
        let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        db.pragma_update(None, "synchronous", "FULL")?;
        // A page cache of 32 MiB at most. The log is copied back beside the writer (checkpoint.rs); the writer does
        // what is left at 64 MiB, after which the log begins anew.
        db.pragma_update(None, "cache_size", -32_768)?;
        db.pragma_update(None, "wal_autocheckpoint", 16_384)?;
        db.pragma_update(None, "journal_size_limit", 64 << 20)?;
        Ok((db, mode))
    };
    let (db, mode) = settle().map_err(|source| OpenError::sqlite(path, source))?;
    if mode != "wal" {
        let source = io::Error::other("the file system cannot share memory, which the write-ahead log needs");
        return Err(OpenError::NotWritable { path: path.to_owned(), source });
    }
    Ok(db)
}

fn check_owner(db: &Connection, path: &Path, was_created: bool) -> Result<(), OpenError> {
    let failed = |source| OpenError::sqlite(path, source);
    let owner: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(failed)?;
    if owner == APPLICATION_ID {
        return Ok(());
    }
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(failed)?;
    if was_created || owner != 0 || tables != 0 {
        return Err(OpenError::Stranger { path: path.to_owned() });
    }
    db.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)
}

fn check_structure(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::sqlite(path, source);
    let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length <= CHECK_ALL_UP_TO {
        let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if verdict != "ok" {
            return Err(OpenError::Damaged { path: path.to_owned(), detail: verdict });
        }
        return Ok(());
    }
    probe(db).map_err(failed)
}

/// The outermost path of every b-tree, from its root to its first leaf.
const PROBES: &[&str] = &[
    "SELECT 1 FROM jobs ORDER BY row LIMIT 1",
    "SELECT 1 FROM jobs ORDER BY id LIMIT 1",
    "SELECT 1 FROM jobs INDEXED BY jobs_by_user ORDER BY user_id LIMIT 1",
    "SELECT 1 FROM jobs INDEXED BY jobs_by_due WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1",
    "SELECT 1 FROM jobs INDEXED BY jobs_by_age WHERE removable_since IS NOT NULL ORDER BY removable_since LIMIT 1",
    "SELECT 1 FROM jobs ORDER BY seq LIMIT 1",
    "SELECT 1 FROM accounts LIMIT 1",
    "SELECT 1 FROM ledger LIMIT 1",
    "SELECT 1 FROM ledger INDEXED BY ledger_grants WHERE job_id IS NULL ORDER BY account LIMIT 1",
    "SELECT 1 FROM messages INDEXED BY messages_by_turn ORDER BY kind LIMIT 1",
    "SELECT 1 FROM messages ORDER BY id LIMIT 1",
    "SELECT 1 FROM dead_letters LIMIT 1",
];

fn probe(db: &Connection) -> rusqlite::Result<()> {
    PROBES.iter().try_for_each(|probe| db.prepare(probe)?.exists([]).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_database_is_probed_by_statements_that_fit_its_tables() {
        let directory = tempfile::tempdir().expect("a directory");
        let db = open(directory.path()).expect("a database");
        probe(&db).expect("every table and index is there");
    }
}
