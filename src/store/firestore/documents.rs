//! The documents and their fields.
//!
//! | document | fields |
//! |---|---|
//! | `illustrations/{id}`, `brands/{id}` | the fields of [`JobDocument`], `removableSince`, and two of this store: `changedAt` (the server's time of the write; watches follow it) and `writeId` (random; identifies the write) |
//! | `users/{userId}` | the account, `teamId`, `jobsInFlight` (all unfinished jobs of the user, paid by the user or the team), and fields of other programs |
//! | `teams/{teamId}` | the account |
//! | `ledger/{entryId}` | `account`, `jobId`, `verb`, `amount`, `at`, `number` (counts the account's entries from 1) |
//! | `deleted/{jobId}` | `deletedAt`: the id is spent |
//!
//! An account is `credits`, `creditsHeld`, `creditsSpent`, `creditsGranted` and `ledgerEntries` (their number).

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

    /// The last part of a grant's id is free text; a slash in it would make it a path.
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

/// The write of a job at a version.
pub(super) fn write_job(
    op: &'static str,
    name: String,
    (job, version): (&Job, Version),
    write_id: &str,
) -> Result<Write, BackendError> {
    let not_storable = |error: fields::ConversionError| BackendError::new(ErrorKind::Internal, op).because(error);
    let mut fields = to_fields(&JobDocument::new(job, version)).map_err(not_storable)?;
    fields.insert(WRITE_ID.to_owned(), string(write_id));
    if let Some(since) = job.removable_since() {
        fields.insert(REMOVABLE_SINCE.to_owned(), moment(since));
    }
    Ok(Write { update_transforms: vec![server_time(CHANGED_AT)], ..replace(name, fields) })
}

/// The job of a document.
pub(super) fn read_job(op: &'static str, document: Document) -> Result<Versioned<Job>, BackendError> {
    let invalid = |error: &dyn std::fmt::Display| broken(op, format!("{}: {error}", document.name));
    let fields: JobDocument = from_fields(document.fields).map_err(|error| invalid(&error))?;
    fields.into_job().map_err(|error| invalid(&error))
}

/// The jobs of these documents. A damaged one is logged and left out: it must not keep a sweep from the others.
pub(super) fn readable_jobs(op: &'static str, documents: Vec<Document>) -> Vec<Versioned<Job>> {
    let read = |document| match read_job(op, document) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::error!(%error, "cannot read a job that needs a sweep");
            None
        }
    };
    documents.into_iter().filter_map(read).collect()
}

/// The version of a job's document.
pub(super) fn version_of(document: &Document) -> Option<Version> {
    Some(Version(fields::whole(&document.fields, "version")?.unsigned_abs()))
}

/// The user of an unfinished job. Reads two fields only, because the rest may be damaged.
pub(super) fn unfinished_of(document: &Document, kind: JobKind) -> Option<UserId> {
    let status = Status::from_shown(fields::text(&document.fields, "status")?, kind)?;
    let user = fields::text(&document.fields, "userId")?.parse().ok()?;
    (!status.is_final()).then_some(user)
}

/// Whether this write was the last one of the document.
pub(super) fn is_written_by(document: &Document, write_id: &str) -> bool {
    fields::text(&document.fields, WRITE_ID) == Some(write_id)
}

/// When the database wrote the document.
pub(super) fn updated(document: &Document) -> Option<Timestamp> {
    document.update_time.as_ref().and_then(fields::domain_time)
}

/// A user or a team with its account.
#[derive(Debug, Clone, Default)]
pub(super) struct AccountHolder {
    pub account: Option<Account>,
    /// Ledger entries so far.
    pub entries: u64,
    pub team: Option<TeamId>,
    pub in_flight: u64,
}

impl AccountHolder {
    pub(super) fn read(op: &'static str, document: Option<&Document>) -> Result<Self, BackendError> {
        let Some(document) = document else { return Ok(Self::default()) };
        let number = |name| fields::whole(&document.fields, name);
        let credits = |name| -> Result<Credits, BackendError> {
            let found = number(name).and_then(|credits| Credits::try_from(credits).ok());
            found.ok_or_else(|| broken(op, format!("{}: {name} is not a number of credits", document.name)))
        };
        // A document without this field exists for another reason and has no account.
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

/// The write that puts a user into a team, or removes it from its team.
pub(super) fn write_team(name: String, team: Option<&TeamId>) -> Write {
    let fields = team.map(|team| (TEAM_ID.to_owned(), string(team.as_str()))).into_iter().collect();
    // A field in the mask without a value is removed.
    let update_mask = Some(DocumentMask { field_paths: vec![TEAM_ID.to_owned()] });
    Write { update_mask, ..replace(name, fields) }
}

/// The write that changes a user's number of unfinished jobs, independently of other changes of the document.
pub(super) fn count_jobs(name: String, by: i64) -> Write {
    with_job_count(merge(name, Fields::new()), by)
}

/// Makes a write also change the number of unfinished jobs.
pub(super) fn with_job_count(write: Write, by: i64) -> Write {
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
    Write { current_document: Some(unless_exists()), ..replace(name, fields) }
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

/// The write that records that an id is spent.
pub(super) fn write_tombstone(name: String) -> Write {
    Write { update_transforms: vec![server_time("deletedAt")], ..replace(name, Fields::new()) }
}

/// The write that removes a document if it is unchanged since it was read.
pub(super) fn remove(document: &Document) -> Write {
    Write {
        operation: Some(Operation::Delete(document.name.clone())),
        current_document: Some(unchanged(Some(document))),
        ..Write::default()
    }
}

/// The write of these fields only.
pub(super) fn merge(name: String, fields: Fields) -> Write {
    let update_mask = Some(DocumentMask { field_paths: fields.keys().cloned().collect() });
    Write { update_mask, ..replace(name, fields) }
}

fn replace(name: String, fields: Fields) -> Write {
    let document = Document { name, fields, ..Document::default() };
    Write { operation: Some(Operation::Update(document)), ..Write::default() }
}

/// Makes a write conditional: the document must be unchanged since it was read, or still absent.
pub(super) fn guarded(write: Write, read: Option<&Document>) -> Write {
    Write { current_document: Some(unchanged(read)), ..write }
}

fn unchanged(read: Option<&Document>) -> Precondition {
    match read.and_then(|document| document.update_time) {
        Some(at) => Precondition { condition_type: Some(ConditionType::UpdateTime(at)) },
        None => unless_exists(),
    }
}

fn unless_exists() -> Precondition {
    Precondition { condition_type: Some(ConditionType::Exists(false)) }
}

fn server_time(field: &str) -> FieldTransform {
    let now = TransformType::SetToServerValue(ServerValue::RequestTime.into());
    FieldTransform { field_path: field.to_owned(), transform_type: Some(now) }
}

/// The field with a user's number of unfinished jobs.
pub(super) fn in_flight(count: u64) -> (String, Value) {
    (JOBS_IN_FLIGHT.to_owned(), integer(i64::try_from(count).unwrap_or(i64::MAX)))
}
