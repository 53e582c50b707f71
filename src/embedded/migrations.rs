//! The tables, version by version. A step that has been released is never edited; a change is a new step.

use std::{path::Path, sync::LazyLock};

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::OpenError;

/// `user_version` of a database that this build has brought up to date.
pub(super) const VERSION: i64 = 2;

static STEPS: LazyLock<Migrations<'static>> =
    LazyLock::new(|| Migrations::new([include_str!("schema/1.sql"), include_str!("schema/2.sql")].map(M::up).into()));

/// Brings the tables up to date; refuses those of a newer build, whose rules this one does not know.
pub(super) fn run(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let found: i64 =
        db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|source| OpenError::sqlite(path, source))?;
    if found > VERSION {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known: VERSION });
    }
    if found == VERSION {
        return Ok(());
    }
    STEPS.to_latest(db).map_err(|source| OpenError::Migration { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_apply_and_end_at_the_version_this_build_names() -> Result<(), Box<dyn std::error::Error>> {
        STEPS.validate()?;
        let mut db = Connection::open_in_memory()?;
        run(&mut db, Path::new("memory"))?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        assert_eq!(version, VERSION);
        Ok(())
    }
}
