//! Decides which queries have an index, from a file in the format of `firestore.indexes.json`.
//!
//! Every field has its own index in both directions, and one of the elements of arrays, unless an override changes that.
//! Equality filters merge such indexes. Every other query over more than one field needs a composite index: first the
//! fields of the equalities in any order, then those of the order, in exactly these directions.

use std::collections::BTreeSet;

use serde::Deserialize;
use tonic::Code;

use super::{
    field::FieldPath,
    query::{Condition, Filter, Order, Plan},
    refusal::{Outcome, Refusal},
};

/// The indexes of a database.
#[derive(Debug, Clone)]
pub struct Indexes {
    composites: Vec<Index>,
    overrides: Vec<Override>,
}

#[derive(Debug, Clone)]
struct Index {
    collection: String,
    is_group: bool,
    fields: Vec<Entry>,
}

/// An override of the indexes of one field.
#[derive(Debug, Clone)]
struct Override {
    collection: String,
    /// `*` means all fields.
    path: String,
    indexes: Vec<(bool, Sort)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: FieldPath,
    sort: Sort,
}

/// The mode of a field in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Ascending,
    Descending,
    Contains,
}

/// The index that one branch of a query needs.
#[derive(Debug, Default)]
struct Need {
    equal: BTreeSet<FieldPath>,
    contained: BTreeSet<FieldPath>,
    order: Vec<Entry>,
}

impl Indexes {
    /// Parses the file.
    pub fn parse(json: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(json).map_err(|error| format!("invalid index file: {error}"))?;
        let composites = file.indexes.into_iter().map(Index::read).collect::<Result<_, _>>()?;
        let overrides = file.field_overrides.into_iter().map(Override::read).collect::<Result<_, _>>()?;
        Ok(Self { composites, overrides })
    }

    /// Refuses a query that lacks its index.
    pub fn check(&self, plan: &Plan) -> Outcome<()> {
        self.check_ordered(plan, &plan.orders)
    }

    /// The same for an aggregation over some fields, which must be in the index.
    pub fn check_aggregation<'f>(&self, plan: &Plan, fields: impl Iterator<Item = &'f FieldPath>) -> Outcome<()> {
        let mut orders = plan.orders.clone();
        for path in fields {
            if orders.iter().all(|order| order.path != *path) {
                orders.insert(0, Order { path: path.clone(), descending: false });
            }
        }
        self.check_ordered(plan, &orders)
    }

    fn check_ordered(&self, plan: &Plan, orders: &[Order]) -> Outcome<()> {
        let branches = plan.filter.as_ref().map_or_else(|| vec![Vec::new()], Filter::branches);
        for branch in branches {
            let need = Need::of(&branch, orders);
            if !self.serves(plan, &need) {
                return Err(Refusal::new(Code::FailedPrecondition, need.describe(plan)));
            }
        }
        Ok(())
    }

    fn serves(&self, plan: &Plan, need: &Need) -> bool {
        let is_plain = need.equal.is_empty() && need.contained.is_empty();
        let by_name = Entry { path: FieldPath::name(), sort: Sort::Ascending };
        if is_plain && need.order == [by_name] {
            return true;
        }
        let composites = self
            .composites
            .iter()
            .filter(|index| index.collection == plan.collection && index.is_group == plan.descendants)
            .map(|index| index.fields.clone());
        let candidates = composites.chain(self.singles(plan, need));
        let prefixes: Vec<BTreeSet<FieldPath>> = candidates.filter_map(|fields| need.prefix(&fields)).collect();
        let covered: BTreeSet<&FieldPath> = prefixes.iter().flatten().collect();
        !prefixes.is_empty() && need.equal.union(&need.contained).all(|path| covered.contains(path))
    }

    /// The usable indexes of single fields.
    fn singles(&self, plan: &Plan, need: &Need) -> Vec<Vec<Entry>> {
        let ordered = need.order.iter().map(|entry| &entry.path);
        let paths: BTreeSet<&FieldPath> = need.equal.iter().chain(&need.contained).chain(ordered).collect();
        let singles = paths.into_iter().filter(|path| !path.is_name());
        singles
            .flat_map(|path| {
                let sorts = self.sorts(plan, path).into_iter();
                sorts.map(move |sort| vec![Entry { path: path.clone(), sort }])
            })
            .collect()
    }

    fn sorts(&self, plan: &Plan, path: &FieldPath) -> Vec<Sort> {
        let path = path.to_string();
        let is_of = |one: &&Override| {
            let rest = path.strip_prefix(&one.path);
            let is_field = one.path == "*" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            one.collection == plan.collection && is_field
        };
        // The nearest override: that of a map applies to all its fields.
        match self.overrides.iter().filter(is_of).max_by_key(|one| (one.path != "*", one.path.len())) {
            Some(nearest) => {
                let scoped = nearest.indexes.iter().filter(|(is_group, _)| *is_group == plan.descendants);
                scoped.map(|(_, sort)| *sort).collect()
            }
            None if plan.descendants => Vec::new(),
            None => vec![Sort::Ascending, Sort::Descending, Sort::Contains],
        }
    }
}

impl Need {
    fn of(branch: &[&Condition], orders: &[Order]) -> Self {
        let mut need = Self::default();
        for condition in branch.iter().filter(|condition| !condition.path.is_name()) {
            if condition.is_equality() {
                need.equal.insert(condition.path.clone());
            } else if condition.is_contains() {
                need.contained.insert(condition.path.clone());
            }
        }
        for order in orders {
            // Equal values of a field are in the order of that field.
            if !need.equal.contains(&order.path) {
                let sort = if order.descending { Sort::Descending } else { Sort::Ascending };
                need.order.push(Entry { path: order.path.clone(), sort });
            }
            if order.path.is_name() {
                break;
            }
        }
        need
    }

    /// The fields before the order in an index with this order, if the index is usable.
    fn prefix(&self, fields: &[Entry]) -> Option<BTreeSet<FieldPath>> {
        let mut fields = fields.to_vec();
        let last = fields.last()?.clone();
        if !last.path.is_name() {
            // Every index ends with the name, in the direction of the field before it.
            let sort = if last.sort == Sort::Descending { Sort::Descending } else { Sort::Ascending };
            fields.push(Entry { path: FieldPath::name(), sort });
        }
        let prefix = fields.strip_suffix(&self.order[..])?;
        let helps = |entry: &Entry| match entry.sort {
            Sort::Contains => self.contained.contains(&entry.path),
            _ => self.equal.contains(&entry.path),
        };
        prefix.iter().all(helps).then(|| prefix.iter().map(|entry| entry.path.clone()).collect())
    }

    fn describe(&self, plan: &Plan) -> String {
        let equal = self.equal.iter().map(|path| format!("{path} ASCENDING"));
        let contained = self.contained.iter().map(|path| format!("{path} CONTAINS"));
        let order = self.order.iter().map(|entry| match entry.sort {
            Sort::Descending => format!("{} DESCENDING", entry.path),
            _ => format!("{} ASCENDING", entry.path),
        });
        let fields: Vec<String> = equal.chain(contained).chain(order).collect();
        let scope = if plan.descendants { "COLLECTION_GROUP" } else { "COLLECTION" };
        format!("The query requires an index: {} in {scope} with {}", plan.collection, fields.join(", "))
    }
}

impl Index {
    fn read(file: FileIndex) -> Result<Self, String> {
        let fields = file.fields.iter().map(Entry::read).collect::<Result<_, _>>()?;
        Ok(Self { collection: file.collection_group, is_group: file.query_scope == Scope::CollectionGroup, fields })
    }
}

impl Override {
    fn read(file: FileOverride) -> Result<Self, String> {
        let indexes = file.indexes.into_iter().map(|one| {
            let sort = sort(one.order, one.array_config.is_some());
            sort.map(|sort| (one.query_scope == Scope::CollectionGroup, sort))
        });
        let indexes = indexes.collect::<Result<_, _>>()?;
        Ok(Self { collection: file.collection_group, path: file.field_path, indexes })
    }
}

impl Entry {
    fn read(file: &FileField) -> Result<Self, String> {
        let path = FieldPath::parse(&file.field_path).map_err(|refusal| refusal.message)?;
        Ok(Self { path, sort: sort(file.order, file.array_config.is_some())? })
    }
}

fn sort(order: Option<Direction>, contains: bool) -> Result<Sort, String> {
    match (order, contains) {
        (Some(Direction::Ascending), false) => Ok(Sort::Ascending),
        (Some(Direction::Descending), false) => Ok(Sort::Descending),
        (None, true) => Ok(Sort::Contains),
        _ => Err("invalid index file: a field has either an order or an arrayConfig".to_owned()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    indexes: Vec<FileIndex>,
    #[serde(default)]
    field_overrides: Vec<FileOverride>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileIndex {
    collection_group: String,
    #[serde(default)]
    query_scope: Scope,
    fields: Vec<FileField>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileOverride {
    collection_group: String,
    field_path: String,
    #[serde(default)]
    indexes: Vec<FileSingle>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileField {
    field_path: String,
    order: Option<Direction>,
    array_config: Option<Contains>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileSingle {
    #[serde(default)]
    query_scope: Scope,
    order: Option<Direction>,
    array_config: Option<Contains>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Scope {
    #[default]
    Collection,
    CollectionGroup,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Direction {
    Ascending,
    Descending,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Contains {
    Contains,
}
