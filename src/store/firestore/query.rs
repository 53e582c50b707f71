//! Builders of queries.

use gcloud_sdk::google::firestore::v1::{
    Cursor, StructuredQuery, Value,
    structured_query::{
        CollectionSelector, CompositeFilter, Direction, FieldFilter, FieldReference, Filter, Order,
        composite_filter::Operator as Join, field_filter::Operator, filter::FilterType,
    },
};

/// The documents of a collection for which every filter holds.
pub(super) fn query(collection: &str, filters: Vec<Filter>) -> StructuredQuery {
    StructuredQuery {
        from: vec![CollectionSelector { collection_id: collection.to_owned(), all_descendants: false }],
        r#where: Some(join(Join::And, filters)),
        ..StructuredQuery::default()
    }
}

/// Orders a query. The database leaves out documents without these fields.
pub(super) fn ordered(query: StructuredQuery, by: &[&str], direction: Direction) -> StructuredQuery {
    let order = |name: &&str| Order { field: Some(field(name)), direction: direction.into() };
    StructuredQuery { order_by: by.iter().map(order).collect(), ..query }
}

/// Limits a query.
pub(super) fn limited(query: StructuredQuery, limit: usize) -> StructuredQuery {
    StructuredQuery { limit: Some(i32::try_from(limit).unwrap_or(i32::MAX)), ..query }
}

/// Starts a query after the document with these values of the ordered fields.
pub(super) fn starting_after(query: StructuredQuery, values: Vec<Value>) -> StructuredQuery {
    StructuredQuery { start_at: Some(Cursor { values, before: false }), ..query }
}

/// A condition on one field.
pub(super) fn filter(name: &str, op: Operator, value: Value) -> Filter {
    let filter = FieldFilter { field: Some(field(name)), op: op.into(), value: Some(value) };
    Filter { filter_type: Some(FilterType::FieldFilter(filter)) }
}

/// Whether any of these holds.
pub(super) fn any(filters: Vec<Filter>) -> Filter {
    join(Join::Or, filters)
}

fn join(op: Join, mut filters: Vec<Filter>) -> Filter {
    if filters.len() == 1 {
        return filters.remove(0);
    }
    Filter { filter_type: Some(FilterType::CompositeFilter(CompositeFilter { op: op.into(), filters })) }
}

fn field(name: &str) -> FieldReference {
    FieldReference { field_path: name.to_owned() }
}
