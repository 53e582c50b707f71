//! Filters: the conditions of a query on a document's fields.

use gcloud_sdk::google::firestore::v1::{
    Document, Value,
    structured_query::{
        self, CompositeFilter, FieldFilter, FieldReference, UnaryFilter, composite_filter, field_filter::Operator,
        filter::FilterType, unary_filter,
    },
    value::ValueType,
};

use crate::firestore::{
    field::FieldPath,
    refusal::{Outcome, Refusal},
    value::{self, Kind},
};

const MAX_DISJUNCTIONS: usize = 30;
const MAX_NOT_IN: usize = 10;

/// A condition, or a combination of conditions.
#[derive(Debug, Clone)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Field(Condition),
}

/// A condition on one field.
#[derive(Debug, Clone)]
pub struct Condition {
    pub path: FieldPath,
    pub operator: Operator,
    pub value: Value,
}

impl Filter {
    /// Parses a filter.
    pub fn parse(filter: structured_query::Filter) -> Outcome<Self> {
        match filter.filter_type.ok_or_else(|| Refusal::invalid("A filter has no type."))? {
            FilterType::CompositeFilter(CompositeFilter { op, filters }) => {
                let filters = filters.into_iter().map(Self::parse).collect::<Outcome<Vec<_>>>()?;
                if filters.is_empty() {
                    return Err(Refusal::invalid("A composite filter has no filters."));
                }
                match composite_filter::Operator::try_from(op) {
                    Ok(composite_filter::Operator::And) => Ok(Self::And(filters)),
                    Ok(composite_filter::Operator::Or) => Ok(Self::Or(filters)),
                    _ => Err(Refusal::invalid("A composite filter has no operator.")),
                }
            }
            FilterType::FieldFilter(FieldFilter { field, op, value }) => {
                let operator = Operator::try_from(op).ok().filter(|operator| *operator != Operator::Unspecified);
                let operator = operator.ok_or_else(|| Refusal::invalid("A field filter has no operator."))?;
                let value = value.filter(|value| value.value_type.is_some());
                let value = value.ok_or_else(|| Refusal::invalid("A field filter has no value."))?;
                Condition { path: parse_field(field)?, operator, value }.checked().map(Self::Field)
            }
            FilterType::UnaryFilter(UnaryFilter { op, operand_type }) => {
                let nan = Value { value_type: Some(ValueType::DoubleValue(f64::NAN)) };
                let (operator, value) = match unary_filter::Operator::try_from(op) {
                    Ok(unary_filter::Operator::IsNull) => (Operator::Equal, value::null()),
                    Ok(unary_filter::Operator::IsNan) => (Operator::Equal, nan),
                    Ok(unary_filter::Operator::IsNotNull) => (Operator::NotEqual, value::null()),
                    Ok(unary_filter::Operator::IsNotNan) => (Operator::NotEqual, nan),
                    _ => return Err(Refusal::invalid("A unary filter has no operator.")),
                };
                let unary_filter::OperandType::Field(field) =
                    operand_type.ok_or_else(|| Refusal::invalid("A unary filter has no field."))?;
                Ok(Self::Field(Condition { path: parse_field(Some(field))?, operator, value }))
            }
        }
    }

    /// Refuses filters that exceed the limits together.
    pub fn check(&self) -> Outcome<()> {
        let negations = self.conditions().into_iter().filter(|one| one.is_negation()).count();
        if negations > 1 {
            return Err(Refusal::invalid("Only one of NOT_EQUAL, NOT_IN, IS_NOT_NULL and IS_NOT_NAN is allowed."));
        }
        let not_in = self.conditions().into_iter().any(|one| one.operator == Operator::NotIn);
        if not_in && self.disjunctions() > 1 {
            return Err(Refusal::invalid("NOT_IN cannot be combined with OR, IN or ARRAY_CONTAINS_ANY."));
        }
        if self.disjunctions() > MAX_DISJUNCTIONS {
            return Err(Refusal::invalid(format!(
                "Invalid Query. A query has a maximum of {MAX_DISJUNCTIONS} disjunctions in disjunctive normal form."
            )));
        }
        Ok(())
    }

    pub fn matches(&self, document: &Document) -> bool {
        match self {
            Self::And(filters) => filters.iter().all(|filter| filter.matches(document)),
            Self::Or(filters) => filters.iter().any(|filter| filter.matches(document)),
            Self::Field(condition) => condition.matches(document),
        }
    }

    /// All its conditions.
    pub fn conditions(&self) -> Vec<&Condition> {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().flat_map(Self::conditions).collect(),
            Self::Field(condition) => vec![condition],
        }
    }

    /// Its disjunctive normal form: a document matches if all conditions of one branch hold.
    pub fn branches(&self) -> Vec<Vec<&Condition>> {
        match self {
            Self::Field(condition) => vec![vec![condition]],
            Self::Or(filters) => filters.iter().flat_map(Self::branches).collect(),
            Self::And(filters) => filters.iter().fold(vec![Vec::new()], |branches, filter| {
                let others = filter.branches();
                branches.iter().flat_map(|one| others.iter().map(|other| [&one[..], other].concat())).collect()
            }),
        }
    }

    /// The number of branches, one for each element of an IN.
    fn disjunctions(&self) -> usize {
        match self {
            Self::And(filters) => filters.iter().map(Self::disjunctions).fold(1, usize::saturating_mul),
            Self::Or(filters) => filters.iter().map(Self::disjunctions).fold(0, usize::saturating_add),
            Self::Field(one) => match one.operator {
                Operator::In | Operator::ArrayContainsAny => value::elements(&one.value).len(),
                _ => 1,
            },
        }
    }
}

impl Condition {
    /// Whether it fixes the field's value to one of a list, so that an index need not sort by the field.
    pub fn is_equality(&self) -> bool {
        matches!(self.operator, Operator::Equal | Operator::In)
    }

    /// Whether it is a condition on the elements of an array.
    pub fn is_contains(&self) -> bool {
        matches!(self.operator, Operator::ArrayContains | Operator::ArrayContainsAny)
    }

    /// Whether results are ordered by its field.
    pub fn is_inequality(&self) -> bool {
        !self.is_equality() && !self.is_contains()
    }

    fn is_negation(&self) -> bool {
        matches!(self.operator, Operator::NotEqual | Operator::NotIn)
    }

    fn checked(self) -> Outcome<Self> {
        let count = value::elements(&self.value).len();
        let wants_array = matches!(self.operator, Operator::In | Operator::NotIn | Operator::ArrayContainsAny);
        if wants_array && (value::kind(&self.value) != Kind::Array || count == 0) {
            return Err(Refusal::invalid(format!("'{:?}' requires a non-empty ArrayValue.", self.operator)));
        }
        if self.operator == Operator::NotIn && count > MAX_NOT_IN {
            return Err(Refusal::invalid(format!("'NOT_IN' supports up to {MAX_NOT_IN} comparison values.")));
        }
        let names: &[Value] =
            if wants_array { value::elements(&self.value) } else { std::slice::from_ref(&self.value) };
        if self.path.is_name() && names.iter().any(|name| value::kind(name) != Kind::Reference) {
            return Err(Refusal::invalid("__key__ filter value must be a Key"));
        }
        Ok(self)
    }

    fn matches(&self, document: &Document) -> bool {
        let Some(field) = self.path.of(document) else { return false };
        let among = |values: &[Value]| values.iter().any(|value| value::equal(&field, value));
        let order = || (value::kind(&field) == value::kind(&self.value)).then(|| value::compare(&field, &self.value));
        // Documented: a comparison with null is neither equal nor different.
        let is_set = value::kind(&field) != Kind::Null;
        match self.operator {
            Operator::Unspecified => false,
            Operator::LessThan => order().is_some_and(std::cmp::Ordering::is_lt),
            Operator::LessThanOrEqual => order().is_some_and(std::cmp::Ordering::is_le),
            Operator::GreaterThan => order().is_some_and(std::cmp::Ordering::is_gt),
            Operator::GreaterThanOrEqual => order().is_some_and(std::cmp::Ordering::is_ge),
            Operator::Equal => value::equal(&field, &self.value),
            Operator::NotEqual => is_set && !value::equal(&field, &self.value),
            Operator::In => among(value::elements(&self.value)),
            Operator::NotIn => {
                let values = value::elements(&self.value);
                is_set && !values.iter().any(|value| value::kind(value) == Kind::Null) && !among(values)
            }
            Operator::ArrayContains => value::elements(&field).iter().any(|one| value::equal(one, &self.value)),
            Operator::ArrayContainsAny => {
                let wanted = value::elements(&self.value);
                value::elements(&field).iter().any(|one| wanted.iter().any(|value| value::equal(one, value)))
            }
        }
    }
}

/// The path of a field reference.
pub fn parse_field(field: Option<FieldReference>) -> Outcome<FieldPath> {
    FieldPath::parse(&field.ok_or_else(|| Refusal::invalid("A field is missing in a query."))?.field_path)
}
