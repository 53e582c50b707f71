//! The documents with their past versions, as far back as a read may go.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use gcloud_sdk::google::firestore::v1::Document;

use super::{moment::Moment, name::Name};

/// A document from a time on; `None` if it did not exist.
#[derive(Debug)]
struct Version {
    at: Moment,
    document: Option<Arc<Document>>,
}

/// The documents of all databases.
#[derive(Debug, Default)]
pub struct Documents {
    histories: BTreeMap<Name, Vec<Version>>,
    changes: VecDeque<(Moment, Name)>,
    /// Versions before this time are dropped.
    horizon: Moment,
}

impl Documents {
    /// The document as of a time.
    pub fn at(&self, name: &Name, at: Moment) -> Option<&Arc<Document>> {
        as_of(self.histories.get(name)?, at)
    }

    /// The current document.
    pub fn latest(&self, name: &Name) -> Option<&Arc<Document>> {
        self.histories.get(name)?.last()?.document.as_ref()
    }

    /// All documents below a document, a collection or the root, as of a time, sorted by name.
    pub fn below<'d>(&'d self, parent: &'d Name, at: Moment) -> impl Iterator<Item = (&'d Name, &'d Arc<Document>)> {
        self.histories
            .range(parent.clone()..)
            .skip_while(move |(name, _)| *name == parent)
            .take_while(move |(name, _)| name.is_below(parent))
            .filter_map(move |(name, history)| Some((name, as_of(history, at)?)))
    }

    /// All current documents.
    pub fn all(&self) -> impl Iterator<Item = (&Name, &Arc<Document>)> {
        self.histories.iter().filter_map(|(name, history)| Some((name, history.last()?.document.as_ref()?)))
    }

    /// Whether a document has changed after a time.
    pub fn has_changed(&self, name: &Name, since: Moment) -> bool {
        self.histories.get(name).and_then(|history| history.last()).is_some_and(|version| version.at > since)
    }

    /// The documents that have changed after a time, which must not be before [`Self::horizon`].
    pub fn changed(&self, since: Moment) -> impl Iterator<Item = &Name> {
        let first = self.changes.partition_point(|(at, _)| *at <= since);
        self.changes.range(first..).map(|(_, name)| name)
    }

    pub fn horizon(&self) -> Moment {
        self.horizon
    }

    /// Writes a new version of a document.
    pub fn put(&mut self, name: Name, document: Option<Arc<Document>>, at: Moment) {
        self.changes.push_back((at, name.clone()));
        let horizon = self.horizon;
        let history = self.histories.entry(name).or_default();
        history.push(Version { at, document });
        forget(history, horizon);
    }

    /// Reads no longer go back to before this time.
    pub fn set_horizon(&mut self, horizon: Moment) {
        self.horizon = self.horizon.max(horizon);
        while self.changes.front().is_some_and(|(at, _)| *at <= self.horizon) {
            let Some((_, name)) = self.changes.pop_front() else { return };
            let Some(history) = self.histories.get_mut(&name) else { continue };
            forget(history, self.horizon);
            if matches!(&history[..], [Version { document: None, at }] if *at <= self.horizon) {
                self.histories.remove(&name);
            }
        }
    }
}

fn as_of(history: &[Version], at: Moment) -> Option<&Arc<Document>> {
    let after = history.partition_point(|version| version.at <= at);
    history[..after].last()?.document.as_ref()
}

/// Drops the versions that were replaced before the horizon.
fn forget(history: &mut Vec<Version>, horizon: Moment) {
    let after = history.partition_point(|version| version.at <= horizon);
    history.drain(..after.saturating_sub(1));
}
