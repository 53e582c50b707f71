//! Half-written files, and a probe that the directory can store objects.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind as Io, Write as _},
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use super::{Inner, Result, TEMP_DIR, at};

/// A half-written file of this age belongs to a process that died.
const TEMP_AGE: Duration = Duration::from_hours(1);

impl Inner {
    /// Writes, links and removes a file; returns its time, which is the current time of the file system's clock.
    pub(super) fn probe(&self, op: &'static str) -> Result<SystemTime> {
        let directory = self.root.join(TEMP_DIR);
        let attempt = || {
            let mut temp = self.temp()?;
            temp.write(b"probe")?;
            let modified = fs::metadata(&temp.path)?.modified()?;
            let linked = TempFile { path: temp.path.with_extension("link"), file: None };
            fs::hard_link(&temp.path, &linked.path)?;
            Ok(modified)
        };
        attempt().map_err(at(op, &directory))
    }

    pub(super) fn temp(&self) -> io::Result<TempFile> {
        let directory = self.root.join(TEMP_DIR);
        loop {
            let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}-{number}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(TempFile { path, file: Some(file) }),
                // It is from a dead process of the same id, or from a process in another container.
                Err(error) if error.kind() == Io::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn remove_stale(&self, now: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(TEMP_DIR))? {
            let entry = entry?;
            // Another process may have removed its file since it was listed.
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            if now.duration_since(modified).is_ok_and(|age| age > TEMP_AGE) {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != Io::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// A file that is removed with this value, so that no half-written file remains.
pub(super) struct TempFile {
    pub(super) path: PathBuf,
    file: Option<File>,
}

impl TempFile {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A failure is ignored: `open` removes files that are an hour old.
        let _ = fs::remove_file(&self.path);
    }
}
