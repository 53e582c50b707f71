//! Queries: filters, orders, cursors, projections and aggregations.

use gcloud_sdk::google::firestore::v1::{
    Document, RunAggregationQueryRequest, RunQueryRequest, StructuredAggregationQuery, StructuredQuery, Value,
    run_aggregation_query_request, run_query_request,
    structured_aggregation_query::{
        self, Aggregation,
        aggregation::{Avg, Count, Operator as Aggregate, Sum},
    },
    structured_query::{Filter, UnaryFilter, field_filter::Operator, filter::FilterType, unary_filter},
    value::ValueType,
};
use serde_json::{Value as Json, json};
use tonic::Code;

use crate::{
    query::{
        all, any, at, document, field, field_value, from, from_group, limited, matching, ordered, reference, selecting,
    },
    support::{DATABASE, Db, fields_json, json_of, name, set, value},
};

fn unary(path: &str, op: unary_filter::Operator) -> Filter {
    let operand_type = Some(unary_filter::OperandType::Field(reference(path)));
    Filter { filter_type: Some(FilterType::UnaryFilter(UnaryFilter { op: op.into(), operand_type })) }
}

/// The ids of a query's results.
async fn ids(db: &Db, query: StructuredQuery) -> String {
    let found = db.query(query).await.unwrap();
    found.iter().map(|path| path.rsplit('/').next().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn filters_compare_within_a_type() {
    use Operator as O;
    let db = Db::start().await;
    db.put(&[
        ("jobs/a", json!({"n": 1, "s": "x", "tags": ["red", 1], "z": null})),
        ("jobs/b", json!({"n": 2, "s": "y", "tags": ["blue"], "z": 0})),
        ("jobs/c", json!({"n": 3.5, "s": "z", "tags": []})),
        ("jobs/d", json!({"n": "text"})),
        ("jobs/e", json!({"n": null})),
        ("jobs/a/jobs/inner", json!({"n": 1})),
        ("other/f", json!({"n": 1})),
    ])
    .await;
    let cases = [
        (field("n", O::Equal, &json!(1.0)), "a"),
        (field("n", O::LessThan, &json!(3)), "a b"),
        (field("n", O::GreaterThanOrEqual, &json!(2)), "b c"),
        (field("n", O::GreaterThan, &json!("a")), "d"),
        (field("n", O::NotEqual, &json!(2)), "a c d"),
        (field("n", O::In, &json!([1, "text", 9])), "a d"),
        (field("n", O::NotIn, &json!([1, 2])), "c d"),
        (field("n", O::NotIn, &json!([1, null])), ""),
        (field("tags", O::ArrayContains, &json!(1)), "a"),
        (field("tags", O::ArrayContainsAny, &json!(["blue", "red"])), "a b"),
        (field("z", O::NotEqual, &json!(5)), "b"),
        (unary("n", unary_filter::Operator::IsNull), "e"),
        (unary("n", unary_filter::Operator::IsNotNull), "a b c d"),
        (all(vec![field("n", O::LessThan, &json!(3)), field("s", O::Equal, &json!("y"))]), "b"),
        (any(vec![field("n", O::Equal, &json!("text")), field("s", O::Equal, &json!("z"))]), "c d"),
    ];
    for (filter, expected) in cases {
        let found = ids(&db, ordered(&["__name__"], matching(filter.clone(), from("jobs")))).await;
        assert_eq!(found, expected, "{filter:?}");
    }
    let key = field_value("__name__", O::GreaterThan, document("jobs/b"));
    assert_eq!(ids(&db, matching(key, from("jobs"))).await, "c d e");
    assert_eq!(ids(&db, matching(field("n", O::Equal, &json!(1)), from_group("jobs"))).await, "a inner");
}

#[tokio::test]
async fn invalid_queries_are_refused() {
    use Operator as O;
    let db = Db::start().await;
    let many: Json = (0..31).collect();
    let not_equal = || field("n", O::NotEqual, &json!(1));
    let queries = [
        matching(field("n", O::In, &many), from("jobs")),
        matching(field("n", O::In, &json!([])), from("jobs")),
        matching(field("n", O::NotIn, &(0..11).collect()), from("jobs")),
        matching(all(vec![not_equal(), not_equal()]), from("jobs")),
        matching(field("__name__", O::Equal, &json!("jobs/a")), from("jobs")),
        matching(field("a-b", O::Equal, &json!(1)), from("jobs")),
        StructuredQuery {
            start_at: Some(at(vec![value(&json!(1)), value(&json!(2))], true)),
            ..ordered(&["n"], from("jobs"))
        },
        StructuredQuery { offset: -1, ..from("jobs") },
        StructuredQuery::default(),
    ];
    for query in queries {
        assert_eq!(db.query(query.clone()).await.unwrap_err().code(), Code::InvalidArgument, "{query:?}");
    }
}

#[tokio::test]
async fn values_are_ordered_by_type_then_value() {
    let db = Db::start().await;
    let double = |double| Value { value_type: Some(ValueType::DoubleValue(double)) };
    let of = |value_type| Value { value_type: Some(value_type) };
    let time = |seconds| of(ValueType::TimestampValue(prost_types::Timestamp { seconds, nanos: 0 }));
    let vector = |json| value(&json!({"__type__": "__vector__", "value": json}));
    let point =
        |latitude| of(ValueType::GeoPointValue(gcloud_sdk::google::r#type::LatLng { latitude, longitude: 0.0 }));
    let ascending = [
        value(&Json::Null),
        value(&json!(false)),
        value(&json!(true)),
        double(f64::NAN),
        double(f64::NEG_INFINITY),
        value(&json!(-1)),
        double(0.5),
        value(&json!(9_007_199_254_740_992_i64)),
        value(&json!(9_007_199_254_740_993_i64)),
        double(1e300),
        time(1),
        time(2),
        value(&json!("Z")),
        value(&json!("a")),
        value(&json!("é")),
        of(ValueType::BytesValue(vec![1])),
        of(ValueType::BytesValue(vec![1, 0])),
        document("jobs/a"),
        document("jobs/a/b/c"),
        document("jobs/a-"),
        point(1.0),
        value(&json!([1])),
        value(&json!([1, 2])),
        value(&json!([2])),
        vector(json!([9.0])),
        vector(json!([1.0, 1.0])),
        value(&json!({})),
        value(&json!({"a": 1})),
        value(&json!({"a": 1, "b": 0})),
        value(&json!({"a": 2})),
        value(&json!({"b": 0})),
    ];
    for (n, value) in ascending.iter().enumerate() {
        // The ids are in reverse, so that an order by name cannot look like an order by value.
        let name = name(&format!("jobs/{:02}", 99 - n));
        let fields = [("v".to_owned(), value.clone())].into();
        db.emulator.firestore().put(Document { name, fields, ..Default::default() }).unwrap();
    }
    db.put(&[("jobs/without", json!({}))]).await;
    let expected: Vec<String> = (0..ascending.len()).map(|n| format!("{:02}", 99 - n)).collect();
    assert_eq!(ids(&db, ordered(&["v"], from("jobs"))).await, expected.join(" "));
    let reversed: Vec<String> = expected.into_iter().rev().collect();
    assert_eq!(ids(&db, ordered(&["-v"], from("jobs"))).await, reversed.join(" "));
}

#[tokio::test]
async fn names_break_ties_in_the_direction_of_the_last_order() {
    let db = Db::start().await;
    db.put(&[
        ("jobs/a", json!({"n": 1})),
        ("jobs/b", json!({"n": 1})),
        ("jobs/c", json!({"n": 0})),
        ("jobs/d", json!({})),
    ])
    .await;
    assert_eq!(ids(&db, from("jobs")).await, "a b c d");
    assert_eq!(ids(&db, ordered(&["n"], from("jobs"))).await, "c a b");
    assert_eq!(ids(&db, ordered(&["-n"], from("jobs"))).await, "b a c");
    assert_eq!(ids(&db, ordered(&["-n", "__name__"], from("jobs"))).await, "a b c");
    let positive = matching(field("n", Operator::GreaterThanOrEqual, &json!(0)), from("jobs"));
    assert_eq!(ids(&db, positive).await, "c a b");
}

#[tokio::test]
async fn cursors_offsets_and_limits_cut_the_results() {
    let db = Db::start().await;
    let documents: Vec<(String, Json)> =
        (0..6).map(|n| (format!("jobs/{n}"), json!({"n": n / 2, "all": true}))).collect();
    db.put(&documents.iter().map(|(path, fields)| (path.as_str(), fields.clone())).collect::<Vec<_>>()).await;
    let by_n = || ordered(&["n"], from("jobs"));
    let by_both = || ordered(&["-n", "-__name__"], from("jobs"));
    let one = || vec![value(&json!(1))];
    let cases = [
        (StructuredQuery { start_at: Some(at(one(), true)), ..by_n() }, "2 3 4 5"),
        (StructuredQuery { start_at: Some(at(one(), false)), ..by_n() }, "4 5"),
        (StructuredQuery { end_at: Some(at(one(), true)), ..by_n() }, "0 1"),
        (StructuredQuery { end_at: Some(at(one(), false)), ..by_n() }, "0 1 2 3"),
        (
            StructuredQuery { start_at: Some(at(vec![value(&json!(1)), document("jobs/3")], false)), ..by_both() },
            "2 1 0",
        ),
        (StructuredQuery { start_at: Some(at(one(), true)), end_at: Some(at(one(), false)), ..by_both() }, "3 2"),
        (StructuredQuery { offset: 1, limit: Some(2), ..by_n() }, "1 2"),
        (limited(2, by_both()), "5 4"),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&db, query.clone()).await, expected, "{query:?}");
    }
}

#[tokio::test]
async fn only_the_selected_fields_are_returned() {
    let db = Db::start().await;
    db.put(&[("jobs/a", json!({"n": 1, "m": {"x": 1, "y": 2}}))]).await;
    for (select, expected) in [
        (&["m.x"][..], json!({"m": {"x": 1}})),
        (&["__name__"], json!({})),
        (&[], json!({"n": 1, "m": {"x": 1, "y": 2}})),
    ] {
        let found = db.query_documents(selecting(select, from("jobs")), None).await.unwrap();
        assert_eq!(fields_json(&found[0]), expected);
        assert_eq!(found[0].name, name("jobs/a"));
    }
}

#[tokio::test]
async fn a_query_can_read_the_past_and_sees_only_its_database() {
    let db = Db::start().await;
    db.put(&[("jobs/a", json!({}))]).await;
    let before = db.get("jobs/a").await.unwrap().update_time.unwrap();
    db.put(&[("jobs/b", json!({}))]).await;
    let elsewhere = Document { name: "projects/p/databases/named/documents/jobs/x".into(), ..Default::default() };
    db.emulator.firestore().put(elsewhere).unwrap();
    let past = run_query_request::ConsistencySelector::ReadTime(before);
    assert_eq!(db.query_in(from("jobs"), Some(past)).await.unwrap(), ["jobs/a"]);
    assert_eq!(ids(&db, from("jobs")).await, "a b");
    assert_eq!(db.emulator.firestore().documents("jobs").len(), 3);
    let counts = db.emulator.firestore().counts();
    assert_eq!((counts.writes, counts.reads, counts.queries), (3, 1 + 1 + 2, 2));
    // Without a result the response still contains the read time.
    let request = RunQueryRequest {
        parent: format!("{DATABASE}/documents"),
        query_type: Some(run_query_request::QueryType::StructuredQuery(from("none"))),
        ..Default::default()
    };
    let mut answers = db.client.clone().run_query(request).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(answer.document.is_none() && answer.read_time.is_some());
}

#[tokio::test]
async fn aggregations_count_sum_and_average() {
    let db = Db::start().await;
    let documents = [json!({"n": 1}), json!({"n": 2}), json!({"n": "text"}), json!({"f": 0.5})];
    for (id, fields) in documents.iter().enumerate() {
        db.commit(vec![set(&format!("jobs/{id}"), fields)]).await.unwrap();
    }
    let (n, f) = (Some(reference("n")), Some(reference("f")));
    let operators = [
        Aggregate::Count(Count { up_to: None }),
        Aggregate::Count(Count { up_to: Some(3) }),
        Aggregate::Sum(Sum { field: n.clone() }),
        Aggregate::Avg(Avg { field: n }),
        Aggregate::Sum(Sum { field: f }),
    ];
    let named = |(at, operator)| Aggregation { alias: format!("a{at}"), operator: Some(operator) };
    let query = StructuredAggregationQuery {
        aggregations: operators.into_iter().enumerate().map(named).collect(),
        query_type: Some(structured_aggregation_query::QueryType::StructuredQuery(from("jobs"))),
    };
    let request = RunAggregationQueryRequest {
        parent: format!("{DATABASE}/documents"),
        query_type: Some(run_aggregation_query_request::QueryType::StructuredAggregationQuery(query)),
        ..Default::default()
    };
    let mut answers = db.client.clone().run_aggregation_query(request).await.unwrap().into_inner();
    let result = answers.message().await.unwrap().unwrap().result.unwrap().aggregate_fields;
    let result: Json = result.iter().map(|(alias, value)| (alias.clone(), json_of(value))).collect();
    assert_eq!(result, json!({"a0": 4, "a1": 3, "a2": 3, "a3": 1.5, "a4": 0.5}));
}
