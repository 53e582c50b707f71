//! Short constructors of queries.

use gcloud_sdk::google::firestore::v1::{
    Cursor, StructuredQuery, Value,
    structured_query::{
        CollectionSelector, CompositeFilter, Direction, FieldFilter, FieldReference, Filter, Order, Projection,
        composite_filter, field_filter::Operator, filter::FilterType,
    },
    value::ValueType,
};
use serde_json::Value as Json;

use crate::support::{name, value};

pub fn from(collection: &str) -> StructuredQuery {
    let from = vec![CollectionSelector { collection_id: collection.into(), all_descendants: false }];
    StructuredQuery { from, ..Default::default() }
}

pub fn from_group(collection: &str) -> StructuredQuery {
    let from = vec![CollectionSelector { collection_id: collection.into(), all_descendants: true }];
    StructuredQuery { from, ..Default::default() }
}

pub fn matching(filter: Filter, query: StructuredQuery) -> StructuredQuery {
    StructuredQuery { r#where: Some(filter), ..query }
}

pub fn field(path: &str, op: Operator, json: &Json) -> Filter {
    field_value(path, op, value(json))
}

pub fn field_value(path: &str, op: Operator, value: Value) -> Filter {
    let filter = FieldFilter { field: Some(reference(path)), op: op.into(), value: Some(value) };
    Filter { filter_type: Some(FilterType::FieldFilter(filter)) }
}

pub fn all(filters: Vec<Filter>) -> Filter {
    composite(composite_filter::Operator::And, filters)
}

pub fn any(filters: Vec<Filter>) -> Filter {
    composite(composite_filter::Operator::Or, filters)
}

fn composite(op: composite_filter::Operator, filters: Vec<Filter>) -> Filter {
    let filter = CompositeFilter { op: op.into(), filters };
    Filter { filter_type: Some(FilterType::CompositeFilter(filter)) }
}

/// Orders by fields; `-` before a name means descending.
pub fn ordered(fields: &[&str], query: StructuredQuery) -> StructuredQuery {
    let order = |field: &&str| {
        let direction = if field.starts_with('-') { Direction::Descending } else { Direction::Ascending };
        Order { field: Some(reference(field.trim_start_matches('-'))), direction: direction.into() }
    };
    StructuredQuery { order_by: fields.iter().map(order).collect(), ..query }
}

pub fn selecting(fields: &[&str], query: StructuredQuery) -> StructuredQuery {
    let fields = fields.iter().map(|field| reference(field)).collect();
    StructuredQuery { select: Some(Projection { fields }), ..query }
}

pub fn limited(limit: i32, query: StructuredQuery) -> StructuredQuery {
    StructuredQuery { limit: Some(limit), ..query }
}

pub fn at(values: Vec<Value>, before: bool) -> Cursor {
    Cursor { values, before }
}

/// A reference to a document.
pub fn document(path: &str) -> Value {
    Value { value_type: Some(ValueType::ReferenceValue(name(path))) }
}

pub fn reference(path: &str) -> FieldReference {
    FieldReference { field_path: path.into() }
}
