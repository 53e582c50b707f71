//! The tables, version by version. A step that has been released is never edited; a change is a new step.

use std::{path::Path, sync::LazyLock};

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::OpenError;

/// `user_version` of a database that this build has brought up to date.
pub(super) const VERSION: i64 = 3;

static STEPS: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    let steps = [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];
    Migrations::new(steps.map(M::up).into())
});

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

    #[test]
    fn a_ledger_from_before_keeps_its_order_and_jobs_learn_their_entries() -> Result<(), Box<dyn std::error::Error>> {
        let mut db = Connection::open_in_memory()?;
        STEPS.to_version(&mut db, 2)?;
        db.execute_batch(
            "INSERT INTO jobs (id, user_id, team_id, kind, status, created_at, version, seq, document) VALUES
                 ('ill_b', 'ada', NULL, 'ill_', 'completed', 0, 1, 1, '{}'),
                 ('ill_a', 'ada', 'acme', 'ill_', 'queued', 0, 1, 2, '{}');
             INSERT INTO ledger (account, number, id, job_id, verb, amount, at) VALUES
                 ('users/ada', 1, 'grant:users:ada:welcome', NULL, 'grant', 10, 0),
                 ('users/ada', 2, 'ill_b:1:hold', 'ill_b', 'hold', 1, 0),
                 ('users/ada', 3, 'ill_b:1:capture', 'ill_b', 'capture', 1, 0),
                 ('teams/acme', 1, 'ill_a:1:hold', 'ill_a', 'hold', 1, 0);",
        )?;
        run(&mut db, Path::new("memory"))?;
        let texts = |sql: &str| -> rusqlite::Result<Vec<String>> {
            db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        let ledger = texts("SELECT id FROM ledger WHERE account = 'users/ada' ORDER BY number")?;
        assert_eq!(ledger, ["grant:users:ada:welcome", "ill_b:1:hold", "ill_b:1:capture"]);
        assert_eq!(texts("SELECT entries FROM jobs ORDER BY id")?, [":1:hold ", ":1:capture :1:hold "]);
        Ok(())
    }

    #[test]
    fn jobs_from_before_retention_are_found_by_their_age() -> Result<(), Box<dyn std::error::Error>> {
        let mut db = Connection::open_in_memory()?;
        STEPS.to_version(&mut db, 2)?;
        let jobs = [
            ("done", "completed", None, r#"{"completedAt":"2026-01-02T03:04:05.678901Z"}"#),
            ("stopped", "cancelled", None, r#"{"cancelledAt":"2026-01-02T03:04:06Z"}"#),
            ("given-up", "failed", None, r#"{"failedAt":"2026-01-02T03:04:07Z"}"#),
            ("owing", "failed", Some(1), r#"{"failedAt":"2026-01-02T03:04:08Z"}"#),
            ("brand", "ready", None, r#"{"completedAt":"2026-01-02T03:04:09Z"}"#),
            ("waiting", "queued", Some(1), "{}"),
        ];
        for (seq, (id, status, due_at, document)) in jobs.into_iter().enumerate() {
            let sql = "INSERT INTO jobs (id, user_id, kind, status, created_at, due_at, version, seq, document)
                       VALUES (?, 'ada', 'ill_', ?, 0, ?, 1, ?, ?)";
            db.execute(sql, (id, status, due_at, i64::try_from(seq)?, document))?;
        }
        run(&mut db, Path::new("memory"))?;
        let sql = "SELECT id, removable_since FROM jobs WHERE removable_since IS NOT NULL ORDER BY removable_since";
        let mut found = db.prepare(sql)?;
        let found = found.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found: Vec<(String, i64)> = found.collect::<Result<_, _>>()?;
        let second = |n: i64| 1_767_323_040_000_000 + n * 1_000_000;
        let expected = [("done", second(5)), ("stopped", second(6)), ("given-up", second(7))];
        assert_eq!(found, expected.map(|(id, at)| (id.to_owned(), at)));
        Ok(())
    }
}
