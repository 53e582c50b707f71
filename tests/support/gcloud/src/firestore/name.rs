//! Resource names: `projects/P/databases/D/documents/COLLECTION/ID/…`.

use std::cmp::Ordering;

use super::refusal::{Outcome, Refusal};

const MAX_ID: usize = 1500;
const MAX_NAME: usize = 6 * 1024;
/// The number of segments before the document's: `projects/P/databases/D/documents`.
const ROOT: usize = 5;

/// The full name of a document or a collection, which is a prefix of names. Sorted by segments, like results.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    /// The name of a document.
    pub fn document(name: &str) -> Outcome<Self> {
        let path = path_of(name)?;
        let segments: Vec<&str> = path.split('/').collect();
        if !segments.len().is_multiple_of(2) || path.is_empty() {
            return Err(Refusal::invalid(format!(
                "Document name \"{name}\" has an odd number of segments after \"documents\"."
            )));
        }
        segments.iter().try_for_each(|id| check_id(id))?;
        if name.len() > MAX_NAME {
            return Err(Refusal::invalid(format!("Document name is longer than {MAX_NAME} bytes.")));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name of a document, which must be in this database.
    pub fn document_in(database: &str, name: &str) -> Outcome<Self> {
        let document = Self::document(name)?;
        if document.database() != database {
            return Err(Refusal::invalid(format!("Document \"{name}\" is not in the database \"{database}\".")));
        }
        Ok(document)
    }

    /// The parent of a query: the root of a database, or a document.
    pub fn parent(name: &str) -> Outcome<Self> {
        let path = path_of(name)?;
        if path.is_empty() { Ok(Self(name.trim_end_matches('/').to_owned())) } else { Self::document(name) }
    }

    /// The name of a child.
    pub fn child(&self, id: &str) -> Self {
        Self(format!("{}/{id}", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `projects/P/databases/D`.
    pub fn database(&self) -> &str {
        self.0.match_indices('/').nth(ROOT - 2).map_or(&self.0, |(at, _)| &self.0[..at])
    }

    /// Without the database: `COLLECTION/ID`.
    pub fn path(&self) -> &str {
        self.0.match_indices('/').nth(ROOT - 1).map_or("", |(at, _)| &self.0[at + 1..])
    }

    /// The path of its collection.
    pub fn collection(&self) -> &str {
        self.path().rsplit_once('/').map_or("", |(collection, _)| collection)
    }

    /// The last segment of the path of its collection.
    pub fn collection_id(&self) -> &str {
        self.collection().rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is below this name at any depth.
    pub fn is_below(&self, parent: &Self) -> bool {
        self.0.strip_prefix(&parent.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether it is a document directly in this collection.
    pub fn is_in(&self, collection: &Self) -> bool {
        self.0.strip_prefix(&collection.0).and_then(|rest| rest.strip_prefix('/')).is_some_and(|id| !id.contains('/'))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of names: segment by segment.
pub fn compare(one: &str, other: &str) -> Ordering {
    one.split('/').cmp(other.split('/'))
}

/// Checks the name of a database.
pub fn check_database(name: &str) -> Outcome<()> {
    let segments: Vec<&str> = name.split('/').collect();
    match segments[..] {
        ["projects", project, "databases", database] if !project.is_empty() && !database.is_empty() => Ok(()),
        _ => Err(Refusal::invalid(format!("Invalid database name \"{name}\", expected projects/P/databases/D."))),
    }
}

fn path_of(name: &str) -> Outcome<&str> {
    let invalid = || Refusal::invalid(format!("Invalid resource name \"{name}\"."));
    let segments: Vec<&str> = name.splitn(ROOT + 1, '/').collect();
    match segments[..] {
        [projects, project, databases, database, documents, ..]
            if [projects, databases, documents] == ["projects", "databases", "documents"]
                && !project.is_empty()
                && !database.is_empty() =>
        {
            Ok(segments.get(ROOT).copied().unwrap_or_default())
        }
        _ => Err(invalid()),
    }
}

/// Checks one id of a path: a document's or a collection's.
fn check_id(id: &str) -> Outcome<()> {
    let reserved = id.len() > 3 && id.starts_with("__") && id.ends_with("__");
    if id.is_empty() || id == "." || id == ".." || reserved || id.len() > MAX_ID {
        return Err(Refusal::invalid(format!("Resource id \"{id}\" is invalid.")));
    }
    Ok(())
}
