//! What changes jobs: one commit each, of documents that still are as they were read.
//!
//! Nothing is locked on the server: a job, an account, a user's count are each written on condition that they have not
//! changed since they were read, as the mobile clients of Firestore do it. Whoever loses the race reads again. So a
//! process that dies in between leaves nothing that others wait for, and a read costs no more than a read.
//!
//! A repeat is recognised, whether this store repeats a commit whose answer was lost or the network does: each call has a
//! `writeId`, which stands in the job it wrote.

use gcloud_sdk::google::firestore::v1::{Document, Write};

use super::{
    FirestoreStore,
    documents::{self, Holder, guarded, is_written_by, merge, read_job, version_of, write_job},
    fields::Fields,
    ledger::{self, AccountUpdate},
    retry::Failure,
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

/// A name for one call, which nobody else has.
fn write_id(random: &dyn Random) -> String {
    format!("{:016x}", random.next_u64())
}

impl FirestoreStore {
    pub(super) async fn add(&self, op: &'static str, first: &Transition) -> Result<Inserted> {
        let account = first.job.account();
        ledger::check(op, &account, &first.ledger)?;
        let write_id = write_id(&**self.client.random());
        let _turn = self.account_locks.of(&account).await;
        let mut tries = self.client.tries();
        loop {
            let failure = match self.try_add(op, first, &account, &write_id, tries.is_unsure).await {
                Ok(inserted) => return Ok(inserted),
                Err(failure) => failure,
            };
            tries.again(failure).await?;
        }
    }

    async fn try_add(
        &self,
        op: &'static str,
        first: &Transition,
        account: &AccountId,
        write_id: &str,
        is_unsure: bool,
    ) -> std::result::Result<Inserted, Failure> {
        let (client, job) = (&self.client, &first.job);
        let mut names = vec![client.job(&job.id), client.tombstone(&job.id), client.user(&job.user)];
        names.extend(ledger::names(client, account, &first.ledger));
        let read = client.get(op, &names).await?;
        let [there, tombstone, user, payer, entries @ ..] = &read[..] else {
            return Err(BackendError::new(ErrorKind::Internal, op).into());
        };
        if let Some(there) = there {
            let is_ours = is_written_by(there, write_id);
            let there = read_job(op, there.clone())?;
            return Ok(if is_ours || (is_unsure && has_begun_as(&there, job)) {
                Inserted::New { version: FIRST, dispatched: false }
            } else {
                Inserted::Existing(Box::new(there))
            });
        }
        if tombstone.is_some() {
            return Ok(Inserted::Deleted);
        }
        let holder = Holder::read(op, user.as_ref())?;
        if holder.team != job.team {
            return Ok(Inserted::OtherTeam(holder.team));
        }
        let paying = Holder::read(op, payer.as_ref())?;
        let settled = match ledger::settle(client, &paying, &first.ledger, entries) {
            Ok(settled) => settled,
            Err(reason) => return Ok(Inserted::Refused(reason)),
        };
        if first.max_in_flight.is_some_and(|max| holder.in_flight >= u64::from(max.get())) {
            return Ok(Inserted::TooManyJobs);
        }
        let mut writes = vec![guarded(write_job(op, names[0].clone(), (job, FIRST), write_id)?, None)];
        let one_more = documents::in_flight(holder.in_flight + 1);
        // The user's document is written whoever pays, so that a move to another team in between is noticed.
        if matches!(account, AccountId::User(_)) {
            let mut fields: Fields = [one_more].into();
            if !settled.writes.is_empty() {
                fields.extend(Holder::account_fields(&settled.account, settled.entries));
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
        ledger::check(op, &account, &next.ledger)?;
        let write_id = write_id(&**self.client.random());
        // Most commits move no credits, and wait for nobody.
        let _turn = if next.ledger.is_empty() { None } else { Some(self.account_locks.of(&account).await) };
        let mut tries = self.client.tries();
        loop {
            let failure = match self.try_replace(op, expected, next, &account, &write_id, tries.is_unsure).await {
                Ok(()) => return Ok(Committed { version: Version(expected.0 + 1), dispatched: false }),
                Err(failure) => failure,
            };
            tries.again(failure).await?;
        }
    }

    async fn try_replace(
        &self,
        op: &'static str,
        expected: Version,
        next: &Transition,
        account: &AccountId,
        write_id: &str,
        is_unsure: bool,
    ) -> std::result::Result<(), Failure> {
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
                Some(there) if is_next && is_written_by(there, write_id) => Ok(()),
                // Written over, or deleted, since: whether it was ours before nobody can tell.
                _ if is_unsure && !is_next => Err(BackendError::new(ErrorKind::Timeout, op).into()),
                _ => Err(BackendError::new(ErrorKind::Conflict, op).into()),
            };
        };
        let version = Version(expected.0 + 1);
        let mut writes = vec![guarded(write_job(op, names[0].clone(), (job, version), write_id)?, Some(before))];
        let mut payer = None;
        if let [_, document, entries @ ..] = &read[..] {
            let holder = Holder::read(op, document.as_ref())?;
            let settled: AccountUpdate =
                ledger::settle(client, &holder, &next.ledger, entries).map_err(|reason| refused(op, reason))?;
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
            Some(payer) if matches!(after.account(), AccountId::User(_)) => vec![documents::adding(payer, change)],
            payer => payer.into_iter().chain([documents::count_jobs(user, change)]).collect(),
        }
    }

    pub(super) async fn remove(&self, op: &'static str, id: &JobId, expected: Version) -> Result<()> {
        let mut tries = self.client.tries();
        loop {
            match self.try_remove(op, id, expected).await {
                Ok(()) => return Ok(()),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    /// Removes a job that still is at a version, and remembers that its id is spent.
    async fn try_remove(&self, op: &'static str, id: &JobId, expected: Version) -> std::result::Result<(), Failure> {
        let Some(document) = self.client.get_one(op, self.client.job(id)).await? else { return Ok(()) };
        if version_of(&document) != Some(expected) {
            return Err(BackendError::new(ErrorKind::Conflict, op).into());
        }
        let mut writes = vec![documents::remove(&document), documents::write_tombstone(self.client.tombstone(id))];
        let user = documents::unfinished_of(&document, id.kind());
        writes.extend(user.map(|user| documents::count_jobs(self.client.user(&user), -1)));
        self.client.commit(op, writes).await
    }

    /// Writes what may be written any number of times.
    pub(super) async fn put(&self, op: &'static str, write: Write) -> Result<()> {
        let mut tries = self.client.tries();
        loop {
            match self.client.commit(op, vec![write.clone()]).await {
                Ok(()) => return Ok(()),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }
}

/// Whether a job that has moved on was this one when it was new.
fn has_begun_as(there: &Versioned<Job>, first: &Job) -> bool {
    there.version > FIRST
        && there.value.request_hash == first.request_hash
        && there.value.created_at == first.created_at
}

fn refused(op: &'static str, reason: CreditsError) -> BackendError {
    let kind = match reason {
        CreditsError::Insufficient { .. } => ErrorKind::Refused,
        CreditsError::NotHeld { .. } | CreditsError::Overflow => ErrorKind::Internal,
    };
    BackendError::new(kind, op).because(reason)
}
