//! Changes of jobs: one commit each, on condition that the documents are unchanged since they were read.
//!
//! This module locks nothing on the server: like Firestore's mobile clients, it writes a job, an account and a user's
//! count on that condition, and the loser of a race reads again. So a process that dies leaves no lock behind, and a read
//! costs no more than a read.
//!
//! Each call has a `writeId`, which it stores in the job. It identifies a repeat, whether this store repeats a commit whose
//! reply was lost or the network does.

use gcloud_sdk::google::firestore::v1::{Document, Write};

use super::{
    FirestoreStore,
    documents::{self, AccountHolder, guarded, is_written_by, merge, read_job, version_of, write_job},
    fields::Fields,
    ledger::{self, AccountUpdate},
    retry::AttemptError,
};
use crate::{
    domain::{
        clock::Random,
        credits::CreditsError,
        ids::{AccountId, JobId},
        job::{Job, Transition},
    },
    error::{BackendError, ErrorKind},
    store::{Committed, Inserted, Result, Version, Versioned},
};

const FIRST: Version = Version(1);

/// A unique name for one call.
fn write_id(random: &dyn Random) -> String {
    format!("{:016x}", random.next_u64())
}

impl FirestoreStore {
    pub(super) async fn add(&self, op: &'static str, first: &Transition) -> Result<Inserted> {
        let account = first.job.account();
        ledger::check_account(op, &account, &first.ledger)?;
        let write_id = write_id(&**self.client.random());
        let _guard = self.account_locks.of(&account).await;
        let mut retries = self.client.retries();
        loop {
            let failure = match self.try_add(op, first, &account, &write_id, retries.is_uncertain).await {
                Ok(inserted) => return Ok(inserted),
                Err(failure) => failure,
            };
            retries.retry(failure).await?;
        }
    }

    async fn try_add(
        &self,
        op: &'static str,
        first: &Transition,
        account: &AccountId,
        write_id: &str,
        is_uncertain: bool,
    ) -> std::result::Result<Inserted, AttemptError> {
        let (client, job) = (&self.client, &first.job);
        let mut names = vec![client.job(&job.id), client.tombstone(&job.id), client.user(&job.user)];
        names.extend(ledger::names(client, account, &first.ledger));
        let read = client.get(op, &names).await?;
        let [existing, tombstone, user, payer, entries @ ..] = &read[..] else {
            return Err(BackendError::new(ErrorKind::Internal, op).into());
        };
        if let Some(existing) = existing {
            let is_ours = is_written_by(existing, write_id);
            let existing = read_job(op, existing.clone())?;
            return Ok(if is_ours || (is_uncertain && is_successor_of(&existing, job)) {
                Inserted::New { version: FIRST, dispatched: false }
            } else {
                Inserted::Existing(Box::new(existing))
            });
        }
        if tombstone.is_some() {
            return Ok(Inserted::Deleted);
        }
        let holder = AccountHolder::read(op, user.as_ref())?;
        if holder.team != job.team {
            return Ok(Inserted::OtherTeam(holder.team));
        }
        let payer_account = AccountHolder::read(op, payer.as_ref())?;
        let settled = match ledger::apply_entries(client, &payer_account, &first.ledger, entries) {
            Ok(settled) => settled,
            Err(reason) => return Ok(Inserted::Refused(reason)),
        };
        if first.max_in_flight.is_some_and(|max| holder.in_flight >= u64::from(max.get())) {
            return Ok(Inserted::TooManyJobs);
        }
        let mut writes = vec![guarded(write_job(op, names[0].clone(), (job, FIRST), write_id)?, None)];
        let one_more = documents::in_flight(holder.in_flight + 1);
        // The user's document is always written, so that a concurrent move to another team makes the commit fail.
        if matches!(account, AccountId::User(_)) {
            let mut fields: Fields = [one_more].into();
            if !settled.writes.is_empty() {
                fields.extend(AccountHolder::account_fields(&settled.account, settled.entries));
            }
            writes.push(guarded(merge(names[2].clone(), fields), user.as_ref()));
        } else {
            writes.push(guarded(merge(names[2].clone(), [one_more].into()), user.as_ref()));
            writes.extend(ledger::write_account(&settled, names[3].clone(), payer.as_ref()));
        }
        writes.extend(settled.writes);
        client.commit(op, writes).await?;
        Ok(Inserted::New { version: FIRST, dispatched: false })
    }

    pub(super) async fn replace(&self, op: &'static str, expected: Version, next: &Transition) -> Result<Committed> {
        let account = next.job.account();
        ledger::check_account(op, &account, &next.ledger)?;
        let write_id = write_id(&**self.client.random());
        // Most commits move no credits and need no lock.
        let _guard = if next.ledger.is_empty() { None } else { Some(self.account_locks.of(&account).await) };
        let mut retries = self.client.retries();
        loop {
            let failure = match self.try_replace(op, expected, next, &account, &write_id, retries.is_uncertain).await {
                Ok(()) => return Ok(Committed { version: Version(expected.0 + 1), dispatched: false }),
                Err(failure) => failure,
            };
            retries.retry(failure).await?;
        }
    }

    async fn try_replace(
        &self,
        op: &'static str,
        expected: Version,
        next: &Transition,
        account: &AccountId,
        write_id: &str,
        is_uncertain: bool,
    ) -> std::result::Result<(), AttemptError> {
        let (client, job) = (&self.client, &next.job);
        let mut names = vec![client.job(&job.id)];
        if !next.ledger.is_empty() {
            names.extend(ledger::names(client, account, &next.ledger));
        }
        let read = client.get(op, &names).await?;
        let version = read[0].as_ref().and_then(version_of);
        let Some(before) = read[0].as_ref().filter(|_| version == Some(expected)) else {
            let is_next = version == Some(Version(expected.0 + 1));
            return match &read[0] {
                Some(existing) if is_next && is_written_by(existing, write_id) => Ok(()),
                // The job was written again or deleted since, so it is unknown whether this write happened.
                _ if is_uncertain && !is_next => Err(BackendError::new(ErrorKind::Timeout, op).into()),
                _ => Err(BackendError::new(ErrorKind::Conflict, op).into()),
            };
        };
        let version = Version(expected.0 + 1);
        let mut writes = vec![guarded(write_job(op, names[0].clone(), (job, version), write_id)?, Some(before))];
        let mut payer = None;
        if let [_, document, entries @ ..] = &read[..] {
            let holder = AccountHolder::read(op, document.as_ref())?;
            let settled: AccountUpdate =
                ledger::apply_entries(client, &holder, &next.ledger, entries).map_err(|reason| refused(op, reason))?;
            payer = ledger::write_account(&settled, names[1].clone(), document.as_ref());
            writes.extend(settled.writes);
        }
        writes.extend(self.counted(before, job, payer));
        client.commit(op, writes).await
    }

    /// The write of who pays, if any, and of the count of the user's unfinished jobs, if it changes: one, where that is
    /// the same document.
    fn counted(&self, before: &Document, after: &Job, payer: Option<Write>) -> Vec<Write> {
        let was = documents::unfinished_of(before, after.kind()).is_some();
        let change = i64::from(!after.status().is_final()) - i64::from(was);
        let user = self.client.user(&after.user);
        match payer {
            payer if change == 0 => payer.into_iter().collect(),
            Some(payer) if matches!(after.account(), AccountId::User(_)) => {
                vec![documents::with_job_count(payer, change)]
            }
            payer => payer.into_iter().chain([documents::count_jobs(user, change)]).collect(),
        }
    }

    pub(super) async fn remove(&self, op: &'static str, id: &JobId, expected: Version) -> Result<()> {
        let mut retries = self.client.retries();
        loop {
            match self.try_remove(op, id, expected).await {
                Ok(()) => return Ok(()),
                Err(failure) => retries.retry(failure).await?,
            }
        }
    }

    /// Removes a job that is still at this version, and records that its id is spent.
    async fn try_remove(
        &self,
        op: &'static str,
        id: &JobId,
        expected: Version,
    ) -> std::result::Result<(), AttemptError> {
        let Some(document) = self.client.get_one(op, self.client.job(id)).await? else { return Ok(()) };
        if version_of(&document) != Some(expected) {
            return Err(BackendError::new(ErrorKind::Conflict, op).into());
        }
        let mut writes = vec![documents::remove(&document), documents::write_tombstone(self.client.tombstone(id))];
        let user = documents::unfinished_of(&document, id.kind());
        writes.extend(user.map(|user| documents::count_jobs(self.client.user(&user), -1)));
        self.client.commit(op, writes).await
    }

    /// Makes an idempotent write.
    pub(super) async fn put(&self, op: &'static str, write: Write) -> Result<()> {
        let mut retries = self.client.retries();
        loop {
            match self.client.commit(op, vec![write.clone()]).await {
                Ok(()) => return Ok(()),
                Err(failure) => retries.retry(failure).await?,
            }
        }
    }
}

/// Whether the stored job is a later version of this new job.
fn is_successor_of(stored: &Versioned<Job>, first: &Job) -> bool {
    stored.version > FIRST
        && stored.value.request_hash == first.request_hash
        && stored.value.created_at == first.created_at
}

fn refused(op: &'static str, reason: CreditsError) -> BackendError {
    let kind = match reason {
        CreditsError::Insufficient { .. } => ErrorKind::Refused,
        CreditsError::NotHeld { .. } | CreditsError::Overflow => ErrorKind::Internal,
    };
    BackendError::new(kind, op).because(reason)
}
