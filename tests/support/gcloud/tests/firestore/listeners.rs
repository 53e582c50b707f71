//! Listeners: several targets on one stream, changes, resets and resuming.

use std::time::Duration;

use gcloud_sdk::google::firestore::v1::{
    ListenRequest, ListenResponse, StructuredQuery, Target, listen_request,
    listen_response::ResponseType,
    structured_query::field_filter::Operator,
    target::{DocumentsTarget, QueryTarget, ResumeType, TargetType, query_target::QueryType},
    target_change::TargetChangeType,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{
    query::{field, from, limited, matching, ordered},
    support::{DATABASE, Db, delete, name, path_of},
};

struct Stream {
    requests: mpsc::Sender<ListenRequest>,
    answers: Streaming<ListenResponse>,
    /// The last resume token for all targets.
    token: Vec<u8>,
}

impl Stream {
    async fn open(db: &Db) -> Self {
        let (requests, receiver) = mpsc::channel(8);
        let answers = db.client.clone().listen(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, answers, token: Vec::new() }
    }

    async fn ask(&self, change: listen_request::TargetChange) {
        let request = ListenRequest { database: DATABASE.into(), target_change: Some(change), ..Default::default() };
        self.requests.send(request).await.unwrap();
    }

    async fn add(&self, target: Target) {
        self.ask(listen_request::TargetChange::AddTarget(target)).await;
    }

    async fn next(&mut self) -> Result<Option<ResponseType>, Status> {
        Ok(self.answers.message().await?.map(|answer| answer.response_type.unwrap()))
    }

    /// The responses up to the next snapshot, abbreviated.
    async fn batch(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            match self.next().await.unwrap().expect("the stream has ended") {
                ResponseType::TargetChange(change) => {
                    if change.target_change_type() == TargetChangeType::NoChange {
                        assert!(change.read_time.is_some() && change.target_ids.is_empty());
                        self.token = change.resume_token;
                        return told;
                    }
                    let cause = change.cause.as_ref().map(|cause| format!(" {:?}", Code::from(cause.code)));
                    let kind = change.target_change_type().as_str_name();
                    told.push(format!("{kind} {:?}{}", change.target_ids, cause.unwrap_or_default()));
                }
                ResponseType::DocumentChange(change) => {
                    told.push(format!("{} is {:?}", path_of(&change.document.unwrap().name), change.target_ids));
                }
                ResponseType::DocumentDelete(change) => {
                    told.push(format!("{} gone {:?}", path_of(&change.document), change.removed_target_ids));
                }
                ResponseType::DocumentRemove(change) => {
                    told.push(format!("{} left {:?}", path_of(&change.document), change.removed_target_ids));
                }
                ResponseType::Filter(_) => {}
            }
        }
    }
}

fn query(target_id: i32, query: StructuredQuery) -> Target {
    let query_type = Some(QueryType::StructuredQuery(query));
    let target_type =
        Some(TargetType::Query(QueryTarget { parent: name("").trim_end_matches('/').into(), query_type }));
    Target { target_id, target_type, ..Default::default() }
}

fn documents(target_id: i32, paths: &[&str]) -> Target {
    let documents = paths.iter().map(|path| name(path)).collect();
    Target { target_id, target_type: Some(TargetType::Documents(DocumentsTarget { documents })), ..Default::default() }
}

fn open_jobs() -> StructuredQuery {
    matching(field("open", Operator::Equal, &json!(true)), from("jobs"))
}

#[tokio::test]
async fn several_targets_receive_changes() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({"open": true})), ("jobs/2", json!({"open": false}))]).await;
    let mut stream = Stream::open(&db).await;
    stream.add(query(1, open_jobs())).await;
    assert_eq!(stream.batch().await, ["ADD [1]", "jobs/1 is [1]", "CURRENT [1]"]);
    stream.add(documents(2, &["jobs/2", "jobs/3"])).await;
    assert_eq!(stream.batch().await, ["ADD [2]", "jobs/2 is [2]", "jobs/3 gone [2]", "CURRENT [2]"]);

    db.put(&[("jobs/2", json!({"open": true})), ("jobs/4", json!({"open": false})), ("other/1", json!({}))]).await;
    assert_eq!(stream.batch().await, ["jobs/2 is [1]", "jobs/2 is [2]"]);
    db.put(&[("jobs/1", json!({"open": false}))]).await;
    assert_eq!(stream.batch().await, ["jobs/1 left [1]"]);
    db.commit(vec![delete("jobs/2")]).await.unwrap();
    assert_eq!(stream.batch().await, ["jobs/2 gone [1]", "jobs/2 gone [2]"]);

    stream.ask(listen_request::TargetChange::RemoveTarget(1)).await;
    let Some(ResponseType::TargetChange(removed)) = stream.next().await.unwrap() else {
        panic!("no change of a target")
    };
    assert_eq!((removed.target_change_type(), &removed.target_ids[..]), (TargetChangeType::Remove, &[1][..]));
    db.put(&[("jobs/3", json!({"open": true}))]).await;
    assert_eq!(stream.batch().await, ["jobs/3 is [2]"]);
}

#[tokio::test]
async fn a_limited_target_replaces_removed_documents() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({"n": 1})), ("jobs/2", json!({"n": 2})), ("jobs/3", json!({"n": 3}))]).await;
    let mut stream = Stream::open(&db).await;
    stream.add(query(1, limited(2, ordered(&["n"], from("jobs"))))).await;
    assert_eq!(stream.batch().await, ["ADD [1]", "jobs/1 is [1]", "jobs/2 is [1]", "CURRENT [1]"]);
    db.commit(vec![delete("jobs/1")]).await.unwrap();
    assert_eq!(stream.batch().await, ["jobs/1 gone [1]", "jobs/3 is [1]"]);
    db.put(&[("jobs/0", json!({"n": 0}))]).await;
    assert_eq!(stream.batch().await, ["jobs/0 is [1]", "jobs/3 left [1]"]);
}

#[tokio::test]
async fn a_resumed_stream_receives_the_changes_since_the_reset() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({"open": true})), ("jobs/2", json!({"open": true})), ("jobs/3", json!({"open": true}))])
        .await;
    let mut stream = Stream::open(&db).await;
    stream.add(query(1, open_jobs())).await;
    assert_eq!(stream.batch().await.len(), 5);
    assert_eq!(db.emulator.firestore().listeners(), 1);
    let read_time = db.get("jobs/3").await.unwrap().update_time.unwrap();

    db.emulator.firestore().reset_listeners();
    assert_eq!(stream.next().await.unwrap_err().code(), Code::Unavailable);
    db.put(&[("jobs/1", json!({"open": true, "n": 1})), ("jobs/4", json!({"open": true}))]).await;
    db.commit(vec![delete("jobs/2")]).await.unwrap();

    let expected = ["ADD [1]", "jobs/1 is [1]", "jobs/2 gone [1]", "jobs/4 is [1]", "CURRENT [1]"];
    for resume in [ResumeType::ResumeToken(stream.token.clone()), ResumeType::ReadTime(read_time)] {
        let mut resumed = Stream::open(&db).await;
        resumed.add(Target { resume_type: Some(resume), ..query(1, open_jobs()) }).await;
        assert_eq!(resumed.batch().await, expected);
    }
    // From a time that is no longer kept, everything is sent again.
    let ancient = ResumeType::ReadTime(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let mut resumed = Stream::open(&db).await;
    resumed.add(Target { resume_type: Some(ancient), ..query(1, open_jobs()) }).await;
    let told = resumed.batch().await;
    assert_eq!(told, ["ADD [1]", "RESET [1]", "jobs/1 is [1]", "jobs/3 is [1]", "jobs/4 is [1]", "CURRENT [1]"]);
}

#[tokio::test]
async fn a_refused_target_is_removed_with_its_cause() {
    let db = Db::start().await;
    db.emulator.firestore().set_indexes("{}").unwrap();
    let mut stream = Stream::open(&db).await;
    stream.add(query(1, ordered(&["-n"], open_jobs()))).await;
    stream.add(Target { resume_type: Some(ResumeType::ResumeToken(b"x".into())), ..query(2, from("jobs")) }).await;
    stream.add(Target { once: true, ..query(3, from("jobs")) }).await;
    let expected = [
        "ADD [1]",
        "REMOVE [1] FailedPrecondition",
        "ADD [2]",
        "REMOVE [2] InvalidArgument",
        "ADD [3]",
        "CURRENT [3]",
        "REMOVE [3]",
    ];
    assert_eq!(stream.batch().await, expected);
    stream.ask(listen_request::TargetChange::RemoveTarget(3)).await;
    assert_eq!(stream.next().await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_stream_ends_with_its_client() {
    let db = Db::start().await;
    let mut stream = Stream::open(&db).await;
    stream.add(query(1, from("jobs"))).await;
    stream.batch().await;
    drop(stream);
    // The end of the stream arrives over the network, some requests later.
    let ends = async {
        while db.emulator.firestore().listeners() > 0 {
            db.put(&[("jobs/1", json!({}))]).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ends).await.expect("the stream continues without its client");
}
