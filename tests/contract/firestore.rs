//! Cases of the Firestore store alone.

use std::time::Duration;

use futures::{StreamExt as _, stream::BoxStream};
use gcloud_emulator::{Emulator, Fault};
use gcloud_sdk::{
    google::firestore::v1::{Value, value::ValueType},
    prost_types,
    tonic::Code,
};
use mediaforge::{
    config::FirestoreConfig,
    domain::{
        Timestamp,
        clock::SystemRandom,
        credits::{Account, LedgerEntry},
        ids::JobId,
        job::Job,
        kind::JobKind,
    },
    store::{self, ErrorKind, Inserted, Stores, Version, Versioned, Watch},
};

use crate::support::{New, account, at, commit, finish, inserted, lease, output, policy, soon, start, team, user};

pub const INDEXES: &str = include_str!("../../config/firebase/firestore.indexes.json");

/// A database that refuses queries for which this project deploys no index.
pub async fn emulator() -> Emulator {
    let emulator = Emulator::start().await.expect("an emulator");
    emulator.firestore().set_indexes(INDEXES).expect("the indexes of the project");
    emulator
}

/// The store of one more process.
pub fn open(emulator: &Emulator) -> Stores {
    open_at(&emulator.url())
}

fn open_at(url: &str) -> Stores {
    let endpoint = Some(url.parse().expect("a URL"));
    let config = FirestoreConfig { database: "(default)".to_owned(), endpoint };
    store::open_firestore("demo", &config).expect("a store")
}

/// Names of the database's methods.
const COMMIT: &str = "Commit";
const LISTEN: &str = "Listen";
const READ: &str = "BatchGetDocuments";

/// The faults of one reply.
const REPLY_FAULTS: [Fault; 6] = [
    Fault::Refuse(Code::Aborted),
    Fault::Refuse(Code::Unavailable),
    Fault::LoseReply(Code::Unavailable),
    Fault::LoseReply(Code::DeadlineExceeded),
    Fault::LoseReply(Code::Unknown),
    Fault::Twice,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_happens_once_despite_a_faulty_reply() {
    for fault in REPLY_FAULTS {
        let emulator = emulator().await;
        let store = open(&emulator);
        let inject = || emulator.faults().inject(COMMIT, fault, 1);

        inject();
        let grant = LedgerEntry::grant(account("ada"), "a/b%2F", 5, start());
        let balance = store.accounts.adjust(&grant).await.expect("a grant");
        assert_eq!(balance, Account { available: 5, held: 0, spent: 0, granted: 5 }, "{fault:?}");
        assert_eq!(
            store.accounts.adjustment(&account("ada"), &grant.id).await.expect("a read"),
            Some(grant),
            "{fault:?}"
        );

        inject();
        let first = New { price: 2, grant: 10, ..New::default() }.submit();
        let inserted = store.jobs.insert(&first).await.expect("an insert");
        assert!(matches!(inserted, Inserted::New { version: Version(1), .. }), "{fault:?}: {inserted:?}");
        assert!(matches!(store.jobs.insert(&first).await.expect("an answer"), Inserted::Existing(_)), "{fault:?}");

        inject();
        let job = Versioned { version: Version(1), value: first.job };
        let running = job.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
        let running = commit(&store, &job, running).await;
        inject();
        let done = running.value.clone().complete(at(1), output()).expect("an end");
        let done = commit(&store, &running, done).await;
        assert_eq!(store.jobs.get(&done.value.id).await.expect("a read"), Some(done.clone()), "{fault:?}");
        assert_eq!(done.version, Version(3));

        let ledger = store.accounts.ledger(&account("ada"), 100).await.expect("a ledger");
        assert_eq!(ledger.len(), 4, "{fault:?}: two grants, a hold and a capture");
        let balance = Account { available: 13, held: 0, spent: 2, granted: 15 };
        assert_eq!(store.accounts.account(&account("ada")).await.expect("a read"), Some(balance), "{fault:?}");
        assert_eq!(number(&emulator, "users/ada", "jobsInFlight"), Some(0), "{fault:?}");

        inject();
        store.jobs.delete(&done.value.id, done.version).await.expect("a delete");
        assert_eq!(store.jobs.get(&done.value.id).await.expect("a read"), None);
        inject();
        store.accounts.set_team(&user("ada"), Some(&team("acme"))).await.expect("into a team");
        assert_eq!(store.accounts.team_of(&user("ada")).await.expect("a read"), Some(team("acme")));
        assert_eq!(emulator.faults().pending(), 0, "every fault was used");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_is_retried_until_it_is_won_or_lost() {
    let emulator = emulator().await;
    let store = open(&emulator);
    emulator.faults().inject(COMMIT, Fault::Refuse(Code::Aborted), 5);
    let job = inserted(&store, New::default()).await;
    assert_eq!(emulator.faults().pending(), 0);
    // Lost: another writer commits while this commit is in transit.
    let commits_before = emulator.firestore().counts().commits;
    emulator.faults().inject(COMMIT, Fault::Delay(Duration::from_secs(1)), 1);
    let (late, first) = (store.clone(), job.clone());
    let late = tokio::spawn(async move {
        let renewed = first.value.clone().start(start(), lease(at(1)), &policy()).expect("a start");
        late.jobs.commit(first.version, &renewed).await
    });
    while emulator.faults().pending() > 0 {
        tokio::task::yield_now().await;
    }
    let cancelled = job.value.clone().cancel(at(1)).expect("a cancellation");
    commit(&store, &job, cancelled).await;
    assert_eq!(emulator.firestore().counts().commits, commits_before + 1);
    let lost = late.await.expect("no panic").expect_err("a lost race");
    assert_eq!(lost.kind, ErrorKind::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_notices_a_concurrent_move_to_another_team() {
    let emulator = emulator().await;
    let store = open(&emulator);
    emulator.faults().inject(COMMIT, Fault::Delay(Duration::from_secs(1)), 1);
    let here = store.clone();
    let insert = tokio::spawn(async move { here.jobs.insert(&New { price: 0, ..New::default() }.submit()).await });
    while emulator.faults().pending() > 0 {
        tokio::task::yield_now().await;
    }
    store.accounts.set_team(&user("ada"), Some(&team("acme"))).await.expect("into a team");
    let inserted = insert.await.expect("no panic").expect("an answer");
    assert_eq!(inserted, Inserted::OtherTeam(Some(team("acme"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_is_unavailable_until_it_does() {
    let emulator = emulator().await;
    let store = open(&emulator);
    let job = inserted(&store, New::default()).await;
    emulator.faults().inject(READ, Fault::Refuse(Code::Unavailable), usize::MAX);
    assert_eq!(store.jobs.get(&job.value.id).await.expect_err("no answer").kind, ErrorKind::Unavailable);
    assert_eq!(store.jobs.ping().await.expect_err("no answer").kind, ErrorKind::Unavailable);
    let mut watch = store.jobs.watch(Watch::Job(job.value.id.clone()));
    let error = soon("an error", watch.next()).await.expect("an item").expect_err("no answer");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(watch.next().await.is_none(), "after an error the stream ends");
    emulator.faults().clear();
    store.jobs.ping().await.expect("an answer");
    emulator.faults().inject(COMMIT, Fault::Refuse(Code::Unavailable), usize::MAX);
    let cancelled = job.value.clone().cancel(at(1)).expect("a cancellation");
    let error = store.jobs.commit(job.version, &cancelled).await.expect_err("no answer");
    assert_eq!(error.kind, ErrorKind::Timeout, "it may have happened");
    emulator.faults().clear();
    // The error of the second attempt says nothing about the first.
    emulator.faults().inject(COMMIT, Fault::LoseReply(Code::Unavailable), 1);
    emulator.faults().inject_after(READ, 1, Fault::Refuse(Code::PermissionDenied), 1);
    let error = store.jobs.commit(job.version, &cancelled).await.expect_err("no answer");
    assert_eq!(error.kind, ErrorKind::Timeout, "it has happened");
    assert_eq!(store.jobs.get(&job.value.id).await.expect("a read").map(|now| now.value), Some(cancelled.job));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_works_when_the_database_starts_later() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let store = open_at(&format!("http://{address}/"));
    assert_eq!(store.jobs.ping().await.expect_err("no database").kind, ErrorKind::Unavailable);
    let emulator = Emulator::start_at(address).await.expect("an emulator");
    store.jobs.ping().await.expect("an answer");
    inserted(&store, New::default()).await;
    drop(emulator);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_final_state_is_lost_with_the_connection() {
    let emulator = emulator().await;
    let (here, there) = (open(&emulator), open(&emulator));
    let job = inserted(&here, New::default()).await;
    let mut one = here.jobs.watch(Watch::Job(job.value.id.clone()));
    let mut all = here.jobs.watch(Watch::User(user("ada")));
    for changes in [&mut one, &mut all] {
        assert_eq!(next(changes).await, job);
    }
    let first = finish(&there, &inserted(&there, New::default()).await).await;
    until(&mut all, &first).await;

    emulator.faults().inject(LISTEN, Fault::Refuse(Code::Unavailable), 3);
    // As after the token of the previous stream has expired.
    emulator.faults().inject(LISTEN, Fault::Refuse(Code::Unauthenticated), 2);
    emulator.firestore().reset_listeners();
    // During the outage one job ends, and another begins and ends.
    let done = finish(&there, &job).await;
    let brief = finish(&there, &inserted(&there, New::default()).await).await;
    until(&mut one, &done).await;
    let mut seen = Vec::new();
    while !(seen.contains(&done) && seen.contains(&brief)) {
        let change = next(&mut all).await;
        assert!(!seen.contains(&change) && change != first, "no change comes twice");
        seen.push(change);
    }
    assert_eq!(emulator.faults().pending(), 0, "the stream was refused and opened again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_watchers_share_one_stream() {
    let emulator = emulator().await;
    let store = open(&emulator);
    let job = inserted(&store, New::default()).await;
    let mut watchers = Vec::new();
    for n in 0..50 {
        let what = if n % 2 == 0 { Watch::Job(job.value.id.clone()) } else { Watch::User(user("ada")) };
        let mut changes = store.jobs.watch(what);
        assert_eq!(next(&mut changes).await, job);
        watchers.push(changes);
        let other = JobId::random(JobKind::Brand, &SystemRandom);
        watchers.push(store.jobs.watch(Watch::Changes(other)));
    }
    let done = finish(&store, &job).await;
    for n in 0..50 {
        until(&mut watchers[2 * n], &done).await;
    }
    assert_eq!(emulator.firestore().listeners(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_without_its_index_is_an_error() {
    let emulator = emulator().await;
    emulator.firestore().set_indexes(r#"{"indexes": []}"#).expect("no indexes");
    let store = open(&emulator);
    let mut changes = store.jobs.watch(Watch::User(user("ada")));
    let error = soon("an error", changes.next()).await.expect("an item").expect_err("no index");
    assert_eq!(error.kind, ErrorKind::Broken);
    assert!(error.to_string().contains("requires an index"), "{error}");
    assert!(changes.next().await.is_none());
    let error = store.accounts.ledger(&account("ada"), 1).await.expect_err("no index");
    assert_eq!(error.kind, ErrorKind::Broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_clients_find_the_types_that_they_expect() {
    let emulator = emulator().await;
    let store = open(&emulator);
    store.accounts.set_team(&user("ada"), Some(&team("acme"))).await.expect("into a team");
    // Another program keeps a field in the same document.
    let mut ada = emulator.firestore().get("users/ada").expect("a document");
    ada.fields.insert("plan".to_owned(), text("pro"));
    emulator.firestore().put(ada).expect("a document");
    let job = inserted(&store, New { team: Some("acme"), price: 3, grant: 10, ..New::default() }).await;
    let document = emulator.firestore().get(&format!("illustrations/{}", job.value.id)).expect("the job");
    let is = |field: &str| document.fields.get(field).and_then(|value| value.value_type.clone());
    let at = |at: Timestamp| {
        let nanos = i32::try_from(at.as_microsecond().rem_euclid(1_000_000) * 1000).expect("nanoseconds");
        Some(ValueType::TimestampValue(prost_types::Timestamp { seconds: at.as_second(), nanos }))
    };
    assert_eq!(is("createdAt"), at(start()));
    assert_eq!(is("dueAt"), at(job.value.due_at().expect("a moment")));
    assert_eq!(is("version"), Some(ValueType::IntegerValue(1)));
    assert_eq!(is("width"), Some(ValueType::IntegerValue(64)));
    assert_eq!(is("status"), Some(ValueType::StringValue("queued".to_owned())));
    assert_eq!(is("requestHash"), Some(ValueType::StringValue(job.value.request_hash.to_string())));
    assert_eq!(is("userId"), Some(ValueType::StringValue("ada".to_owned())));
    assert_eq!(is("teamId"), Some(ValueType::StringValue("acme".to_owned())));
    assert_eq!(is("completedAt"), None, "absent rather than null");
    let is_null = |value: &Value| matches!(value.value_type, None | Some(ValueType::NullValue(_)));
    assert!(!document.fields.values().any(is_null));

    for (field, expected) in [("credits", 7), ("creditsHeld", 3), ("creditsSpent", 0), ("creditsGranted", 10)] {
        assert_eq!(number(&emulator, "teams/acme", field), Some(expected), "{field}");
        assert_eq!(number(&emulator, "users/ada", field), None, "{field} of a user who does not pay");
    }
    assert_eq!(number(&emulator, "users/ada", "jobsInFlight"), Some(1));
    let ada = emulator.firestore().get("users/ada").expect("the user");
    assert_eq!((&ada.fields["teamId"], &ada.fields["plan"]), (&text("acme"), &text("pro")));
    let hold = emulator.firestore().get(&format!("ledger/{}:1:hold", job.value.id)).expect("the hold").fields;
    assert_eq!((&hold["account"], &hold["verb"]), (&text("teams/acme"), &text("hold")));
    assert_eq!(hold["jobId"], text(job.value.id.as_str()));
    assert_eq!(hold["amount"].value_type, Some(ValueType::IntegerValue(3)));
    assert_eq!(hold["at"].value_type, at(start()));

    let done = finish(&store, &job).await;
    assert_eq!(number(&emulator, "users/ada", "jobsInFlight"), Some(0));
    let document = emulator.firestore().get(&format!("illustrations/{}", done.value.id)).expect("the job");
    let is = |field: &str| document.fields.get(field).and_then(|value| value.value_type.clone());
    assert_eq!((is("dueAt"), is("lease")), (None, None), "finished jobs have neither");
    assert_eq!(is("completedAt"), at(start()));
    assert_eq!(is("removableSince"), at(start()));
    assert_eq!(is("costUsd"), Some(ValueType::DoubleValue(1e-6)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_free_job_leaves_its_key_spent_and_is_not_counted() {
    let emulator = emulator().await;
    let store = open(&emulator);
    let first = New { price: 0, grant: 0, ..New::default() }.submit();
    assert!(matches!(store.jobs.insert(&first).await.expect("an answer"), Inserted::New { .. }));
    assert_eq!(store.accounts.account(&account("ada")).await.expect("a read"), None, "nothing was granted");
    assert_eq!(number(&emulator, "users/ada", "jobsInFlight"), Some(1));
    store.jobs.delete(&first.job.id, Version(1)).await.expect("a delete");
    assert_eq!(number(&emulator, "users/ada", "jobsInFlight"), Some(0), "deleted while it waited");
    assert_eq!(store.jobs.insert(&first).await.expect("an answer"), Inserted::Deleted);
    assert!(emulator.firestore().get(&format!("deleted/{}", first.job.id)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_job_does_not_keep_a_sweep_from_other_jobs() {
    let emulator = emulator().await;
    let store = open(&emulator);
    let damaged = inserted(&store, New::default()).await;
    let sound = inserted(&store, New { now: at(1), ..New::default() }).await;
    let mut document = emulator.firestore().get(&format!("illustrations/{}", damaged.value.id)).expect("the job");
    document.fields.insert("status".to_owned(), text("lost"));
    emulator.firestore().put(document).expect("a document");
    for limit in [1, 2, 10] {
        assert_eq!(store.jobs.due(at(100), limit).await.expect("a query"), std::slice::from_ref(&sound), "of {limit}");
    }
    let error = store.jobs.get(&damaged.value.id).await.expect_err("a damaged job");
    assert_eq!(error.kind, ErrorKind::Broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_costs_seven_writes_and_each_heartbeat_one() {
    let emulator = emulator().await;
    let store = open(&emulator);
    inserted(&store, New::default()).await;
    let before = emulator.firestore().counts();
    let first = New::default().submit();
    let Inserted::New { version, .. } = store.jobs.insert(&first).await.expect("an insert") else {
        panic!("not accepted")
    };
    let waiting = Versioned { version, value: first.job };
    let started = waiting.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
    let running = commit(&store, &waiting, started).await;
    let renewed = running.value.clone().renew(at(90), None).expect("a heartbeat");
    let running = commit(&store, &running, renewed).await;
    let done = running.value.clone().complete(at(1), output()).expect("an end");
    commit(&store, &running, done).await;
    let after = emulator.firestore().counts();
    let (commits, writes) = (after.commits - before.commits, after.writes - before.writes);
    assert_eq!((commits, writes, after.reads - before.reads), (4, 3 + 1 + 1 + 3, 5 + 1 + 1 + 3));
}

type Changes = BoxStream<'static, store::Result<Versioned<Job>>>;

async fn next(changes: &mut Changes) -> Versioned<Job> {
    soon("a change", changes.next()).await.expect("an open stream").expect("a change")
}

async fn until(changes: &mut Changes, expected: &Versioned<Job>) {
    while next(changes).await != *expected {}
}

fn text(text: &str) -> Value {
    Value { value_type: Some(ValueType::StringValue(text.to_owned())) }
}

fn number(emulator: &Emulator, path: &str, field: &str) -> Option<i64> {
    match emulator.firestore().get(path)?.fields.get(field)?.value_type {
        Some(ValueType::IntegerValue(number)) => Some(number),
        _ => None,
    }
}
