//! Checks the data of a stopped system: no job in flight, and every balance is the sum of its ledger.

use std::{collections::BTreeMap, path::Path};

use gcloud_emulator::Firestore;
use gcloud_sdk::google::firestore::v1::{Document, value::ValueType};
use rusqlite::{Connection, OpenFlags, Row};

/// Available, held, spent, granted.
type Balance = [i64; 4];

/// An account, a verb and an amount.
type Entry = (String, String, i64);

/// The final statuses of a job.
const FINAL: [&str; 4] = ["completed", "ready", "failed", "cancelled"];

/// Checks the database in `data_dir`.
pub fn check(data_dir: &Path) {
    let file = data_dir.join("mediaforge.db");
    let db = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens");
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
    assert_eq!(verdict, "ok");
    let in_flight: Vec<String> = rows(&db, "SELECT status FROM jobs", |row| row.get(0));
    check_nothing_in_flight(in_flight);
    let ledger =
        rows(&db, "SELECT account, verb, amount FROM ledger", |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let accounts = rows(&db, "SELECT id, available, held, spent, granted FROM accounts", |row| {
        Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))
    });
    check_balances(ledger, accounts);
}

fn rows<T>(db: &Connection, query: &str, read: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut query = db.prepare(query).expect("a query");
    query.query_map([], |row| read(row)).expect("rows").map(|row| row.expect("a row")).collect()
}

/// Checks the documents in Firestore.
pub fn check_firestore(firestore: &Firestore) {
    let jobs = ["illustrations", "brands"].into_iter().flat_map(|collection| firestore.documents(collection));
    check_nothing_in_flight(jobs.map(|job| text(&job, "status")));
    let entry = |entry: &Document| (text(entry, "account"), text(entry, "verb"), integer(entry, "amount"));
    let ledger = firestore.documents("ledger").iter().map(entry).collect();
    let documents = ["users", "teams"].into_iter().flat_map(|collection| firestore.documents(collection));
    // The document of a team member without credits of their own has no balance.
    let accounts = documents.filter(|document| document.fields.contains_key("creditsGranted")).map(|document| {
        let (_, account) = document.name.split_once("/documents/").expect("the name of a document");
        let part = |name: &str| integer(&document, name);
        (account.to_owned(), [part("credits"), part("creditsHeld"), part("creditsSpent"), part("creditsGranted")])
    });
    check_balances(ledger, accounts.collect());
    assert_eq!(firestore.open_transactions(), 0, "transactions are left open");
}

fn value<'a>(document: &'a Document, field: &str) -> &'a ValueType {
    let value = document.fields.get(field).and_then(|value| value.value_type.as_ref());
    value.unwrap_or_else(|| panic!("{} has no {field}", document.name))
}

fn text(document: &Document, field: &str) -> String {
    let ValueType::StringValue(text) = value(document, field) else {
        panic!("{}: {field} is not a string", document.name)
    };
    text.clone()
}

fn integer(document: &Document, field: &str) -> i64 {
    let ValueType::IntegerValue(number) = value(document, field) else {
        panic!("{}: {field} is not an integer", document.name)
    };
    *number
}

fn check_nothing_in_flight(statuses: impl IntoIterator<Item = String>) {
    let in_flight: Vec<_> = statuses.into_iter().filter(|status| !FINAL.contains(&status.as_str())).collect();
    assert_eq!(in_flight, Vec::<String>::new(), "jobs are still in flight");
}

fn check_balances(ledger: Vec<Entry>, accounts: Vec<(String, Balance)>) {
    let mut sums: BTreeMap<String, Balance> = BTreeMap::new();
    for (account, verb, amount) in ledger {
        let [available, held, spent, granted] = sums.entry(account).or_default();
        match verb.as_str() {
            "grant" => (*available, *granted) = (*available + amount, *granted + amount),
            "hold" => (*available, *held) = (*available - amount, *held + amount),
            "capture" => (*held, *spent) = (*held - amount, *spent + amount),
            "release" => (*held, *available) = (*held - amount, *available + amount),
            other => panic!("unknown ledger verb {other:?}"),
        }
    }
    assert_eq!(accounts.len(), sums.len());
    for (account, balance) in accounts {
        assert_eq!(sums.get(&account), Some(&balance), "{account} is not the sum of its ledger");
        let [available, held, spent, granted] = balance;
        assert_eq!(available + held + spent, granted, "{account}");
        assert_eq!(held, 0, "{account} still holds credits although no job is in flight");
    }
}
