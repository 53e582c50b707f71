//! Pages of jobs, and jobs that need a sweep. Each query reads a range of one index, whatever the size of the collection.

use futures::future::try_join_all;
use gcloud_sdk::google::firestore::v1::{
    Document, StructuredQuery,
    structured_query::{Direction, Filter, field_filter::Operator},
};

use super::{
    FirestoreStore,
    documents::{REMOVABLE_SINCE, read_job, readable_jobs},
    fields::{self, array, moment, reference, string},
    query::{any, filter, limited, ordered, query, starting_after},
};
use crate::{
    domain::{
        Timestamp,
        job::{Job, Status},
        kind::JobKind,
    },
    store::{JobFilter, Owner, Page, PageRequest, Result, Versioned},
};

/// The most pages that a sweep reads past damaged jobs.
const MAX_PAGES: usize = 10;

/// The fields that name the owner of a job, each with the value that a listed job has.
fn owners(owner: &Owner) -> Vec<(&'static str, &str)> {
    match owner {
        Owner::User(user) => vec![("userId", user.as_str())],
        Owner::Team(team) => vec![("teamId", team.as_str())],
        Owner::Member(user, team) => vec![("userId", user.as_str()), ("teamId", team.as_str())],
    }
}

/// Whether the status is one of these.
pub(super) fn in_status(statuses: impl IntoIterator<Item = Status>, kind: JobKind) -> Filter {
    let words = statuses.into_iter().map(|status| string(status.shown_as(kind))).collect();
    filter("status", Operator::In, array(words))
}

impl FirestoreStore {
    pub(super) async fn page(
        &self,
        op: &'static str,
        wanted: &JobFilter,
        request: &PageRequest,
    ) -> Result<Page<Versioned<Job>>> {
        let owners = owners(&wanted.owner);
        let is_owned = |document: &Document| {
            owners.iter().any(|(field, owner)| fields::text(&document.fields, field) == Some(owner))
        };
        let theirs = owners.iter().map(|(field, owner)| filter(field, Operator::Equal, string(*owner))).collect();
        let mut filters = vec![any(theirs)];
        if !wanted.statuses.is_empty() {
            filters.push(in_status(wanted.statuses.iter().copied(), wanted.kind));
        }
        let mut page =
            ordered(query(wanted.kind.collection(), filters), &["createdAt", "__name__"], Direction::Descending);
        if let Some(after) = request.after.as_ref() {
            let last = if after.kind() == wanted.kind {
                self.client.get_one(op, self.client.job(after)).await?.filter(is_owned)
            } else {
                None
            };
            let Some((last, at)) = last.and_then(|last| fields::time(&last.fields, "createdAt").map(|at| (last, at)))
            else {
                return Ok(Page { items: Vec::new(), has_more: false });
            };
            page = starting_after(page, vec![moment(at), reference(last.name)]);
        }
        let limit = request.limit.max(1);
        let mut found = self.client.query(op, limited(page, limit.saturating_add(1))).await?.documents;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let items = found.into_iter().map(|document| read_job(op, document)).collect::<Result<_>>()?;
        Ok(Page { items, has_more })
    }

    /// Overdue jobs, the most overdue first.
    pub(super) async fn overdue(&self, op: &'static str, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        let mut jobs = self.first(op, "dueAt", Operator::LessThanOrEqual, now, limit).await?;
        jobs.sort_by_key(|job| job.value.due_at());
        jobs.truncate(limit);
        Ok(jobs)
    }

    /// Jobs that may have been removed since before that moment, the oldest first.
    pub(super) async fn removable_since(
        &self,
        op: &'static str,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Versioned<Job>>> {
        let mut jobs = self.first(op, REMOVABLE_SINCE, Operator::LessThan, before, limit).await?;
        jobs.sort_by_key(|job| job.value.removable_since());
        jobs.truncate(limit);
        Ok(jobs)
    }

    /// The first jobs of each kind by a timestamp that has passed.
    async fn first(
        &self,
        op: &'static str,
        field: &'static str,
        is: Operator,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<Versioned<Job>>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let kinds = JobKind::ALL.map(|kind| {
            let due = query(kind.collection(), vec![filter(field, is, moment(at))]);
            self.first_readable(op, field, ordered(due, &[field, "__name__"], Direction::Ascending), limit)
        });
        Ok(try_join_all(kinds).await?.concat())
    }

    /// The first jobs of a query, in its order. Damaged jobs stay in the collection and must not hide the jobs after them.
    async fn first_readable(
        &self,
        op: &'static str,
        field: &'static str,
        first_page: StructuredQuery,
        limit: usize,
    ) -> Result<Vec<Versioned<Job>>> {
        let (mut jobs, mut page) = (Vec::new(), first_page.clone());
        for _ in 0..MAX_PAGES {
            let wanted = limit - jobs.len();
            let found = self.client.query(op, limited(page, wanted)).await?.documents;
            let is_full = found.len() >= wanted;
            let last = found.last().and_then(|last| Some((fields::time(&last.fields, field)?, last.name.clone())));
            jobs.extend(readable_jobs(op, found));
            let Some((at, name)) = last.filter(|_| is_full && jobs.len() < limit) else { break };
            page = starting_after(first_page.clone(), vec![moment(at), reference(name)]);
        }
        Ok(jobs)
    }
}
