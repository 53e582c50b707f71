//! Structured queries: parsing and execution.

pub mod aggregate;
mod filter;

use std::{cmp::Ordering, sync::Arc};

use gcloud_sdk::google::firestore::v1::{
    self as api, Document, StructuredQuery, Value,
    structured_query::{self, Direction},
};
use tonic::Code;

pub use filter::{Condition, Filter};

use super::{
    documents::Documents,
    field::{self, FieldPath},
    moment::Moment,
    name::Name,
    refusal::{Outcome, Refusal},
    value::{self, Kind},
};

/// A parsed query.
#[derive(Debug, Clone)]
pub struct Plan {
    parent: Name,
    /// The last segment of the collection's path; if empty, all collections.
    pub collection: String,
    pub descendants: bool,
    pub filter: Option<Filter>,
    /// Includes the implied orders; the last one is always by name.
    pub orders: Vec<Order>,
    start: Option<Cursor>,
    end: Option<Cursor>,
    pub offset: usize,
    pub limit: Option<usize>,
    select: Vec<FieldPath>,
}

/// An order of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub path: FieldPath,
    pub descending: bool,
}

#[derive(Debug, Clone)]
struct Cursor {
    values: Vec<Value>,
    before: bool,
}

impl Plan {
    /// Parses a query below this parent.
    pub fn parse(parent: &str, query: StructuredQuery) -> Outcome<Self> {
        if query.find_nearest.is_some() {
            return Err(Refusal::new(Code::Unimplemented, "the emulator finds no nearest neighbours"));
        }
        let Ok([from]) = <[_; 1]>::try_from(query.from) else {
            return Err(Refusal::invalid("A query must have exactly one collection in 'from'."));
        };
        let parent = Name::parent(parent)?;
        let filter = query.r#where.map(Filter::parse).transpose()?;
        filter.as_ref().map_or(Ok(()), Filter::check)?;
        let explicit = query.order_by.into_iter().map(Order::parse).collect::<Outcome<Vec<_>>>()?;
        let cursor = |cursor: Option<api::Cursor>| cursor.map(|one| Cursor::parse(one, &explicit)).transpose();
        let (start, end) = (cursor(query.start_at)?, cursor(query.end_at)?);
        let select = query.select.map_or_else(Vec::new, |select| select.fields);
        Ok(Self {
            parent,
            collection: from.collection_id,
            descendants: from.all_descendants,
            orders: with_implied(explicit, filter.as_ref()),
            filter,
            start,
            end,
            offset: count(query.offset)?,
            limit: query.limit.map(count).transpose()?,
            select: select.into_iter().map(|field| filter::parse_field(Some(field))).collect::<Outcome<_>>()?,
        })
    }

    /// The results as of a time, as complete documents.
    pub fn run(&self, documents: &Documents, at: Moment) -> Vec<Arc<Document>> {
        let root = if self.descendants { self.parent.clone() } else { self.parent.child(&self.collection) };
        let mut found: Vec<_> = documents
            .below(&root, at)
            .filter(|(name, document)| self.matches(name, document))
            .map(|(_, document)| document)
            .collect();
        found.sort_by(|one, other| self.compare(one, other));
        found.into_iter().skip(self.offset).take(self.limit.unwrap_or(usize::MAX)).cloned().collect()
    }

    /// Whether the results are the same at two times.
    pub fn finds_the_same(&self, documents: &Documents, before: Moment, after: Moment) -> bool {
        // In most cases no document that could match has changed.
        documents.changed(before).all(|name| !self.covers(name)) || {
            let (one, other) = (self.run(documents, before), self.run(documents, after));
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| Arc::ptr_eq(one, other))
        }
    }

    /// Whether a document matches, without regard to offset and limit.
    pub fn matches(&self, name: &Name, document: &Document) -> bool {
        self.covers(name)
            && self.filter.as_ref().is_none_or(|filter| filter.matches(document))
            && self.orders.iter().all(|order| order.path.of(document).is_some())
            && self.start.as_ref().is_none_or(|start| start.place(document, &self.orders).is_ge())
            && self.end.as_ref().is_none_or(|end| end.place(document, &self.orders).is_lt())
    }

    /// Whether a document with this name is in the collections of the query.
    pub fn covers(&self, name: &Name) -> bool {
        if self.descendants {
            name.is_below(&self.parent) && (self.collection.is_empty() || name.collection_id() == self.collection)
        } else {
            name.is_in(&self.parent.child(&self.collection))
        }
    }

    /// Whether one document affects whether another is a result, as with a limit.
    pub fn is_limited(&self) -> bool {
        self.limit.is_some() || self.offset > 0
    }

    /// The selected fields of a document.
    pub fn project(&self, document: &Document) -> Document {
        if self.select.is_empty() { document.clone() } else { field::project(document, &self.select) }
    }

    fn compare(&self, one: &Document, other: &Document) -> Ordering {
        let orders = self.orders.iter().map(|order| order.compare(one, other));
        orders.fold(Ordering::Equal, Ordering::then)
    }
}

impl Order {
    fn parse(order: structured_query::Order) -> Outcome<Self> {
        let descending = order.direction() == Direction::Descending;
        Ok(Self { path: filter::parse_field(order.field)?, descending })
    }

    fn compare(&self, one: &Document, other: &Document) -> Ordering {
        match (self.path.of(one), self.path.of(other)) {
            (Some(one), Some(other)) => self.directed(value::compare(&one, &other)),
            (one, other) => one.is_some().cmp(&other.is_some()),
        }
    }

    fn directed(&self, order: Ordering) -> Ordering {
        if self.descending { order.reverse() } else { order }
    }
}

impl Cursor {
    fn parse(cursor: api::Cursor, orders: &[Order]) -> Outcome<Self> {
        if cursor.values.len() > orders.len() {
            return Err(Refusal::invalid("Cursor has too many values."));
        }
        let mut named = cursor.values.iter().zip(orders).filter(|(_, order)| order.path.is_name());
        if named.any(|(value, _)| value::kind(value) != Kind::Reference) {
            return Err(Refusal::invalid("A cursor's value for __name__ must be a reference."));
        }
        Ok(Self { values: cursor.values, before: cursor.before })
    }

    /// Whether a document is before or after the cursor; it is never at the cursor.
    fn place(&self, document: &Document, orders: &[Order]) -> Ordering {
        let places = self.values.iter().zip(orders).map(|(value, order)| {
            order.path.of(document).map_or(Ordering::Less, |field| order.directed(value::compare(&field, value)))
        });
        let at = if self.before { Ordering::Greater } else { Ordering::Less };
        places.fold(Ordering::Equal, Ordering::then).then(at)
    }
}

/// Adds the implied orders: by the fields of inequalities, then by name, in the direction of the last order.
fn with_implied(mut orders: Vec<Order>, filter: Option<&Filter>) -> Vec<Order> {
    let descending = orders.last().is_some_and(|order| order.descending);
    let mut implied: Vec<FieldPath> = filter
        .map_or_else(Vec::new, Filter::conditions)
        .into_iter()
        .filter(|condition| condition.is_inequality() && !condition.path.is_name())
        .map(|condition| condition.path.clone())
        .collect();
    implied.sort();
    implied.dedup();
    implied.push(FieldPath::name());
    for path in implied {
        if orders.iter().all(|order| order.path != path) {
            orders.push(Order { path, descending });
        }
    }
    orders
}

fn count(number: i32) -> Outcome<usize> {
    usize::try_from(number).map_err(|_| Refusal::invalid("offset and limit must not be negative"))
}
