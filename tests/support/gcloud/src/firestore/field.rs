//! Paths of fields, as `a.b` or with quotes as `` a.`b c` ``.

use std::{borrow::Cow, collections::HashMap, fmt};

use gcloud_sdk::google::firestore::v1::{Document, MapValue, Value, value::ValueType};

use super::refusal::{Outcome, Refusal};

/// The fields of a document or a map.
pub type Fields = HashMap<String, Value>;

/// The names from the document's field to the nested field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// Parses a path.
    pub fn parse(path: &str) -> Outcome<Self> {
        let invalid = || Refusal::invalid(format!("Invalid property path \"{path}\"."));
        let mut names = Vec::new();
        let mut chars = path.chars().peekable();
        loop {
            let mut name = String::new();
            if chars.next_if_eq(&'`').is_some() {
                loop {
                    match chars.next().ok_or_else(invalid)? {
                        '`' => break,
                        '\\' => name.push(chars.next().ok_or_else(invalid)?),
                        c => name.push(c),
                    }
                }
            } else {
                while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
                if name.starts_with(|c: char| c.is_ascii_digit()) {
                    return Err(invalid());
                }
            }
            if name.is_empty() {
                return Err(invalid());
            }
            names.push(name);
            match chars.next() {
                None => return Ok(Self(names)),
                Some('.') => {}
                Some(_) => return Err(invalid()),
            }
        }
    }

    /// The path that means the document's name.
    pub fn name() -> Self {
        Self(vec!["__name__".to_owned()])
    }

    /// Whether it means the document's name.
    pub fn is_name(&self) -> bool {
        self.0 == ["__name__"]
    }

    /// Refuses the names that Firestore reserves.
    pub fn check_writable(&self) -> Outcome<()> {
        match self.0.iter().find(|name| is_reserved(name)) {
            Some(name) => Err(Refusal::invalid(format!("Property name \"{name}\" is reserved."))),
            None => Ok(()),
        }
    }

    /// The value at this path, or the document's name as a reference.
    pub fn of<'d>(&self, document: &'d Document) -> Option<Cow<'d, Value>> {
        if self.is_name() {
            let name = ValueType::ReferenceValue(document.name.clone());
            return Some(Cow::Owned(Value { value_type: Some(name) }));
        }
        self.get(&document.fields).map(Cow::Borrowed)
    }

    /// The value at this path.
    pub fn get<'f>(&self, fields: &'f Fields) -> Option<&'f Value> {
        let (last, maps) = self.0.split_last()?;
        maps.iter().try_fold(fields, |fields, name| map_of(fields.get(name)?))?.get(last)
    }

    /// Sets the value at this path. A value on the way that is not a map becomes one.
    pub fn set(&self, fields: &mut Fields, value: Value) {
        let Some((last, maps)) = self.0.split_last() else { return };
        let mut fields = fields;
        for name in maps {
            let next = fields.entry(name.clone()).or_default();
            if !matches!(next.value_type, Some(ValueType::MapValue(_))) {
                next.value_type = Some(ValueType::MapValue(MapValue::default()));
            }
            let Some(ValueType::MapValue(map)) = &mut next.value_type else { return };
            fields = &mut map.fields;
        }
        fields.insert(last.clone(), value);
    }

    /// Removes the value at this path.
    pub fn remove(&self, fields: &mut Fields) {
        let Some((last, maps)) = self.0.split_last() else { return };
        let mut fields = fields;
        for name in maps {
            let Some(Value { value_type: Some(ValueType::MapValue(map)) }) = fields.get_mut(name) else { return };
            fields = &mut map.fields;
        }
        fields.remove(last);
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Whether Firestore reserves a field's name.
pub fn is_reserved(name: &str) -> bool {
    name.len() >= 4 && name.starts_with("__") && name.ends_with("__")
}

/// The document with only these fields; `__name__` selects no field.
pub fn project(document: &Document, paths: &[FieldPath]) -> Document {
    let mut fields = Fields::new();
    for path in paths {
        if let Some(value) = path.get(&document.fields) {
            path.set(&mut fields, value.clone());
        }
    }
    Document { name: document.name.clone(), fields, ..*document }
}

fn map_of(value: &Value) -> Option<&Fields> {
    match &value.value_type {
        Some(ValueType::MapValue(map)) => Some(&map.fields),
        _ => None,
    }
}
