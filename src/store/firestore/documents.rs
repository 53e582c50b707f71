//! What stands in which document.
//!
//! | document | fields |
//! |---|---|
//! | `illustrations/{id}`, `brands/{id}` | those of [`JobDocument`], `removableSince`, and two of this store: `changedAt` (the server's time of the write, by which changes are followed) and `writeId` (random; tells who wrote) |
//! | `users/{userId}` | the account, `teamId`, `jobsInFlight` (unfinished jobs, whoever pays), and what others keep there |
//! | `teams/{teamId}` | the account |
//! | `ledger/{entryId}` | `account`, `jobId`, `verb`, `amount`, `at`, `number` (counts the account's entries from 1) |
//! | `deleted/{jobId}` | `deletedAt`: the id is spent |
//!
//! An account is `credits`, `creditsHeld`, `creditsSpent`, `creditsGranted` and `ledgerEntries` (how many there are).

use gcloud_sdk::google::firestore::v1::{
    Document, DocumentMask, Precondition, Value, Write,
    document_transform::{
        FieldTransform,
        field_transform::{ServerValue, TransformType},
    },
    precondition::ConditionType,
    write::Operation,
};

use super::{
    client::FirestoreClient,
    fields::{self, Fields, from_fields, integer, moment, string, to_fields},
};
use crate::{
    domain::{
        Timestamp,
        credits::{Account, Credits, LedgerEntry, Verb},
        ids::{AccountId, JobId, TeamId, UserId},
        job::{Job, Status},
        kind::JobKind,
    },
    error::{BackendError, ErrorKind},
    store::{Version, Versioned, document::JobDocument},
};

pub(super) const LEDGER: &str = "ledger";
pub(super) const CHANGED_AT: &str = "changedAt";
pub(super) const REMOVABLE_SINCE: &str = "removableSince";
const WRITE_ID: &str = "writeId";
const TEAM_ID: &str = "teamId";
const JOBS_IN_FLIGHT: &str = "jobsInFlight";
const ENTRIES: &str = "ledgerEntries";

impl FirestoreClient {
    pub(super) fn job(&self, id: &JobId) -> String {
        self.name(id.kind().collection(), id.as_str())
    }

    pub(super) fn tombstone(&self, id: &JobId) -> String {
        self.name("deleted", id.as_str())
    }

    pub(super) fn user(&self, id: &UserId) -> String {
        self.name("users", id.as_str())
    }

    pub(super) fn account(&self, id: &AccountId) -> String {
        format!("{}/{id}", self.documents())
    }

    /// A grant's id ends in what its giver chose; a slash would make it a path.
    pub(super) fn entry(&self, id: &str) -> String {
        self.name(LEDGER, &id.replace('%', "%25").replace('/', "%2F"))
    }
}

/// The id of an entry by the name of its document.
fn entry_id(name: &str) -> String {
    let id = name.rsplit('/').next().unwrap_or_default();
    id.replace("%2F", "/").replace("%25", "%")
}

/// Data that cannot be read back.
fn broken(op: &'static str, why: String) -> BackendError {
    BackendError::new(ErrorKind::Broken, op).because(why)
}

/// The write that makes a job's document what it is at a version.
pub(super) fn write_job(
    op: &'static str,
    name: String,
    (job, version): (&Job, Version),
    write_id: &str,
) -> Result<Write, BackendError> {
    let unfit = |error: fields::Unfit| BackendError::new(ErrorKind::Internal, op).because(error);
    let mut fields = to_fields(&JobDocument::new(job, version)).map_err(unfit)?;
    fields.insert(WRITE_ID.to_owned(), string(write_id));
    if let Some(since) = job.removable_since() {
        fields.insert(REMOVABLE_SINCE.to_owned(), moment(since));
    }
    Ok(Write { update_transforms: vec![server_time(CHANGED_AT)], ..replace(name, fields) })
}

/// The job of a document.
pub(super) fn read_job(op: &'static str, document: Document) -> Result<Versioned<Job>, BackendError> {
    let unfit = |error: &dyn std::fmt::Display| broken(op, format!("{}: {error}", document.name));
    let fields: JobDocument = from_fields(document.fields).map_err(|error| unfit(&error))?;
    fields.into_job().map_err(|error| unfit(&error))
}

/// The jobs of documents. One that is damaged is reported and left out: it must not keep a sweep from every other.
pub(super) fn readable_jobs(op: &'static str, documents: Vec<Document>) -> Vec<Versioned<Job>> {
    let read = |document| match read_job(op, document) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::error!(%error, "a job that a sweep is for cannot be read");
            None
        }
    };
    documents.into_iter().filter_map(read).collect()
}

/// The version a job's document is at.
pub(super) fn version_of(document: &Document) -> Option<Version> {
    Some(Version(fields::whole(&document.fields, "version")?.unsigned_abs()))
}

/// Whose job a document is, if it is not finished; told without reading the whole of it, which may be damaged.
pub(super) fn unfinished_of(document: &Document, kind: JobKind) -> Option<UserId> {
    let status = Status::from_shown(fields::text(&document.fields, "status")?, kind)?;
    let user = fields::text(&document.fields, "userId")?.parse().ok()?;
    (!status.is_final()).then_some(user)
}

/// Whether the document is as this write left it.
pub(super) fn is_written_by(document: &Document, write_id: &str) -> bool {
    fields::text(&document.fields, WRITE_ID) == Some(write_id)
}

/// When the database wrote the document.
pub(super) fn updated(document: &Document) -> Option<Timestamp> {
    document.update_time.as_ref().and_then(fields::domain_time)
}

/// A user or a team, as far as it concerns jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct Holder {
    pub account: Option<Account>,
    /// Ledger entries so far.
    pub entries: u64,
    pub team: Option<TeamId>,
    pub in_flight: u64,
}

impl Holder {
    pub(super) fn read(op: &'static str, document: Option<&Document>) -> Result<Self, BackendError> {
        let Some(document) = document else { return Ok(Self::default()) };
        let number = |name| fields::whole(&document.fields, name);
        let credits = |name| -> Result<Credits, BackendError> {
            let found = number(name).and_then(|credits| Credits::try_from(credits).ok());
            found.ok_or_else(|| broken(op, format!("{}: {name} is not a number of credits", document.name)))
        };
        // Nothing was ever granted to who has a document for another reason.
        let account = if document.fields.contains_key("creditsGranted") {
            let (available, held) = (credits("credits")?, credits("creditsHeld")?);
            Some(Account { available, held, spent: credits("creditsSpent")?, granted: credits("creditsGranted")? })
        } else {
            None
        };
        let team = fields::text(&document.fields, TEAM_ID).map(str::parse).transpose();
        Ok(Self {
            account,
            entries: number(ENTRIES).and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
            team: team.map_err(|error| broken(op, format!("{}: {error}", document.name)))?,
            in_flight: number(JOBS_IN_FLIGHT).and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
        })
    }

    /// The fields of the account, with the length of its ledger.
    pub(super) fn account_fields(account: &Account, entries: u64) -> Fields {
        // The domain keeps every sum within an i64.
        let number = |credits: u64| integer(i64::try_from(credits).unwrap_or(i64::MAX));
        let Account { available, held, spent, granted } = *account;
        [
            ("credits", available),
            ("creditsHeld", held),
            ("creditsSpent", spent),
            ("creditsGranted", granted),
            (ENTRIES, entries),
        ]
        .map(|(name, credits)| (name.to_owned(), number(credits)))
        .into()
    }
}

/// The write that puts a user into a team, or out of any.
pub(super) fn write_team(name: String, team: Option<&TeamId>) -> Write {
    let fields = team.map(|team| (TEAM_ID.to_owned(), string(team.as_str()))).into_iter().collect();
    // A field that is named and not there is removed.
    let update_mask = Some(DocumentMask { field_paths: vec![TEAM_ID.to_owned()] });
    Write { update_mask, ..replace(name, fields) }
}

/// The write that changes how many unfinished jobs a user has, whatever else happens to the document.
pub(super) fn count_jobs(name: String, by: i64) -> Write {
    adding(merge(name, Fields::new()), by)
}

/// The same write, which counts jobs, too.
pub(super) fn adding(write: Write, by: i64) -> Write {
    let transform = FieldTransform {
        field_path: JOBS_IN_FLIGHT.to_owned(),
        transform_type: Some(TransformType::Increment(integer(by))),
    };
    Write { update_transforms: vec![transform], ..write }
}

/// The write of a ledger entry.
pub(super) fn write_entry(name: String, entry: &LedgerEntry, number: u64) -> Write {
    let LedgerEntry { id: _, account, job_id, verb, amount, at } = entry;
    let whole = |number: u64| integer(i64::try_from(number).unwrap_or(i64::MAX));
    let mut fields: Fields = [
        ("account", string(account.to_string())),
        ("verb", string(verb.to_string())),
        ("amount", whole(*amount)),
        ("at", moment(*at)),
        ("number", whole(number)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    fields.extend(job_id.as_ref().map(|id| ("jobId".to_owned(), string(id.as_str()))));
    Write { current_document: Some(unless_there()), ..replace(name, fields) }
}

/// The ledger entry of a document.
pub(super) fn read_entry(op: &'static str, document: &Document) -> Result<LedgerEntry, BackendError> {
    let missing = |name: &str| broken(op, format!("{}: no usable {name}", document.name));
    let text = |name: &'static str| fields::text(&document.fields, name);
    let verb = |word: &str| {
        [Verb::Grant, Verb::Hold, Verb::Capture, Verb::Release].into_iter().find(|verb| verb.to_string() == word)
    };
    Ok(LedgerEntry {
        id: entry_id(&document.name),
        account: text("account").and_then(|id| id.parse().ok()).ok_or_else(|| missing("account"))?,
        job_id: text("jobId").map(str::parse).transpose().map_err(|_| missing("jobId"))?,
        verb: text("verb").and_then(verb).ok_or_else(|| missing("verb"))?,
        amount: fields::whole(&document.fields, "amount").ok_or_else(|| missing("amount"))?.unsigned_abs(),
        at: fields::time(&document.fields, "at").ok_or_else(|| missing("at"))?,
    })
}

/// The write that remembers that an id is spent.
pub(super) fn write_tombstone(name: String) -> Write {
    Write { update_transforms: vec![server_time("deletedAt")], ..replace(name, Fields::new()) }
}

/// The write that removes a document which still is as it was read.
pub(super) fn remove(document: &Document) -> Write {
    Write {
        operation: Some(Operation::Delete(document.name.clone())),
        current_document: Some(unchanged(Some(document))),
        ..Write::default()
    }
}

/// The write of these fields; others stay as they are.
pub(super) fn merge(name: String, fields: Fields) -> Write {
    let update_mask = Some(DocumentMask { field_paths: fields.keys().cloned().collect() });
    Write { update_mask, ..replace(name, fields) }
}

fn replace(name: String, fields: Fields) -> Write {
    let document = Document { name, fields, ..Document::default() };
    Write { operation: Some(Operation::Update(document)), ..Write::default() }
}

/// A write that happens only while the document is as it was read; not there, where it was not.
pub(super) fn guarded(write: Write, read: Option<&Document>) -> Write {
    Write { current_document: Some(unchanged(read)), ..write }
}

fn unchanged(read: Option<&Document>) -> Precondition {
    match read.and_then(|document| document.update_time) {
        Some(at) => Precondition { condition_type: Some(ConditionType::UpdateTime(at)) },
        None => unless_there(),
    }
}

fn unless_there() -> Precondition {
    Precondition { condition_type: Some(ConditionType::Exists(false)) }
}

fn server_time(field: &str) -> FieldTransform {
    let now = TransformType::SetToServerValue(ServerValue::RequestTime.into());
    FieldTransform { field_path: field.to_owned(), transform_type: Some(now) }
}

/// How many jobs a user has with one more.
pub(super) fn in_flight(count: u64) -> (String, Value) {
    (JOBS_IN_FLIGHT.to_owned(), integer(i64::try_from(count).unwrap_or(i64::MAX)))
}
