//! One write: its precondition and its result.

use std::sync::Arc;

use gcloud_sdk::google::firestore::v1::{
    Document, DocumentMask, Precondition, Value, Write, document_transform::FieldTransform,
    precondition::ConditionType, write::Operation,
};
use prost_types::Timestamp;
use tonic::Code;

use super::{
    check,
    field::{FieldPath, Fields},
    moment::Moment,
    name::Name,
    refusal::{Outcome, Refusal},
    transform, value,
};

/// The result of a write: the document, if any, and the results of its transforms.
#[derive(Debug)]
pub struct Written {
    pub document: Option<Arc<Document>>,
    pub transformed: Vec<Value>,
}

/// The document of a write.
pub fn target(database: &str, write: &Write) -> Outcome<Name> {
    let name = match &write.operation {
        Some(Operation::Update(document)) => &document.name,
        Some(Operation::Delete(name)) => name,
        Some(Operation::Transform(transform)) => &transform.document,
        None => return Err(Refusal::invalid("A write has no operation.")),
    };
    Name::document_in(database, name)
}

/// Whether it is a delete.
pub fn is_delete(write: &Write) -> bool {
    matches!(write.operation, Some(Operation::Delete(_)))
}

/// Applies a write to the current document.
pub fn apply(write: Write, current: Option<&Arc<Document>>, now: Moment) -> Outcome<Written> {
    let Write { update_mask, update_transforms, current_document, operation } = write;
    let is_update = matches!(operation, Some(Operation::Update(_)));
    if !is_update && (update_mask.is_some() || !update_transforms.is_empty()) {
        return Err(Refusal::invalid("A mask or transforms are for an update alone."));
    }
    match operation {
        Some(Operation::Update(document)) => {
            meets(&document.name, current_document.as_ref(), current)?;
            update(document, update_mask, update_transforms, current, now)
        }
        Some(Operation::Transform(transform)) => {
            meets(&transform.document, current_document.as_ref(), current)?;
            let nothing = Document { name: transform.document, ..Document::default() };
            update(nothing, Some(DocumentMask::default()), transform.field_transforms, current, now)
        }
        Some(Operation::Delete(name)) => {
            meets(&name, current_document.as_ref(), current)?;
            Ok(Written { document: None, transformed: Vec::new() })
        }
        None => Err(Refusal::invalid("A write has no operation.")),
    }
}

fn meets(name: &str, condition: Option<&Precondition>, current: Option<&Arc<Document>>) -> Outcome<()> {
    match condition.and_then(|condition| condition.condition_type.as_ref()) {
        Some(ConditionType::Exists(false)) if current.is_some() => {
            Err(Refusal::new(Code::AlreadyExists, format!("Document already exists: {name}")))
        }
        Some(ConditionType::Exists(true)) if current.is_none() => {
            Err(Refusal::new(Code::NotFound, format!("No document to update: {name}")))
        }
        Some(ConditionType::UpdateTime(required)) => {
            Moment::aligned(required)?;
            let stored = current.and_then(|document| document.update_time);
            if stored.as_ref() == Some(required) {
                return Ok(());
            }
            Err(Refusal::new(
                Code::FailedPrecondition,
                format!(
                    "the stored version ({}) does not match the required base version ({})",
                    micros(stored.as_ref()),
                    micros(Some(required))
                ),
            ))
        }
        _ => Ok(()),
    }
}

fn micros(timestamp: Option<&Timestamp>) -> i64 {
    timestamp.map_or(0, |time| time.seconds * 1_000_000 + i64::from(time.nanos) / 1000)
}

fn update(
    mut document: Document,
    mask: Option<DocumentMask>,
    transforms: Vec<FieldTransform>,
    current: Option<&Arc<Document>>,
    now: Moment,
) -> Outcome<Written> {
    check::accept(&mut document.fields)?;
    let mut fields = match mask {
        None => document.fields,
        Some(mask) => masked(&document.fields, &mask, current)?,
    };
    let transformed = transform::apply(&mut fields, transforms, now)?;
    if let Some(current) = current.filter(|current| value::identical_fields(&current.fields, &fields)) {
        // A write without a change keeps the update time.
        return Ok(Written { document: Some(Arc::clone(current)), transformed });
    }
    let document = Document {
        name: document.name,
        fields,
        create_time: current.map_or(Some(now.timestamp()), |current| current.create_time),
        update_time: Some(now.timestamp()),
    };
    check::check_size(&document)?;
    Ok(Written { document: Some(Arc::new(document)), transformed })
}

/// The current fields, with the fields of the mask set or removed as in the write.
fn masked(incoming: &Fields, mask: &DocumentMask, current: Option<&Arc<Document>>) -> Outcome<Fields> {
    let mut fields = current.map_or_else(Fields::new, |document| document.fields.clone());
    for path in &mask.field_paths {
        let path = FieldPath::parse(path)?;
        path.check_writable()?;
        match path.get(incoming) {
            Some(value) => path.set(&mut fields, value.clone()),
            None => path.remove(&mut fields),
        }
    }
    Ok(fields)
}
