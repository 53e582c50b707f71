//! Documents: writes, preconditions, transforms and limits.

use gcloud_sdk::google::firestore::v1::{
    BatchGetDocumentsRequest, Document, TransactionOptions, Value, Write, batch_get_documents_request,
    batch_get_documents_response,
    document_transform::{
        FieldTransform,
        field_transform::{ServerValue, TransformType},
    },
    get_document_request,
    value::ValueType,
};
use prost_types::Timestamp;
use serde_json::{Value as Json, json};
use tonic::Code;

use crate::support::{DATABASE, Db, delete, fields_json, json_of, name, patch, set, value, when, when_updated_at};

fn transform(path: &str, field: &str, kind: TransformType) -> Write {
    let transform = FieldTransform { field_path: field.into(), transform_type: Some(kind) };
    Write { update_transforms: vec![transform], ..patch(path, &json!({}), &[]) }
}

#[tokio::test]
async fn a_document_is_written_and_read_completely() {
    let db = Db::start().await;
    let fields = json!({"n": 1, "f": 1.5, "s": "x", "b": true, "z": null, "a": [1, "two"], "m": {"deep": {"er": 1}}});
    let done = db.commit(vec![set("jobs/1", &fields)]).await.unwrap();
    let document = db.get("jobs/1").await.unwrap();
    assert_eq!(fields_json(&document), fields);
    assert_eq!(document.update_time, done.commit_time);
    assert_eq!(document.create_time, done.commit_time);
    assert_eq!(db.get("jobs/2").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_commit_is_atomic_and_in_order() {
    let db = Db::start().await;
    let first = vec![set("jobs/1", &json!({"n": 1})), when(set("jobs/2", &json!({})), true)];
    assert_eq!(db.commit(first).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(db.get("jobs/1").await.unwrap_err().code(), Code::NotFound);

    let second = vec![
        when(set("jobs/1", &json!({"n": 1})), false),
        patch("jobs/1", &json!({"m": 2}), &["m"]),
        delete("jobs/2"),
        when(set("jobs/2", &json!({"n": 3})), false),
    ];
    let done = db.commit(second).await.unwrap();
    assert_eq!(db.fields("jobs/1").await, json!({"n": 1, "m": 2}));
    assert_eq!(done.write_results[2].update_time, None);
    assert_eq!(done.write_results[3].update_time, done.commit_time);
}

#[tokio::test]
async fn preconditions_have_their_codes() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({"n": 1}))]).await;
    let before = db.get("jobs/1").await.unwrap().update_time;
    db.put(&[("jobs/1", json!({"n": 2}))]).await;
    let after = db.get("jobs/1").await.unwrap().update_time;

    let refused = [
        (when(set("jobs/1", &json!({})), false), Code::AlreadyExists),
        (when(set("jobs/2", &json!({})), true), Code::NotFound),
        (when(delete("jobs/2"), true), Code::NotFound),
        (when_updated_at(set("jobs/1", &json!({})), before), Code::FailedPrecondition),
        (when_updated_at(set("jobs/2", &json!({})), before), Code::FailedPrecondition),
        (when_updated_at(delete("jobs/1"), Some(Timestamp { seconds: 1, nanos: 1 })), Code::InvalidArgument),
    ];
    for (write, code) in refused {
        assert_eq!(db.commit(vec![write]).await.unwrap_err().code(), code);
    }
    db.commit(vec![when_updated_at(set("jobs/1", &json!({"n": 3})), after)]).await.unwrap();
    db.commit(vec![delete("jobs/1"), delete("jobs/1")]).await.unwrap();
}

#[tokio::test]
async fn a_mask_updates_its_fields_and_deletes_those_that_are_absent() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({"a": 1, "b": 2, "m": {"x": 1, "y": 2}}))]).await;
    let update = json!({"a": 10, "c": 3, "ignored": 4, "m": {"x": 10}, "odd name": 5});
    db.commit(vec![patch("jobs/1", &update, &["a", "b", "c", "m.x", "m.y", "`odd name`"])]).await.unwrap();
    assert_eq!(db.fields("jobs/1").await, json!({"a": 10, "c": 3, "m": {"x": 10}, "odd name": 5}));
}

#[tokio::test]
async fn a_write_without_a_change_keeps_the_update_time() {
    let db = Db::start().await;
    let first = db.commit(vec![set("jobs/1", &json!({"n": 1, "f": 1.5}))]).await.unwrap();
    let again = db.commit(vec![set("jobs/1", &json!({"n": 1, "f": 1.5}))]).await.unwrap();
    assert_eq!(again.write_results[0].update_time, first.commit_time);
    assert_ne!(again.commit_time, first.commit_time);
    // Another type is a change, though 1 equals 1.0.
    let changed = db.commit(vec![set("jobs/1", &json!({"n": 1.0, "f": 1.5}))]).await.unwrap();
    assert_eq!(changed.write_results[0].update_time, changed.commit_time);
    assert_eq!(db.get("jobs/1").await.unwrap().create_time, first.commit_time);
}

#[tokio::test]
async fn update_times_increase_and_are_whole_microseconds() {
    let db = Db::start().await;
    let mut last = (0, 0);
    for n in 0..50 {
        let at = db.commit(vec![set("jobs/1", &json!({"n": n}))]).await.unwrap().commit_time.unwrap();
        assert!((at.seconds, at.nanos) > last && at.nanos % 1000 == 0);
        last = (at.seconds, at.nanos);
    }
}

#[tokio::test]
async fn transforms_calculate() {
    let db = Db::start().await;
    let start = json!({"n": 5, "max": i64::MAX, "f": 1.5, "s": "x", "tags": ["a", 1], "zero": 0});
    db.put(&[("jobs/1", start)]).await;
    let array = |json: Json| match value(&json).value_type {
        Some(ValueType::ArrayValue(array)) => array,
        _ => unreachable!(),
    };
    let cases = [
        ("n", TransformType::Increment(value(&json!(2))), json!(7)),
        ("max", TransformType::Increment(value(&json!(1))), json!(i64::MAX)),
        ("f", TransformType::Increment(value(&json!(1))), json!(2.5)),
        ("s", TransformType::Increment(value(&json!(3))), json!(3)),
        ("new", TransformType::Increment(value(&json!(4))), json!(4)),
        ("n", TransformType::Maximum(value(&json!(7.0))), json!(7)),
        ("n", TransformType::Maximum(value(&json!(8.5))), json!(8.5)),
        ("n", TransformType::Minimum(value(&json!(-1))), json!(-1)),
        ("zero", TransformType::Minimum(value(&json!(0.0))), json!(0)),
        ("tags", TransformType::AppendMissingElements(array(json!(["b", 1.0, "b"]))), json!(["a", 1, "b"])),
        ("tags", TransformType::RemoveAllFromArray(array(json!(["a", 1.0]))), json!(["b"])),
        ("none", TransformType::RemoveAllFromArray(array(json!(["a"]))), json!([])),
    ];
    for (field, kind, expected) in cases {
        let is_array = matches!(kind, TransformType::AppendMissingElements(_) | TransformType::RemoveAllFromArray(_));
        let done = db.commit(vec![transform("jobs/1", field, kind)]).await.unwrap();
        assert_eq!(db.fields("jobs/1").await[field], expected, "{field}");
        let result = json_of(&done.write_results[0].transform_results[0]);
        assert_eq!(result, if is_array { Json::Null } else { expected }, "{field}");
    }
}

#[tokio::test]
async fn the_request_time_is_the_same_in_a_commit_and_in_milliseconds() {
    let db = Db::start().await;
    let at = || TransformType::SetToServerValue(ServerValue::RequestTime as i32);
    let done = db.commit(vec![transform("jobs/1", "at", at()), transform("jobs/2", "at", at())]).await.unwrap();
    let results: Vec<&Value> = done.write_results.iter().flat_map(|result| &result.transform_results).collect();
    let Some(ValueType::TimestampValue(time)) = results[0].value_type else { panic!("no time") };
    assert_eq!(time.nanos % 1_000_000, 0);
    assert_eq!(results[0], results[1]);
    assert_eq!(db.get("jobs/2").await.unwrap().fields["at"], *results[0]);
}

#[tokio::test]
async fn limits_hold() {
    let db = Db::start().await;
    let mut deep = json!(1);
    for _ in 0..20 {
        deep = json!({ "d": deep });
    }
    let mut too_deep = set("jobs/1", &json!({"deep": {"d": deep.clone()}}));
    assert_eq!(db.commit(vec![too_deep.clone()]).await.unwrap_err().code(), Code::InvalidArgument);
    too_deep = set("jobs/1", &deep);
    db.commit(vec![too_deep]).await.unwrap();

    let large = |bytes: usize| set("jobs/2", &json!({"s": "x".repeat(bytes), "t": ""}));
    assert_eq!(db.commit(vec![large(1_048_576)]).await.unwrap_err().code(), Code::InvalidArgument);
    db.commit(vec![large(1_048_000)]).await.unwrap();
    let many = (0..11).map(|n| set(&format!("jobs/{n}"), &json!({"s": "x".repeat(1_000_000)}))).collect();
    assert_eq!(db.commit(many).await.unwrap_err().code(), Code::InvalidArgument);

    for path in ["jobs/.", "jobs/..", "jobs/__x__", "jobs", "jobs//x", &format!("jobs/{}", "x".repeat(1501))] {
        assert_eq!(db.commit(vec![set(path, &json!({}))]).await.unwrap_err().code(), Code::InvalidArgument, "{path}");
    }
    for fields in [json!({"__x__": 1}), json!({"": 1}), json!({"a": [[1]]})] {
        assert_eq!(db.commit(vec![set("jobs/1", &fields)]).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let nan = Document { fields: [("f".into(), nan())].into(), name: name("jobs/nan"), ..Default::default() };
    db.emulator.firestore().put(nan).unwrap();
    let timed = Timestamp { seconds: 1, nanos: 1_999 };
    let timed = Value { value_type: Some(ValueType::TimestampValue(timed)) };
    let timed = Document { fields: [("t".into(), timed)].into(), name: name("jobs/t"), ..Default::default() };
    db.emulator.firestore().put(timed).unwrap();
    let kept = db.get("jobs/t").await.unwrap().fields["t"].value_type.clone();
    assert_eq!(kept, Some(ValueType::TimestampValue(Timestamp { seconds: 1, nanos: 1_000 })));
}

fn nan() -> Value {
    Value { value_type: Some(ValueType::DoubleValue(f64::NAN)) }
}

#[tokio::test]
async fn a_batch_reports_missing_documents_and_can_begin_a_transaction() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({"n": 1}))]).await;
    let request = BatchGetDocumentsRequest {
        database: DATABASE.into(),
        documents: ["jobs/1", "jobs/2", "jobs/1"].map(name).into(),
        consistency_selector: Some(batch_get_documents_request::ConsistencySelector::NewTransaction(
            TransactionOptions::default(),
        )),
        ..Default::default()
    };
    let mut answers = db.client.clone().batch_get_documents(request).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert!(!first.transaction.is_empty() && first.result.is_none());
    let mut found = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(answer.read_time.is_some());
        found.push(match answer.result.unwrap() {
            batch_get_documents_response::Result::Found(document) => (document.name, true),
            batch_get_documents_response::Result::Missing(name) => (name, false),
        });
    }
    assert_eq!(found, [(name("jobs/1"), true), (name("jobs/2"), false)]);
    // It is read-only, unless it says otherwise.
    let write = db.commit_in(vec![set("jobs/1", &json!({}))], first.transaction).await;
    assert_eq!(write.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_past_can_be_read() {
    let db = Db::start().await;
    db.put(&[("jobs/1", json!({"n": 1}))]).await;
    let before = db.get("jobs/1").await.unwrap().update_time.unwrap();
    db.commit(vec![delete("jobs/1")]).await.unwrap();
    let at = |time| Some(get_document_request::ConsistencySelector::ReadTime(time));
    assert_eq!(fields_json(&db.get_with("jobs/1", at(before)).await.unwrap()), json!({"n": 1}));
    let ancient = Timestamp { seconds: 1, nanos: 0 };
    db.commit(vec![set("jobs/2", &json!({}))]).await.unwrap();
    assert_eq!(db.get_with("jobs/1", at(ancient)).await.unwrap_err().code(), Code::FailedPrecondition);
    let future = Timestamp { seconds: before.seconds + 1000, nanos: 0 };
    assert_eq!(db.get_with("jobs/1", at(future)).await.unwrap_err().code(), Code::InvalidArgument);
}
