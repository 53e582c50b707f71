//! Converts between serde and the fields of a document: numbers stay integers, moments become timestamps, nulls are left
//! out.

use std::collections::HashMap;

use gcloud_sdk::{
    google::firestore::v1::{ArrayValue, MapValue, Value, value::ValueType},
    prost_types,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use crate::domain::Timestamp;

/// The fields of a document, by name.
pub(super) type Fields = HashMap<String, Value>;

/// The names of fields that contain moments, at any depth. All other text stays text, even if it looks like a moment.
const MOMENTS: &[&str] = &[
    "at",
    "attemptStartedAt",
    "cancelBy",
    "cancelledAt",
    "completedAt",
    "createdAt",
    "deadline",
    "dueAt",
    "expiresAt",
    "failedAt",
    "notBefore",
    "publishAt",
    "startedAt",
];

/// A value that cannot be stored in a document, or not be read from one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConversionError {
    #[error(transparent)]
    Shape(#[from] serde_json::Error),
    #[error("{0}: a number beyond 64 bits with sign")]
    Number(String),
    #[error("{name}: {text:?} is not a timestamp")]
    Moment { name: String, text: String },
    #[error("only a struct can be a document")]
    NoStruct,
}

/// A struct as the fields of a document.
pub(super) fn to_fields<T: Serialize>(value: &T) -> Result<Fields, ConversionError> {
    match serde_json::to_value(value)? {
        Json::Object(object) => map(object),
        _ => Err(ConversionError::NoStruct),
    }
}

/// The struct of a document's fields.
pub(super) fn from_fields<T: DeserializeOwned>(fields: Fields) -> Result<T, ConversionError> {
    Ok(serde_json::from_value(object(fields))?)
}

fn map(object: serde_json::Map<String, Json>) -> Result<Fields, ConversionError> {
    let mut fields = Fields::with_capacity(object.len());
    for (name, json) in object {
        if let Some(value) = value(&name, json)? {
            fields.insert(name, value);
        }
    }
    Ok(fields)
}

fn value(name: &str, json: Json) -> Result<Option<Value>, ConversionError> {
    Ok(Some(match json {
        Json::Null => return Ok(None),
        Json::Bool(yes) => of(ValueType::BooleanValue(yes)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => integer(whole),
            (None, Some(float)) if number.is_f64() => of(ValueType::DoubleValue(float)),
            _ => return Err(ConversionError::Number(name.to_owned())),
        },
        Json::String(text) if MOMENTS.contains(&name) => {
            let at = text.parse().map_err(|_| ConversionError::Moment { name: name.to_owned(), text })?;
            moment(at)
        }
        Json::String(text) => string(text),
        Json::Array(items) => {
            let items = items.into_iter().map(|item| value(name, item));
            let values = items.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            of(ValueType::ArrayValue(ArrayValue { values }))
        }
        Json::Object(object) => of(ValueType::MapValue(MapValue { fields: map(object)? })),
    }))
}

fn object(fields: Fields) -> Json {
    Json::Object(fields.into_iter().map(|(name, value)| (name, json(value))).collect())
}

fn json(value: Value) -> Json {
    match value.value_type {
        Some(ValueType::BooleanValue(yes)) => Json::Bool(yes),
        Some(ValueType::IntegerValue(whole)) => whole.into(),
        Some(ValueType::DoubleValue(float)) => float.into(),
        Some(ValueType::TimestampValue(at)) => domain_time(&at).map_or(Json::Null, |at| at.to_string().into()),
        Some(ValueType::StringValue(text)) => text.into(),
        Some(ValueType::ArrayValue(array)) => array.values.into_iter().map(json).collect(),
        Some(ValueType::MapValue(map)) => object(map.fields),
        // A type that this store does not write. If the field is needed, the struct reports it as missing.
        _ => Json::Null,
    }
}

fn of(value: ValueType) -> Value {
    Value { value_type: Some(value) }
}

/// A whole number.
pub(super) fn integer(whole: i64) -> Value {
    of(ValueType::IntegerValue(whole))
}

/// Text.
pub(super) fn string(text: impl Into<String>) -> Value {
    of(ValueType::StringValue(text.into()))
}

/// The name of a document.
pub(super) fn reference(name: impl Into<String>) -> Value {
    of(ValueType::ReferenceValue(name.into()))
}

/// A moment.
pub(super) fn moment(at: Timestamp) -> Value {
    of(ValueType::TimestampValue(wire_time(at)))
}

/// Several values, as the operand of `IN`.
pub(super) fn array(values: Vec<Value>) -> Value {
    of(ValueType::ArrayValue(ArrayValue { values }))
}

/// The whole number of that name.
pub(super) fn whole(fields: &Fields, name: &str) -> Option<i64> {
    match fields.get(name)?.value_type {
        Some(ValueType::IntegerValue(whole)) => Some(whole),
        _ => None,
    }
}

/// The text of that name.
pub(super) fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    match &fields.get(name)?.value_type {
        Some(ValueType::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// The moment of that name.
pub(super) fn time(fields: &Fields, name: &str) -> Option<Timestamp> {
    match &fields.get(name)?.value_type {
        Some(ValueType::TimestampValue(at)) => domain_time(at),
        _ => None,
    }
}

/// A moment in the protocol's format.
pub(super) fn wire_time(at: Timestamp) -> prost_types::Timestamp {
    const MICROS: i64 = 1_000_000;
    let micros = at.as_microsecond();
    let nanos = i32::try_from(micros.rem_euclid(MICROS) * 1000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(MICROS), nanos }
}

/// The domain's timestamp of a protocol timestamp; `None` beyond the year 9999.
pub(super) fn domain_time(at: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_survives_the_round_trip() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Inner {
            expires_at: Timestamp,
            step: Option<u32>,
            fraction: f64,
        }
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Outer {
            prompt: String,
            created_at: Timestamp,
            cost: u64,
            colors: Vec<String>,
            lease: Inner,
        }
        let before = Timestamp::from_microsecond(-1_500_001).expect("a moment before 1970");
        for at in [before, Timestamp::from_microsecond(1_767_225_600_123_456).expect("a moment")] {
            for fraction in [0.0, 1.0, 0.3] {
                let outer = Outer {
                    prompt: "2026-01-01T00:00:00Z".to_owned(),
                    created_at: at,
                    cost: 1 << 40,
                    colors: vec!["#ff6600".to_owned()],
                    lease: Inner { expires_at: at, step: None, fraction },
                };
                let fields = to_fields(&outer).expect("fields");
                assert_eq!(text(&fields, "prompt"), Some("2026-01-01T00:00:00Z"), "text stays text");
                assert_eq!((time(&fields, "createdAt"), whole(&fields, "cost")), (Some(at), Some(1 << 40)));
                let Some(ValueType::MapValue(lease)) = &fields["lease"].value_type else { panic!("no map") };
                assert_eq!(time(&lease.fields, "expiresAt"), Some(at));
                assert!(!lease.fields.contains_key("step"), "absent rather than null");
                assert!(matches!(lease.fields["fraction"].value_type, Some(ValueType::DoubleValue(_))));
                assert_eq!(from_fields::<Outer>(fields).expect("the struct"), outer);
            }
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error() {
        #[derive(serde::Serialize)]
        struct Large {
            credits: u64,
        }
        assert!(
            matches!(to_fields(&Large { credits: u64::MAX }), Err(ConversionError::Number(name)) if name == "credits")
        );
        assert!(matches!(to_fields(&7), Err(ConversionError::NoStruct)));
    }
}
