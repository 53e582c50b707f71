//! The limits of a document, and the form in which its values are kept.

use gcloud_sdk::google::firestore::v1::{Document, Value, value::ValueType};

use super::{
    field::{self, Fields},
    refusal::{Outcome, Refusal},
    value::{self, Kind},
};

const MAX_DOCUMENT: usize = 1024 * 1024;
const MAX_VALUE: usize = MAX_DOCUMENT - 89;
const MAX_FIELD_NAME: usize = 1500;
const MAX_DEPTH: usize = 20;

/// Checks incoming fields and truncates their timestamps to microseconds, as Firestore does.
pub fn accept(fields: &mut Fields) -> Outcome<()> {
    accept_fields(fields, 1)
}

/// Checks an incoming value outside of a document.
pub fn accept_value(value: &mut Value) -> Outcome<()> {
    accept_nested(value, 1)
}

/// Checks the size of a document.
pub fn check_size(document: &Document) -> Outcome<()> {
    let size = name_size(&document.name) + fields_size(&document.fields) + 32;
    if size > MAX_DOCUMENT {
        return Err(Refusal::invalid(format!(
            "Document '{}' cannot be written because its size ({size} bytes) exceeds the maximum allowed size of \
             {MAX_DOCUMENT} bytes.",
            document.name
        )));
    }
    match document.fields.iter().find(|(_, value)| value_size(value) > MAX_VALUE) {
        Some((name, _)) => {
            Err(Refusal::invalid(format!("The value of property \"{name}\" is longer than {MAX_VALUE} bytes.")))
        }
        None => Ok(()),
    }
}

fn accept_fields(fields: &mut Fields, depth: usize) -> Outcome<()> {
    for (name, value) in fields {
        if name.is_empty() || name.len() > MAX_FIELD_NAME || field::is_reserved(name) {
            return Err(Refusal::invalid(format!("Property name \"{name}\" is empty, too long or reserved.")));
        }
        accept_nested(value, depth)?;
    }
    Ok(())
}

fn accept_nested(value: &mut Value, depth: usize) -> Outcome<()> {
    if depth > MAX_DEPTH {
        return Err(Refusal::invalid(format!("Property is nested deeper than {MAX_DEPTH} levels.")));
    }
    let is_vector = value::kind(value) == Kind::Vector;
    match &mut value.value_type {
        None => Err(Refusal::invalid("A value has no type set.")),
        Some(ValueType::TimestampValue(timestamp)) => {
            timestamp.nanos -= timestamp.nanos.rem_euclid(1000);
            Ok(())
        }
        Some(ValueType::ArrayValue(array)) => array.values.iter_mut().try_for_each(|element| {
            if value::kind(element) == Kind::Array {
                return Err(Refusal::invalid("Cannot convert an array value in an array value."));
            }
            accept_nested(element, depth + 1)
        }),
        Some(ValueType::MapValue(_)) if is_vector => Ok(()),
        Some(ValueType::MapValue(map)) => accept_fields(&mut map.fields, depth + 1),
        Some(
            ValueType::FieldReferenceValue(_)
            | ValueType::VariableReferenceValue(_)
            | ValueType::FunctionValue(_)
            | ValueType::PipelineValue(_),
        ) => Err(Refusal::invalid("A value of a pipeline cannot be stored.")),
        Some(_) => Ok(()),
    }
}

/// As documented under "Storage size calculations".
fn name_size(name: &str) -> usize {
    name.split('/').skip(5).map(|segment| segment.len() + 1).sum::<usize>() + 16
}

fn fields_size(fields: &Fields) -> usize {
    fields.iter().map(|(name, value)| name.len() + 1 + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    match &value.value_type {
        None | Some(ValueType::NullValue(_) | ValueType::BooleanValue(_)) => 1,
        Some(ValueType::StringValue(string)) => string.len() + 1,
        Some(ValueType::BytesValue(bytes)) => bytes.len(),
        Some(ValueType::ReferenceValue(name)) => name_size(name),
        Some(ValueType::GeoPointValue(_)) => 16,
        Some(ValueType::ArrayValue(array)) => array.values.iter().map(value_size).sum(),
        Some(ValueType::MapValue(map)) => 32 + fields_size(&map.fields),
        Some(_) => 8,
    }
}
