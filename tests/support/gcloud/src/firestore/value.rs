//! The order of values: null, booleans, NaN, numbers, timestamps, strings, bytes, references, points, arrays, vectors, maps.

use std::cmp::Ordering;

use gcloud_sdk::google::firestore::v1::{Value, value::ValueType};

use super::{field::Fields, name};

/// The kind of a value, in the order of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Null,
    Boolean,
    Number,
    Timestamp,
    String,
    Bytes,
    Reference,
    Point,
    Array,
    Vector,
    Map,
    Other,
}

/// The kind of a value. NaN sorts before all numbers.
pub fn kind(value: &Value) -> Kind {
    match &value.value_type {
        None | Some(ValueType::NullValue(_)) => Kind::Null,
        Some(ValueType::BooleanValue(_)) => Kind::Boolean,
        Some(ValueType::IntegerValue(_) | ValueType::DoubleValue(_)) => Kind::Number,
        Some(ValueType::TimestampValue(_)) => Kind::Timestamp,
        Some(ValueType::StringValue(_)) => Kind::String,
        Some(ValueType::BytesValue(_)) => Kind::Bytes,
        Some(ValueType::ReferenceValue(_)) => Kind::Reference,
        Some(ValueType::GeoPointValue(_)) => Kind::Point,
        Some(ValueType::ArrayValue(_)) => Kind::Array,
        Some(ValueType::MapValue(map)) => match map.fields.get("__type__").and_then(|mark| mark.value_type.as_ref()) {
            Some(ValueType::StringValue(mark)) if mark == "__vector__" => Kind::Vector,
            _ => Kind::Map,
        },
        Some(_) => Kind::Other,
    }
}

/// The order of two values of any kinds.
pub fn compare(one: &Value, other: &Value) -> Ordering {
    use ValueType as V;
    let kinds = kind(one).cmp(&kind(other));
    let (Some(a), Some(b)) = (&one.value_type, &other.value_type) else { return kinds };
    kinds.then_with(|| match (a, b) {
        (V::BooleanValue(a), V::BooleanValue(b)) => a.cmp(b),
        (V::IntegerValue(a), V::IntegerValue(b)) => a.cmp(b),
        (V::DoubleValue(a), V::DoubleValue(b)) => doubles(*a, *b),
        (V::IntegerValue(a), V::DoubleValue(b)) => integer_and_double(*a, *b),
        (V::DoubleValue(a), V::IntegerValue(b)) => integer_and_double(*b, *a).reverse(),
        (V::TimestampValue(a), V::TimestampValue(b)) => (a.seconds, a.nanos).cmp(&(b.seconds, b.nanos)),
        (V::StringValue(a), V::StringValue(b)) => a.cmp(b),
        (V::BytesValue(a), V::BytesValue(b)) => a.cmp(b),
        (V::ReferenceValue(a), V::ReferenceValue(b)) => name::compare(a, b),
        (V::GeoPointValue(a), V::GeoPointValue(b)) => {
            doubles(a.latitude, b.latitude).then_with(|| doubles(a.longitude, b.longitude))
        }
        (V::ArrayValue(a), V::ArrayValue(b)) => arrays(&a.values, &b.values),
        (V::MapValue(a), V::MapValue(b)) if kind(one) == Kind::Vector => vectors(&a.fields, &b.fields),
        (V::MapValue(a), V::MapValue(b)) => maps(&a.fields, &b.fields),
        _ => Ordering::Equal,
    })
}

/// Whether two values are equal in a query: 3 equals 3.0, and NaN equals NaN.
pub fn equal(one: &Value, other: &Value) -> bool {
    compare(one, other).is_eq()
}

/// Whether two values are identical, including the type of a number.
pub fn identical(one: &Value, other: &Value) -> bool {
    use ValueType as V;
    match (&one.value_type, &other.value_type) {
        (Some(V::DoubleValue(a)), Some(V::DoubleValue(b))) => a.to_bits() == b.to_bits(),
        (Some(V::ArrayValue(a)), Some(V::ArrayValue(b))) => {
            a.values.len() == b.values.len() && a.values.iter().zip(&b.values).all(|(a, b)| identical(a, b))
        }
        (Some(V::MapValue(a)), Some(V::MapValue(b))) => identical_fields(&a.fields, &b.fields),
        (a, b) => a == b,
    }
}

/// Whether all fields are identical.
pub fn identical_fields(one: &Fields, other: &Fields) -> bool {
    one.len() == other.len()
        && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| identical(value, other)))
}

/// Null.
pub fn null() -> Value {
    Value { value_type: Some(ValueType::NullValue(0)) }
}

pub fn is_nan(value: &Value) -> bool {
    matches!(value.value_type, Some(ValueType::DoubleValue(double)) if double.is_nan())
}

/// The elements of an array; none for other values.
pub fn elements(value: &Value) -> &[Value] {
    match &value.value_type {
        Some(ValueType::ArrayValue(array)) => &array.values,
        _ => &[],
    }
}

fn doubles(a: f64, b: f64) -> Ordering {
    // All NaNs are equal and sort first; zero has no sign.
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// Exact, even if a double cannot hold the integer.
#[expect(clippy::cast_possible_truncation, reason = "the double is known to fit")]
fn integer_and_double(integer: i64, double: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() || double < -LIMIT {
        return Ordering::Greater;
    }
    if double >= LIMIT {
        return Ordering::Less;
    }
    integer.cmp(&(double.trunc() as i64)).then_with(|| doubles(0.0, double.fract()))
}

fn arrays(one: &[Value], other: &[Value]) -> Ordering {
    let differing = one.iter().zip(other).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    differing.unwrap_or_else(|| one.len().cmp(&other.len()))
}

/// Shorter ones first.
fn vectors(one: &Fields, other: &Fields) -> Ordering {
    let [one, other] = [one, other].map(|fields| fields.get("value").map_or(&[][..], elements));
    one.len().cmp(&other.len()).then_with(|| arrays(one, other))
}

fn maps(one: &Fields, other: &Fields) -> Ordering {
    let [a, b] = [one, other].map(|fields| {
        let mut fields: Vec<_> = fields.iter().collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        fields
    });
    let differing = a
        .iter()
        .zip(&b)
        .map(|((name, value), (other_name, other))| name.cmp(other_name).then_with(|| compare(value, other)))
        .find(|order| order.is_ne());
    differing.unwrap_or_else(|| a.len().cmp(&b.len()))
}
