//! Opening a data directory, and the cases in which it is refused.

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use mediaforge::{
    embedded::{DATABASE, Embedded, MARKER, OpenError, Role},
    error::{BackendError, ErrorKind},
    store,
};
use rusqlite::Connection;

use crate::support::{Anything, New, account, inserted, soon};

/// A directory with a closed database in it.
fn used() -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    drop(Embedded::open(directory.path(), &[Role::Gateway, Role::Worker])?);
    Ok(directory)
}

/// The error of an open that must fail, and its text.
fn refused(directory: &Path) -> (OpenError, String) {
    let error = Embedded::open(directory, &[Role::Gateway]).expect_err("the directory must be refused");
    let text = error.to_string();
    (error, text)
}

#[test]
fn one_process_per_role() -> Anything {
    let directory = tempfile::tempdir()?;
    let gateway = Embedded::open(directory.path(), &[Role::Gateway])?;
    let _worker = Embedded::open(directory.path(), &[Role::Worker])?;
    let _operator = Embedded::open(directory.path(), &[])?;
    let (error, text) = refused(directory.path());
    assert!(matches!(error, OpenError::Locked { role: Role::Gateway, .. }), "{text}");
    assert!(text.contains("gateway.lock") && text.contains("--data-dir"), "{text}");
    drop(gateway);
    // The lock file still exists and does not block.
    assert!(directory.path().join("gateway.lock").exists());
    Embedded::open(directory.path(), &[Role::Gateway])?;
    Ok(())
}

#[test]
fn only_the_owner_can_access_a_new_directory() -> Anything {
    let parent = tempfile::tempdir()?;
    let directory = parent.path().join("a/b");
    Embedded::open(&directory, &[])?;
    assert!(directory.join(MARKER).exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&directory)?.permissions().mode() & 0o777, 0o700);
    }
    Ok(())
}

#[test]
fn a_lost_or_emptied_database_is_not_replaced_by_an_empty_one() -> Anything {
    let directory = used()?;
    let path = directory.path().join(DATABASE);
    fs::write(&path, b"")?;
    let (error, text) = refused(directory.path());
    assert!(matches!(error, OpenError::Gone { found: "empty", .. }), "{text}");
    fs::remove_file(&path)?;
    let (error, text) = refused(directory.path());
    assert!(matches!(error, OpenError::Gone { found: "missing", .. }), "{text}");
    assert!(text.contains(DATABASE) && text.contains("restore it or choose another --data-dir"), "{text}");
    assert!(!path.exists(), "refusing must not create it");
    Ok(())
}

#[test]
fn a_file_that_is_not_a_database_is_refused() -> Anything {
    let directory = used()?;
    let path = directory.path().join(DATABASE);
    let text_file = b"this is a shopping list".repeat(500);
    fs::write(&path, &text_file)?;
    let (error, text) = refused(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
    assert_eq!(fs::read(&path)?, text_file, "refusing must not touch it");
    Ok(())
}

#[test]
fn a_truncated_database_is_refused() -> Anything {
    let directory = used()?;
    let path = directory.path().join(DATABASE);
    let length = fs::metadata(&path)?.len();
    for cut in [50, 512, length / 2, length - 4096] {
        let file = OpenOptions::new().write(true).open(&path)?;
        let whole = fs::read(&path)?;
        file.set_len(cut)?;
        let (error, text) = refused(directory.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "cut at {cut}: {text}");
        assert!(text.contains(DATABASE), "{text}");
        fs::write(&path, whole)?;
    }
    Embedded::open(directory.path(), &[])?;
    Ok(())
}

#[test]
fn corrupt_pages_are_refused() -> Anything {
    let directory = used()?;
    let path = directory.path().join(DATABASE);
    let mut bytes = fs::read(&path)?;
    bytes[4096..].fill(0x5a);
    fs::write(&path, bytes)?;
    let (error, text) = refused(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
    Ok(())
}

#[test]
fn a_database_of_another_program_is_refused() -> Anything {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join(DATABASE);
    Connection::open(&path)?.execute_batch("CREATE TABLE recipes (name TEXT)")?;
    let (error, text) = refused(directory.path());
    assert!(matches!(error, OpenError::Stranger { .. }), "{text}");
    Ok(())
}

#[test]
fn a_newer_schema_is_refused() -> Anything {
    let directory = used()?;
    Connection::open(directory.path().join(DATABASE))?.pragma_update(None, "user_version", 99)?;
    let (error, text) = refused(directory.path());
    assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{text}");
    assert!(text.contains("newer build"), "{text}");
    Ok(())
}

#[test]
fn an_interrupted_creation_is_completed() -> Anything {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join(DATABASE), b"")?;
    drop(Embedded::open(directory.path(), &[])?);
    fs::remove_file(directory.path().join(MARKER))?;
    drop(Embedded::open(directory.path(), &[])?);
    assert!(directory.path().join(MARKER).exists());
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_written_is_refused() -> Anything {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = used()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500))?;
    if fs::write(directory.path().join("probe"), b"").is_ok() {
        println!("skipped: this user may write anywhere");
        return Ok(());
    }
    let error = Embedded::open(directory.path(), &[]).expect_err("the directory must be refused");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
    Ok(())
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() -> Anything {
    let parent = tempfile::tempdir()?;
    let path = parent.path().join("data");
    fs::write(&path, b"")?;
    let (error, text) = refused(&path);
    assert!(matches!(error, OpenError::NotWritable { .. }), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_files_of_a_killed_process_do_not_block() -> Anything {
    let directory = used()?;
    // A socket without a listener, as after kill -9.
    let stale = directory.path().join("wakeup-1-0.sock");
    drop(std::os::unix::net::UnixDatagram::bind(&stale)?);
    let embedded = Embedded::open(directory.path(), &[Role::Gateway])?;
    let store = store::open_sqlite(&embedded);
    inserted(&store, New::default()).await;
    // The writer wakes others after its answer, and before the next answer.
    inserted(&store, New::default()).await;
    assert!(!stale.exists(), "the socket of a dead process is removed");
    Ok(())
}

#[tokio::test]
async fn a_failing_write_undoes_only_itself() -> Anything {
    let directory = tempfile::tempdir()?;
    let embedded = Embedded::open(directory.path(), &[])?;
    embedded.write("test", |tx| Ok(tx.execute_batch("CREATE TABLE t (n INTEGER)")?)).await?;
    let add = |n: i64, fate: fn() -> Option<BackendError>| {
        embedded.write("test", move |tx| {
            tx.execute("INSERT INTO t VALUES (?)", [n])?;
            fate().map_or(Ok(()), |error| Err(error.into()))
        })
    };
    // All four wait at once, so they share a transaction.
    let (a, b, c, d) = tokio::join!(
        add(1, || None),
        add(2, || Some(BackendError::new(ErrorKind::Conflict, "test"))),
        add(3, || panic!("a panic in a closure")),
        add(4, || None),
    );
    assert!(a.is_ok() && d.is_ok());
    assert_eq!(b.map_err(|error| error.kind), Err(ErrorKind::Conflict));
    assert_eq!(c.map_err(|error| error.kind), Err(ErrorKind::Internal));
    let kept: Vec<i64> = embedded
        .read("test", |db| {
            let mut rows = db.prepare("SELECT n FROM t ORDER BY n")?;
            let kept = rows.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(kept)
        })
        .await?;
    assert_eq!(kept, [1, 4]);
    Ok(())
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() -> Anything {
    let directory = tempfile::tempdir()?;
    let embedded = Embedded::open(directory.path(), &[])?;
    let store = store::open_sqlite(&embedded);
    let there = inserted(&store, New::default()).await;
    // SQLite treats its own limit of pages like a full disk.
    let bound = |pages: &'static str| {
        embedded.write("test", move |tx| Ok(tx.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?))
    };
    bound("1").await?;
    let mut accepted = 0;
    let refused = loop {
        match store.jobs.insert(&New::default().submit()).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
    assert_eq!(store.jobs.get(&there.value.id).await?, Some(there), "reads still work");
    store.jobs.ping().await?;
    bound("1000000").await?;
    inserted(&store, New::default()).await;
    let balance = store.accounts.account(&account("ada")).await?.expect("the account");
    assert_eq!(balance.held, accepted + 2, "the refused insert has written nothing");
    Ok(())
}

/// Damages the files of an open database: the next write and the handle must report it.
async fn assert_damage_is_reported(says: &str, damage: impl Fn(&Path) -> std::io::Result<()>) -> Anything {
    let directory = tempfile::tempdir()?;
    let database = directory.path().join("data").join(DATABASE);
    let embedded = Embedded::open(&directory.path().join("data"), &[])?;
    let store = store::open_sqlite(&embedded);
    inserted(&store, New::default()).await;
    store.jobs.ping().await?;
    damage(&database)?;
    let refused = store.jobs.insert(&New::default().submit()).await.expect_err("a write that would be lost");
    let named = format!("{} {says}", database.display());
    assert!(refused.kind == ErrorKind::Broken && refused.to_string().contains(&named), "{refused} is not {named}");
    assert_eq!(store.jobs.ping().await.map_err(|error| error.kind), Err(ErrorKind::Broken));
    assert!(embedded.why_broken().is_some_and(|why| why.starts_with(&named)));
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_write_to_a_damaged_file_is_refused() -> Anything {
    assert_damage_is_reported("has been deleted or moved", |database| fs::remove_file(database)).await?;
    assert_damage_is_reported("has lost its log", |database| fs::remove_file(database.with_extension("db-wal")))
        .await?;
    assert_damage_is_reported("has been cut short", |database| {
        OpenOptions::new().write(true).open(database)?.set_len(4096)
    })
    .await?;
    assert_damage_is_reported("has been deleted or moved", |database| {
        let directory = database.parent().unwrap_or(database);
        fs::rename(directory, directory.with_extension("away"))
    })
    .await?;
    assert_damage_is_reported("has been replaced", |database| {
        let copy = database.with_extension("copy");
        fs::copy(database, &copy)?;
        fs::rename(copy, database)
    })
    .await
}

#[cfg(unix)]
#[tokio::test]
async fn a_lost_file_is_noticed_without_a_write() -> Anything {
    let directory = used()?;
    let embedded = Embedded::open(directory.path(), &[])?;
    assert_eq!(embedded.why_broken(), None);
    fs::remove_file(directory.path().join(DATABASE))?;
    soon("the check of the files", embedded.broken()).await;
    Ok(())
}

#[tokio::test]
async fn a_commit_wakes_the_other_process() -> Anything {
    let directory = tempfile::tempdir()?;
    let (here, there) = (Embedded::open(directory.path(), &[])?, Embedded::open(directory.path(), &[])?);
    let mut foreign_commits = there.foreign_commits();
    foreign_commits.mark_unchanged();
    let store = store::open_sqlite(&here);
    inserted(&store, New::default()).await;
    soon("the wakeup", foreign_commits.changed()).await?;
    Ok(())
}

#[tokio::test]
async fn a_data_directory_with_a_long_name_works_without_a_wakeup_socket() -> Anything {
    let parent = tempfile::tempdir()?;
    let directory = parent.path().join("d".repeat(120));
    let (here, there) = (Embedded::open(&directory, &[])?, Embedded::open(&directory, &[])?);
    let mut foreign_commits = there.foreign_commits();
    foreign_commits.mark_unchanged();
    let store = store::open_sqlite(&here);
    inserted(&store, New::default()).await;
    soon("the poll of the commit counter", foreign_commits.changed()).await?;
    Ok(())
}
