//! The `firestore` crate against the emulator.

use firestore::{
    FirestoreConsistencySelector, FirestoreDb, FirestoreDbOptions, FirestoreListenEvent, FirestoreListenerTarget,
    FirestoreMemListenStateStorage, FirestoreQueryCursor, FirestoreWritePrecondition, errors::FirestoreError, paths,
};
use gcloud_emulator::{Emulator, Fault};
use google_cloud_auth::credentials::anonymous::Builder as Anonymous;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tonic::Code;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Job {
    state: String,
    n: i64,
}

fn job(state: &str, n: i64) -> Job {
    Job { state: state.into(), n }
}

async fn connect(emulator: &Emulator) -> FirestoreDb {
    let options = FirestoreDbOptions::new("p".into()).with_max_retries(2).with_firebase_api_url(emulator.url());
    FirestoreDb::with_options_auth(options, Anonymous::new().build()).await.unwrap()
}

async fn insert(db: &FirestoreDb, id: &str, job: &Job) -> Result<(), FirestoreError> {
    db.fluent().insert().into("jobs").document_id(id).object(job).execute::<Job>().await.map(drop)
}

#[tokio::test]
async fn documents_come_and_go() {
    let emulator = Emulator::start().await.unwrap();
    let db = connect(&emulator).await;
    insert(&db, "1", &job("queued", 1)).await.unwrap();
    let again = insert(&db, "1", &job("queued", 1)).await.unwrap_err();
    assert!(matches!(again, FirestoreError::DataConflictError(_)), "{again:?}");
    let read: Option<Job> = db.fluent().select().by_id_in("jobs").obj().one("1").await.unwrap();
    assert_eq!(read, Some(job("queued", 1)));
    let missing: Option<Job> = db.fluent().select().by_id_in("jobs").obj().one("2").await.unwrap();
    assert_eq!(missing, None);

    let update = db.fluent().update().fields(paths!(Job::{state})).in_col("jobs");
    let update = update.precondition(FirestoreWritePrecondition::Exists(true)).document_id("1");
    update.object(&job("running", 9)).execute::<Job>().await.unwrap();
    let read: Option<Job> = db.fluent().select().by_id_in("jobs").obj().one("1").await.unwrap();
    assert_eq!(read, Some(job("running", 1)));
    db.fluent().delete().from("jobs").document_id("1").execute().await.unwrap();
    assert_eq!(emulator.firestore().get("jobs/1"), None);
}

#[tokio::test]
async fn queries_page_through() {
    let emulator = Emulator::start().await.unwrap();
    let db = connect(&emulator).await;
    for n in 0..5 {
        insert(&db, &n.to_string(), &job(if n == 3 { "done" } else { "queued" }, n)).await.unwrap();
    }
    let page = db.fluent().select().from("jobs").filter(|q| q.for_all([q.field("state").eq("queued")]));
    let page = page.order(|order| order.fields([order.field("n").asc()]));
    let page = page.start_at(FirestoreQueryCursor::AfterValue(vec![1.into()])).limit(2);
    let found: Vec<Job> = page.obj().query().await.unwrap();
    assert_eq!(found, [job("queued", 2), job("queued", 4)]);
}

#[tokio::test]
async fn of_two_transactions_one_is_aborted() {
    let emulator = Emulator::start().await.unwrap();
    let db = connect(&emulator).await;
    insert(&db, "1", &job("queued", 1)).await.unwrap();
    let mut transactions = Vec::new();
    for _ in 0..2 {
        let mut transaction = db.begin_transaction().await.unwrap();
        let selector = FirestoreConsistencySelector::Transaction(transaction.transaction_id().clone());
        let reader = db.clone_with_consistency_selector(selector);
        let read: Option<Job> = reader.fluent().select().by_id_in("jobs").obj().one("1").await.unwrap();
        let next = Job { n: read.unwrap().n + 1, ..job("queued", 0) };
        let update = db.fluent().update().in_col("jobs").document_id("1").object(&next);
        update.add_to_transaction(&mut transaction).unwrap();
        transactions.push(transaction);
    }
    let mut outcomes = Vec::new();
    for transaction in transactions {
        outcomes.push(transaction.commit().await);
    }
    assert!(outcomes[0].is_ok());
    let Err(FirestoreError::DatabaseError(refused)) = &outcomes[1] else { panic!("{:?}", outcomes[1]) };
    assert!(refused.retry_possible && refused.public.code == "Aborted", "{refused:?}");
    assert_eq!(emulator.firestore().counts().commits, 2);
}

#[tokio::test]
async fn a_lost_answer_of_a_commit_leaves_it_done() {
    let emulator = Emulator::start().await.unwrap();
    let db = connect(&emulator).await;
    emulator.faults().inject("Commit", Fault::LoseReply(Code::DeadlineExceeded), 1);
    let mut transaction = db.begin_transaction().await.unwrap();
    let queued = job("queued", 1);
    let update = db.fluent().update().in_col("jobs").document_id("1").object(&queued);
    update.add_to_transaction(&mut transaction).unwrap();
    assert!(transaction.commit().await.is_err());
    assert!(emulator.firestore().get("jobs/1").is_some());
}

#[tokio::test]
async fn a_listener_hears_of_changes() {
    let emulator = Emulator::start().await.unwrap();
    let db = connect(&emulator).await;
    insert(&db, "1", &job("queued", 1)).await.unwrap();
    let mut listener = db.create_listener(FirestoreMemListenStateStorage::new()).await.unwrap();
    let target = FirestoreListenerTarget::new(1);
    db.fluent().select().from("jobs").listen().add_target(target, &mut listener).unwrap();
    let (sender, mut heard) = mpsc::unbounded_channel();
    let on_response = move |event| {
        let sender = sender.clone();
        async move {
            if let FirestoreListenEvent::DocumentChange(change) = event {
                sender.send(FirestoreDb::deserialize_doc_to::<Job>(&change.document.unwrap())?)?;
            }
            Ok(())
        }
    };
    listener.start(on_response).await.unwrap();
    assert_eq!(heard.recv().await, Some(job("queued", 1)));
    let done = job("done", 1);
    let update = db.fluent().update().in_col("jobs").document_id("1").object(&done);
    update.execute::<Job>().await.unwrap();
    assert_eq!(heard.recv().await, Some(job("done", 1)));
    listener.shutdown().await.unwrap();
}
