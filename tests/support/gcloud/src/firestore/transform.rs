//! Transforms: changes that the server calculates.

use gcloud_sdk::google::firestore::v1::{
    ArrayValue, Value,
    document_transform::{
        FieldTransform,
        field_transform::{ServerValue, TransformType},
    },
    value::ValueType,
};

use super::{
    check,
    field::{FieldPath, Fields},
    moment::Moment,
    refusal::{Outcome, Refusal},
    value::{self, Kind},
};

/// The transforms of one document in one commit.
const MAX_TRANSFORMS: usize = 500;

/// Applies them in order and returns the result of each.
pub fn apply(fields: &mut Fields, transforms: Vec<FieldTransform>, now: Moment) -> Outcome<Vec<Value>> {
    if transforms.len() > MAX_TRANSFORMS {
        return Err(Refusal::invalid(format!("A document has more than {MAX_TRANSFORMS} transforms.")));
    }
    transforms.into_iter().map(|transform| apply_one(fields, transform, now)).collect()
}

fn apply_one(fields: &mut Fields, transform: FieldTransform, now: Moment) -> Outcome<Value> {
    let path = FieldPath::parse(&transform.field_path)?;
    path.check_writable()?;
    let current = path.get(fields);
    let (value, result) = match transform.transform_type {
        Some(TransformType::SetToServerValue(kind)) if kind == ServerValue::RequestTime as i32 => {
            same(Value { value_type: Some(ValueType::TimestampValue(now.in_millis())) })
        }
        Some(TransformType::Increment(operand)) => same(increment(current, number(operand)?)),
        Some(TransformType::Maximum(operand)) => same(extreme(current, number(operand)?, true)),
        Some(TransformType::Minimum(operand)) => same(extreme(current, number(operand)?, false)),
        Some(TransformType::AppendMissingElements(added)) => (append(current, accepted(added)?), value::null()),
        Some(TransformType::RemoveAllFromArray(removed)) => (remove(current, &accepted(removed)?), value::null()),
        _ => return Err(Refusal::invalid(format!("The transform of \"{path}\" has no type."))),
    };
    path.set(fields, value);
    Ok(result)
}

fn same(value: Value) -> (Value, Value) {
    (value.clone(), value)
}

fn number(value: Value) -> Outcome<Value> {
    match value::kind(&value) {
        Kind::Number => Ok(value),
        _ => Err(Refusal::invalid("The operand of a numeric transform must be a number.")),
    }
}

fn accepted(mut array: ArrayValue) -> Outcome<Vec<Value>> {
    array.values.iter_mut().try_for_each(check::accept_value)?;
    Ok(array.values)
}

fn increment(current: Option<&Value>, operand: Value) -> Value {
    use ValueType::{DoubleValue, IntegerValue};
    let sum = match (current.and_then(|value| value.value_type.as_ref()), &operand.value_type) {
        (Some(IntegerValue(a)), Some(IntegerValue(b))) => IntegerValue(a.saturating_add(*b)),
        (Some(IntegerValue(a)), Some(DoubleValue(b))) => DoubleValue(as_double(*a) + b),
        (Some(DoubleValue(a)), Some(IntegerValue(b))) => DoubleValue(a + as_double(*b)),
        (Some(DoubleValue(a)), Some(DoubleValue(b))) => DoubleValue(a + b),
        _ => return operand,
    };
    Value { value_type: Some(sum) }
}

#[expect(clippy::cast_precision_loss, reason = "documented: mixed operands are doubles")]
fn as_double(integer: i64) -> f64 {
    integer as f64
}

/// The larger or the smaller of two values; of equal values the stored one; NaN if one is NaN.
fn extreme(current: Option<&Value>, operand: Value, greatest: bool) -> Value {
    let Some(current) = current.filter(|value| value::kind(value) == Kind::Number) else { return operand };
    if value::is_nan(current) || value::is_nan(&operand) {
        return Value { value_type: Some(ValueType::DoubleValue(f64::NAN)) };
    }
    let order = value::compare(&operand, current);
    if if greatest { order.is_gt() } else { order.is_lt() } { operand } else { current.clone() }
}

fn append(current: Option<&Value>, added: Vec<Value>) -> Value {
    let mut values = current.map_or(Vec::new(), |value| value::elements(value).to_vec());
    for value in added {
        if !values.iter().any(|present| value::equal(present, &value)) {
            values.push(value);
        }
    }
    Value { value_type: Some(ValueType::ArrayValue(ArrayValue { values })) }
}

fn remove(current: Option<&Value>, removed: &[Value]) -> Value {
    let mut values = current.map_or(Vec::new(), |value| value::elements(value).to_vec());
    values.retain(|present| !removed.iter().any(|value| value::equal(present, value)));
    Value { value_type: Some(ValueType::ArrayValue(ArrayValue { values })) }
}
