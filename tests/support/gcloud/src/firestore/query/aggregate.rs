//! Aggregations over the results of a query: count, sum and average.

use std::{collections::HashMap, sync::Arc};

use gcloud_sdk::google::firestore::v1::{
    Document, StructuredAggregationQuery, StructuredQuery, Value,
    structured_aggregation_query::{Aggregation, QueryType, aggregation::Operator},
    value::ValueType,
};

use super::filter::parse_field;
use crate::firestore::{
    field::FieldPath,
    refusal::{Outcome, Refusal},
    value,
};

const MAX_AGGREGATIONS: usize = 5;

/// The aggregations, each with the alias of its result.
pub type Aggregations = Vec<(String, Operation)>;

/// An aggregation.
#[derive(Debug)]
pub enum Operation {
    Count(Option<usize>),
    Sum(FieldPath),
    Average(FieldPath),
}

/// Parses an aggregation and returns its query.
pub fn parse(query: StructuredAggregationQuery) -> Outcome<(Aggregations, StructuredQuery)> {
    if !(1..=MAX_AGGREGATIONS).contains(&query.aggregations.len()) {
        return Err(Refusal::invalid(format!("An aggregation query has 1 to {MAX_AGGREGATIONS} aggregations.")));
    }
    let Some(QueryType::StructuredQuery(over)) = query.query_type else {
        return Err(Refusal::invalid("An aggregation query has no query."));
    };
    let mut unnamed = 0;
    let mut aggregations = Aggregations::new();
    for Aggregation { alias, operator } in query.aggregations {
        let alias = if alias.is_empty() {
            unnamed += 1;
            format!("field_{unnamed}")
        } else {
            alias
        };
        if aggregations.iter().any(|(other, _)| *other == alias) {
            return Err(Refusal::invalid(format!("The alias \"{alias}\" is used twice.")));
        }
        aggregations.push((alias, operation(operator)?));
    }
    Ok((aggregations, over))
}

/// The fields that it needs.
pub fn fields(aggregations: &Aggregations) -> impl Iterator<Item = &FieldPath> {
    aggregations.iter().filter_map(|(_, operation)| match operation {
        Operation::Count(_) => None,
        Operation::Sum(path) | Operation::Average(path) => Some(path),
    })
}

/// Computes the results.
pub fn compute(aggregations: &Aggregations, found: &[Arc<Document>]) -> HashMap<String, Value> {
    aggregations.iter().map(|(alias, operation)| (alias.clone(), compute_one(operation, found))).collect()
}

fn operation(operator: Option<Operator>) -> Outcome<Operation> {
    match operator {
        Some(Operator::Count(count)) => match count.up_to {
            Some(up_to) if up_to <= 0 => Err(Refusal::invalid("'up_to' must be greater than zero.")),
            up_to => Ok(Operation::Count(up_to.map(|up_to| usize::try_from(up_to).unwrap_or(usize::MAX)))),
        },
        Some(Operator::Sum(sum)) => Ok(Operation::Sum(parse_field(sum.field)?)),
        Some(Operator::Avg(average)) => Ok(Operation::Average(parse_field(average.field)?)),
        None => Err(Refusal::invalid("An aggregation has no operator.")),
    }
}

fn compute_one(operation: &Operation, found: &[Arc<Document>]) -> Value {
    let value_type = match operation {
        Operation::Count(up_to) => {
            let count = found.len().min(up_to.unwrap_or(usize::MAX));
            ValueType::IntegerValue(i64::try_from(count).unwrap_or(i64::MAX))
        }
        Operation::Sum(path) => sum(&numbers(path, found)),
        Operation::Average(path) => average(&numbers(path, found)),
    };
    Value { value_type: Some(value_type) }
}

fn numbers<'d>(path: &FieldPath, found: &'d [Arc<Document>]) -> Vec<&'d ValueType> {
    let values = found.iter().filter_map(|document| path.get(&document.fields));
    values.filter(|one| value::kind(one) == value::Kind::Number).filter_map(|one| one.value_type.as_ref()).collect()
}

/// An integer if all values are integers and the sum fits, else a double.
fn sum(numbers: &[&ValueType]) -> ValueType {
    let exact = numbers.iter().try_fold(0_i64, |sum, number| match number {
        ValueType::IntegerValue(integer) => sum.checked_add(*integer),
        _ => None,
    });
    exact.map_or_else(|| ValueType::DoubleValue(total(numbers)), ValueType::IntegerValue)
}

#[expect(clippy::cast_precision_loss, reason = "documented: an average is a double")]
fn average(numbers: &[&ValueType]) -> ValueType {
    if numbers.is_empty() {
        return ValueType::NullValue(0);
    }
    ValueType::DoubleValue(total(numbers) / numbers.len() as f64)
}

#[expect(clippy::cast_precision_loss, reason = "documented: a sum that is no integer loses precision")]
fn total(numbers: &[&ValueType]) -> f64 {
    let double = |number: &&ValueType| match number {
        ValueType::IntegerValue(integer) => *integer as f64,
        ValueType::DoubleValue(double) => *double,
        _ => 0.0,
    };
    numbers.iter().map(double).sum()
}
