//! Accounts, the ledger and teams.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    domain::{
        Timestamp,
        credits::{Account, Credits, CreditsError, LedgerEntry, Verb},
        ids::{AccountId, InvalidId, JobId, TeamId, UserId},
    },
    embedded::{DbError, DbResult, Tx},
    error::{BackendError, ErrorKind},
};

/// The team of a user.
pub(super) fn team_of(db: &Connection, op: &'static str, user: &UserId) -> DbResult<Option<TeamId>> {
    let sql = "SELECT team_id FROM users WHERE id = ?";
    let team: Option<Option<String>> =
        db.prepare_cached(sql)?.query_row([user.as_str()], |row| row.get(0)).optional()?;
    let parse = |team: String| {
        team.parse()
            .map_err(|error: InvalidId| DbError::Backend(BackendError::new(ErrorKind::Broken, op).because(error)))
    };
    team.flatten().map(parse).transpose()
}

/// Puts a user into a team, or removes it from its team.
pub(super) fn set_team(tx: &Tx<'_>, user: &UserId, team: Option<&TeamId>) -> DbResult<()> {
    let sql = "INSERT INTO users (id, team_id) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET team_id = excluded.team_id";
    tx.prepare_cached(sql)?.execute(params![user.as_str(), team.map(TeamId::as_str)])?;
    Ok(())
}

/// The result of applying ledger entries.
pub(super) enum LedgerResult {
    /// The new entries are written, with their effect on the balance.
    Applied,
    /// The balance does not allow an entry; the caller undoes the others.
    Refused(CreditsError),
}

/// Writes the new entries and applies them to the balance. The ledger tells whether a grant is new; `is_known` tells it of
/// a job's entry.
pub(super) fn apply_entries(
    tx: &Tx<'_>,
    op: &'static str,
    entries: &[LedgerEntry],
    is_known: impl Fn(&LedgerEntry) -> bool,
) -> DbResult<LedgerResult> {
    // All entries of a transition belong to one account, which is read and written once.
    let mut open: Option<(&AccountId, AccountRow)> = None;
    for entry in entries {
        let mut row = match open.take() {
            Some((id, row)) if *id == entry.account => row,
            other => {
                if let Some((id, row)) = other {
                    save(tx, op, id, &row)?;
                }
                load(tx, &entry.account)?.unwrap_or_default()
            }
        };
        if !is_known(entry) && write(tx, op, entry, row.entries + 1)? {
            match row.account.apply(entry) {
                Ok(account) => row = AccountRow { account, entries: row.entries + 1 },
                Err(refused) => return Ok(LedgerResult::Refused(refused)),
            }
        }
        open = Some((&entry.account, row));
    }
    if let Some((id, row)) = open {
        save(tx, op, id, &row)?;
    }
    Ok(LedgerResult::Applied)
}

/// An account with the length of its ledger, which numbers the next entry.
#[derive(Default)]
struct AccountRow {
    account: Account,
    entries: i64,
}

/// The account of that id.
pub(super) fn find(db: &Connection, id: &AccountId) -> DbResult<Option<Account>> {
    Ok(load(db, id)?.map(|row| row.account))
}

fn load(db: &Connection, id: &AccountId) -> DbResult<Option<AccountRow>> {
    let sql = "SELECT available, held, spent, granted, entries FROM accounts WHERE id = ?";
    let read = |row: &rusqlite::Row<'_>| {
        let account = Account {
            available: row.get::<_, i64>(0)?.unsigned_abs(),
            held: row.get::<_, i64>(1)?.unsigned_abs(),
            spent: row.get::<_, i64>(2)?.unsigned_abs(),
            granted: row.get::<_, i64>(3)?.unsigned_abs(),
        };
        Ok(AccountRow { account, entries: row.get(4)? })
    };
    Ok(db.prepare_cached(sql)?.query_row([id.to_string()], read).optional()?)
}

/// The last entries of an account, oldest first.
pub(super) fn entries(
    db: &Connection,
    op: &'static str,
    account: &AccountId,
    limit: usize,
) -> DbResult<Vec<LedgerEntry>> {
    let sql = "SELECT id, job_id, verb, amount, at FROM ledger WHERE account = ? ORDER BY number DESC LIMIT ?";
    let mut found = db.prepare_cached(sql)?;
    let mut rows = found.query(params![account.to_string(), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(read_entry(op, account, row)?);
    }
    entries.reverse();
    Ok(entries)
}

/// The grant of that id.
pub(super) fn grant(db: &Connection, op: &'static str, account: &AccountId, id: &str) -> DbResult<Option<LedgerEntry>> {
    let sql = "SELECT id, job_id, verb, amount, at FROM ledger WHERE account = ? AND id = ? AND job_id IS NULL";
    let mut found = db.prepare_cached(sql)?;
    let mut rows = found.query(params![account.to_string(), id])?;
    rows.next()?.map(|row| read_entry(op, account, row)).transpose()
}

fn read_entry(op: &'static str, account: &AccountId, row: &rusqlite::Row<'_>) -> DbResult<LedgerEntry> {
    let job_id: Option<String> = row.get(1)?;
    let word: String = row.get(2)?;
    let damaged = |what: String| DbError::Backend(BackendError::new(ErrorKind::Broken, op).because(what));
    Ok(LedgerEntry {
        id: row.get(0)?,
        account: account.clone(),
        job_id: job_id.map(|id| id.parse()).transpose().map_err(|error: InvalidId| damaged(error.to_string()))?,
        verb: verb(&word).ok_or_else(|| damaged(format!("unknown ledger verb {word:?}")))?,
        amount: row.get::<_, i64>(3)?.unsigned_abs(),
        at: Timestamp::from_microsecond(row.get(4)?).map_err(|error| damaged(error.to_string()))?,
    })
}

fn verb(word: &str) -> Option<Verb> {
    [Verb::Grant, Verb::Hold, Verb::Capture, Verb::Release].into_iter().find(|verb| verb.to_string() == word)
}

/// Writes an entry; returns whether it is new.
fn write(tx: &Tx<'_>, op: &'static str, entry: &LedgerEntry, number: i64) -> DbResult<bool> {
    let sql = "INSERT INTO ledger (account, number, id, job_id, verb, amount, at) VALUES (?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (account, id) WHERE job_id IS NULL DO NOTHING";
    let LedgerEntry { id, account, job_id, verb, amount, at } = entry;
    let job_id = job_id.as_ref().map(JobId::as_str);
    let written = tx.prepare_cached(sql)?.execute(params![
        account.to_string(),
        number,
        id,
        job_id,
        verb.to_string(),
        whole(op, *amount)?,
        at.as_microsecond()
    ])?;
    Ok(written > 0)
}

fn save(tx: &Tx<'_>, op: &'static str, id: &AccountId, row: &AccountRow) -> DbResult<()> {
    let sql = "INSERT INTO accounts (id, available, held, spent, granted, entries) VALUES (?, ?, ?, ?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET available = excluded.available, held = excluded.held,
               spent = excluded.spent, granted = excluded.granted, entries = excluded.entries";
    let Account { available, held, spent, granted } = row.account;
    tx.prepare_cached(sql)?.execute(params![
        id.to_string(),
        whole(op, available)?,
        whole(op, held)?,
        whole(op, spent)?,
        whole(op, granted)?,
        row.entries
    ])?;
    Ok(())
}

/// The domain keeps every sum within an `i64`; a larger amount is a defect.
fn whole(op: &'static str, credits: Credits) -> DbResult<i64> {
    i64::try_from(credits).map_err(|error| BackendError::new(ErrorKind::Internal, op).because(error).into())
}
