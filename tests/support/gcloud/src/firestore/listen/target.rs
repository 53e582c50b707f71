//! A target of a listener: a query, or some documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gcloud_sdk::google::firestore::v1::{
    Document, Target as TargetRequest,
    target::{QueryTarget, ResumeType, TargetType, query_target::QueryType},
};

use crate::firestore::{
    documents::Documents,
    moment::Moment,
    name::Name,
    query::Plan,
    refusal::{Outcome, Refusal},
    state::State,
};

/// The documents that the client has received, by name.
type KnownDocuments = BTreeMap<Name, Arc<Document>>;

#[derive(Debug)]
pub struct Target {
    wanted: Wanted,
    known: KnownDocuments,
    age: Age,
    /// Whether it ends as soon as it is current.
    pub once: bool,
}

#[derive(Debug)]
enum Wanted {
    Query(Box<Plan>),
    Documents(BTreeSet<Name>),
}

/// How much a client has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// Nothing.
    New,
    /// The state at the time from which it resumes.
    Resumed,
    /// Everything up to the last response.
    Current,
}

/// A change that a client must receive.
#[derive(Debug)]
pub enum Change {
    /// The document is new or changed.
    Is(Document),
    /// The document no longer matches.
    Left(Name),
    /// The document was deleted.
    Deleted(Name),
}

impl Change {
    /// Whether it counts as a read.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Is(_))
    }
}

impl Target {
    /// Opens a target. Also returns whether the client must discard its state.
    pub fn open(state: &mut State, database: &str, request: TargetRequest) -> Outcome<(Self, bool)> {
        let wanted = match request.target_type {
            Some(TargetType::Query(QueryTarget { parent, query_type: Some(QueryType::StructuredQuery(query)) })) => {
                Wanted::Query(Box::new(state.plan(&parent, query)?))
            }
            Some(TargetType::Documents(documents)) => {
                let names = documents.documents.iter().map(|name| Name::document_in(database, name));
                Wanted::Documents(names.collect::<Outcome<_>>()?)
            }
            _ => return Err(Refusal::invalid("A target has neither a query nor documents.")),
        };
        let mut target = Self { wanted, known: KnownDocuments::new(), age: Age::New, once: request.once };
        let since = match request.resume_type {
            None => return Ok((target, false)),
            Some(ResumeType::ResumeToken(token)) => Moment::from_token(&token)?,
            Some(ResumeType::ReadTime(at)) => Moment::aligned(&at)?,
        };
        if since > state.read_time() {
            return Err(Refusal::invalid("A target resumes in the future."));
        }
        if since < state.documents.horizon() {
            return Ok((target, true));
        }
        target.known = target.view(&state.documents, since);
        target.age = Age::Resumed;
        Ok((target, false))
    }

    /// Whether the client has not yet been told that the target is current.
    pub fn is_fresh(&self) -> bool {
        self.age != Age::Current
    }

    /// Advances to a time and returns the changes for the client. `changed` are the documents that have changed since the
    /// last time, if that is known.
    pub fn advance(&mut self, documents: &Documents, at: Moment, changed: Option<&BTreeSet<Name>>) -> Vec<Change> {
        let age = std::mem::replace(&mut self.age, Age::Current);
        let changed = changed.filter(|changed| age == Age::Current && self.goes_by_document(changed));
        let now: BTreeMap<Name, Option<Arc<Document>>> = if let Some(names) = changed {
            names.iter().map(|name| (name.clone(), self.find(documents, name, at))).collect()
        } else {
            let gone = self.known.keys().map(|name| (name.clone(), None));
            let view = self.view(documents, at).into_iter().map(|(name, document)| (name, Some(document)));
            gone.chain(view).collect()
        };
        let mut news: Vec<Change> =
            now.into_iter().filter_map(|(name, found)| self.learn(documents, name, found, at)).collect();
        if let (Age::New, Wanted::Documents(names)) = (age, &self.wanted) {
            let missing = names.iter().filter(|name| !self.known.contains_key(name));
            news.extend(missing.cloned().map(Change::Deleted));
        }
        news
    }

    /// Updates a document in the client's state and returns the change.
    fn learn(&mut self, documents: &Documents, name: Name, found: Option<Arc<Document>>, at: Moment) -> Option<Change> {
        let Some(document) = found else {
            self.known.remove(&name)?;
            let exists = documents.at(&name, at).is_some();
            return Some(if exists { Change::Left(name) } else { Change::Deleted(name) });
        };
        let before = self.known.insert(name, Arc::clone(&document));
        let is_same = before.is_some_and(|before| Arc::ptr_eq(&before, &document));
        (!is_same).then(|| Change::Is(self.project(&document)))
    }

    fn view(&self, documents: &Documents, at: Moment) -> KnownDocuments {
        match &self.wanted {
            Wanted::Query(plan) => {
                let found = plan.run(documents, at).into_iter();
                found.filter_map(|document| Some((Name::document(&document.name).ok()?, document))).collect()
            }
            Wanted::Documents(names) => {
                let found = names.iter().filter_map(|name| Some((name.clone(), documents.at(name, at)?.clone())));
                found.collect()
            }
        }
    }

    fn find(&self, documents: &Documents, name: &Name, at: Moment) -> Option<Arc<Document>> {
        let document = documents.at(name, at)?;
        let is_wanted = match &self.wanted {
            Wanted::Query(plan) => plan.matches(name, document),
            Wanted::Documents(names) => names.contains(name),
        };
        is_wanted.then(|| Arc::clone(document))
    }

    /// Whether each document matches independently of the others, which is not so with a limit.
    fn goes_by_document(&self, changed: &BTreeSet<Name>) -> bool {
        match &self.wanted {
            Wanted::Query(plan) => !plan.is_limited() || changed.iter().all(|name| !plan.covers(name)),
            Wanted::Documents(_) => true,
        }
    }

    fn project(&self, document: &Document) -> Document {
        match &self.wanted {
            Wanted::Query(plan) => plan.project(document),
            Wanted::Documents(_) => document.clone(),
        }
    }
}
