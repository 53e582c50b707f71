//! Transactions: snapshots, conflicts, locks and expiry.

use std::time::Duration;

use gcloud_sdk::google::firestore::v1::{
    RollbackRequest, StructuredQuery,
    run_query_request::ConsistencySelector,
    structured_query::CollectionSelector,
    transaction_options::{Mode, ReadOnly},
};
use serde_json::json;
use tonic::Code;

use crate::support::{DATABASE, Db, fields_json, set};

#[tokio::test]
async fn a_read_of_an_absent_document_counts_as_a_read() {
    let db = Db::start().await;
    let one = db.begin().await;
    assert_eq!(db.get_in("jobs/1", &one).await.unwrap_err().code(), Code::NotFound);
    db.put(&[("jobs/1", json!({}))]).await;
    let refused = db.commit_in(vec![set("jobs/2", &json!({}))], one).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert_eq!(refused.message(), "Too much contention on these documents. Please try again.");
}

#[tokio::test]
async fn a_query_reads_its_results_and_every_document_it_would_match() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({})), ("other/1", json!({}))]).await;
    let from = vec![CollectionSelector { collection_id: "jobs".into(), all_descendants: false }];
    let query = StructuredQuery { from, ..Default::default() };
    for (changed, code) in [("jobs/1", Some(Code::Aborted)), ("jobs/2", Some(Code::Aborted)), ("other/1", None)] {
        let transaction = db.begin().await;
        let selector = ConsistencySelector::Transaction(transaction.clone());
        db.query_in(query.clone(), Some(selector)).await.unwrap();
        db.put(&[(changed, json!({"changed": true}))]).await;
        let done = db.commit_in(vec![set("jobs/9", &json!({}))], transaction).await;
        assert_eq!(done.err().map(|refused| refused.code()), code, "{changed}");
    }
}

#[tokio::test]
async fn reads_see_one_snapshot_without_the_transactions_own_writes() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({"n": 1})), ("jobs/2", json!({"n": 1}))]).await;
    let transaction = db.begin_with(Mode::ReadOnly(ReadOnly::default())).await;
    db.get_in("jobs/1", &transaction).await.unwrap();
    db.put(&[("jobs/2", json!({"n": 2}))]).await;
    assert_eq!(fields_json(&db.get_in("jobs/2", &transaction).await.unwrap()), json!({"n": 1}));
    assert_eq!(db.fields("jobs/2").await, json!({"n": 2}));
    // A read-only transaction has no conflicts.
    db.commit_in(vec![], transaction).await.unwrap();
}

#[tokio::test]
async fn an_ended_transaction_is_refused() {
    let db = Db::start().await;
    let ended = db.begin().await;
    db.commit_in(vec![], ended.clone()).await.unwrap();
    assert_eq!(db.commit_in(vec![], ended.clone()).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(db.get_in("jobs/1", &ended).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(db.commit_in(vec![], b"unknown".to_vec()).await.unwrap_err().code(), Code::InvalidArgument);

    let transaction = db.begin().await;
    let request =
        RollbackRequest { database: DATABASE.into(), transaction: transaction.clone(), request_options: None };
    db.client.clone().rollback(request).await.unwrap();
    assert_eq!(db.commit_in(vec![], transaction).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(db.emulator.firestore().open_transactions(), 0);
}

#[tokio::test]
async fn a_transaction_expires() {
    let db = Db::start().await;
    let transaction = db.begin().await;
    db.emulator.firestore().set_transaction_lifetime(Duration::from_mins(1), Duration::ZERO);
    assert_eq!(db.get_in("jobs/1", &transaction).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn locks_make_a_write_wait_for_the_end_of_the_transaction() {
    let db = Db::start().await;
    db.emulator.firestore().pessimistic();
    db.emulator.firestore().set_lock_wait(Duration::from_mins(1));
    db.put(&[("jobs/1", json!({"n": 1}))]).await;
    let transaction = db.begin().await;
    db.get_in("jobs/1", &transaction).await.unwrap();
    let writes = async { db.commit(vec![set("jobs/1", &json!({"n": 2}))]).await };
    let commits = async {
        // Another document is not locked, and the round trip lets the write arrive.
        db.commit(vec![set("jobs/2", &json!({}))]).await.unwrap();
        db.commit_in(vec![set("jobs/1", &json!({"n": 3}))], transaction).await
    };
    let (written, committed) = tokio::join!(writes, commits);
    let (written, committed) = (written.unwrap().commit_time.unwrap(), committed.unwrap().commit_time.unwrap());
    assert!((committed.seconds, committed.nanos) < (written.seconds, written.nanos));
    assert_eq!(db.fields("jobs/1").await, json!({"n": 2}));
}

#[tokio::test]
async fn one_of_two_deadlocked_transactions_is_aborted() {
    let db = Db::start().await;
    db.emulator.firestore().pessimistic();
    db.emulator.firestore().set_lock_wait(Duration::from_millis(100));
    db.put(&[("jobs/1", json!({"n": 1}))]).await;
    let (one, other) = (db.begin().await, db.begin().await);
    db.get_in("jobs/1", &one).await.unwrap();
    db.get_in("jobs/1", &other).await.unwrap();
    let (one, other) = tokio::join!(
        db.commit_in(vec![set("jobs/1", &json!({"n": 2}))], one),
        db.commit_in(vec![set("jobs/1", &json!({"n": 3}))], other),
    );
    let refused = match (one, other) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("not one of them: {both:?}"),
    };
    assert_eq!(refused.code(), Code::Aborted);
    assert!(refused.message().contains("lock timeout"));
}
