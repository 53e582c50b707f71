//! Queries are refused without their index.

use gcloud_sdk::google::firestore::v1::{StructuredQuery, structured_query::field_filter::Operator as O};
use serde_json::json;
use tonic::Code;

use crate::{
    query::{all, any, field, from, from_group, matching, ordered},
    support::Db,
};

const INDEXES: &str = r#"{
  "indexes": [
    {"collectionGroup": "jobs", "queryScope": "COLLECTION", "fields": [
      {"fieldPath": "user", "order": "ASCENDING"}, {"fieldPath": "at", "order": "DESCENDING"}]},
    {"collectionGroup": "jobs", "queryScope": "COLLECTION", "fields": [
      {"fieldPath": "state", "order": "ASCENDING"}, {"fieldPath": "at", "order": "DESCENDING"}]},
    {"collectionGroup": "jobs", "queryScope": "COLLECTION", "fields": [
      {"fieldPath": "tags", "arrayConfig": "CONTAINS"}, {"fieldPath": "at", "order": "ASCENDING"}]},
    {"collectionGroup": "jobs", "queryScope": "COLLECTION_GROUP", "fields": [
      {"fieldPath": "user", "order": "ASCENDING"}, {"fieldPath": "at", "order": "ASCENDING"}]}
  ],
  "fieldOverrides": [
    {"collectionGroup": "jobs", "fieldPath": "prompt", "indexes": []},
    {"collectionGroup": "jobs", "fieldPath": "expireAt", "ttl": true, "indexes": []},
    {"collectionGroup": "jobs", "fieldPath": "kind", "indexes": [
      {"order": "ASCENDING", "queryScope": "COLLECTION_GROUP"}]}
  ]
}"#;

fn queries() -> Vec<(bool, StructuredQuery)> {
    let is = |path| field(path, O::Equal, &json!(1));
    let user = || matching(is("user"), from("jobs"));
    let both = || matching(all(vec![is("user"), is("state")]), from("jobs"));
    let tagged = || matching(field("tags", O::ArrayContains, &json!(1)), from("jobs"));
    let since = || field("at", O::GreaterThan, &json!(1));
    vec![
        // A single field has its own index in both directions, and equalities merge their indexes.
        (true, from("jobs")),
        (true, ordered(&["at"], from("jobs"))),
        (true, ordered(&["-at"], matching(since(), from("jobs")))),
        (true, both()),
        (true, tagged()),
        (true, matching(any(vec![is("user"), is("state")]), from("jobs"))),
        // An equality with an order needs a composite index, in this direction and with this name order.
        (true, ordered(&["-at"], user())),
        (true, ordered(&["-at", "-__name__"], user())),
        (false, ordered(&["-at", "__name__"], user())),
        (false, ordered(&["at"], user())),
        (false, ordered(&["-other"], user())),
        (false, matching(all(vec![is("user"), since()]), from("jobs"))),
        (true, ordered(&["-at"], matching(all(vec![is("user"), since()]), from("jobs")))),
        (true, ordered(&["-at"], matching(field("user", O::In, &json!([1, 2])), from("jobs")))),
        (true, ordered(&["at"], tagged())),
        (false, ordered(&["-at"], tagged())),
        // Composite indexes with the same order merge, and every branch needs its own.
        (true, ordered(&["-at"], both())),
        (false, ordered(&["-at"], matching(all(vec![is("user"), is("state"), is("third")]), from("jobs")))),
        (true, ordered(&["-at"], matching(any(vec![is("user"), is("state")]), from("jobs")))),
        (false, ordered(&["-at"], matching(any(vec![is("user"), is("third")]), from("jobs")))),
        // Two orders, and orders by name alone.
        (false, ordered(&["at", "user"], from("jobs"))),
        (false, ordered(&["-__name__"], from("jobs"))),
        (true, ordered(&["-at"], ordered(&["user", "-at"], user()))),
        // Exempt fields have no index.
        (false, matching(is("prompt"), from("jobs"))),
        (false, ordered(&["expireAt"], from("jobs"))),
        (false, matching(is("prompt.part"), from("jobs"))),
        (true, matching(is("prompt"), from("others"))),
        // Collection groups have their own indexes, and none of single fields.
        (true, from_group("jobs")),
        (false, matching(is("user"), from_group("jobs"))),
        (true, ordered(&["at"], matching(is("user"), from_group("jobs")))),
        (true, matching(is("kind"), from_group("jobs"))),
        (false, matching(is("kind"), from("jobs"))),
    ]
}

#[tokio::test]
async fn a_query_needs_its_index() {
    let db = Db::start().await;
    for (_, query) in queries() {
        db.query(query).await.unwrap();
    }
    db.emulator.firestore().set_indexes(INDEXES).unwrap();
    for (is_served, query) in queries() {
        match db.query(query.clone()).await {
            Ok(_) => assert!(is_served, "{query:?}"),
            Err(refused) => {
                assert!(!is_served, "{refused:?}");
                assert_eq!(refused.code(), Code::FailedPrecondition);
                assert!(refused.message().starts_with("The query requires an index"), "{refused:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_invalid_index_file_says_what_is_wrong() {
    let db = Db::start().await;
    let wrong = r#"{"indexes": [{"collectionGroup": "jobs", "fields": [{"fieldPath": "a"}]}]}"#;
    assert!(db.emulator.firestore().set_indexes(wrong).unwrap_err().contains("order"));
    assert!(db.emulator.firestore().set_indexes("{").unwrap_err().contains("invalid index file"));
}
