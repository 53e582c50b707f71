//! Reading: a person sees their own jobs and the brands of their team; somebody else's do not exist.
//!
//! Who sees a brand may use, stop and delete it: its team has paid for it.

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::Jobs;
use crate::{
    domain::{
        credits::Account,
        ids::{AccountId, JobId, TeamId, UserId},
        job::{Job, Output, State, Status, Work},
        kind::JobKind,
        style::Style,
    },
    error::BackendError,
    store::{JobFilter, Owner, Page, PageRequest, Version, Versioned, Watch},
};

type Result<T> = std::result::Result<T, BackendError>;

/// Brands that are offered as styles, at most.
const STYLES: usize = 100;

/// A ready brand as a style.
#[derive(Debug, Clone, PartialEq)]
pub struct BrandStyle {
    /// Its name and palette.
    pub style: Style,
    /// Media key of its first sample picture.
    pub sample: Option<String>,
}

impl Jobs {
    /// The user's job or their team's brand; `None` when there is none, or it is somebody else's.
    pub async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Versioned<Job>>> {
        let Some(job) = self.ports.store.get(id).await? else { return Ok(None) };
        if is_visible(&job.value, user, None) {
            return Ok(Some(job));
        }
        if job.value.kind() == JobKind::Illustration || job.value.team.is_none() {
            return Ok(None);
        }
        let team = self.ports.accounts.team_of(user).await?;
        Ok(Some(job).filter(|job| is_visible(&job.value, user, team.as_ref())))
    }

    /// Whose brands the user sees: their own, and those of their team.
    pub async fn brand_owner(&self, user: &UserId) -> Result<Owner> {
        Ok(match self.ports.accounts.team_of(user).await? {
            Some(team) => Owner::Member(user.clone(), team),
            None => Owner::User(user.clone()),
        })
    }

    /// The ready brands that the user may draw in, newest first, each as a style with its sample pictures' keys.
    pub async fn brand_styles(&self, user: &UserId) -> Result<Vec<BrandStyle>> {
        let owner = self.brand_owner(user).await?;
        let filter = JobFilter { owner, kind: JobKind::Brand, statuses: [Status::Succeeded].into() };
        let page = self.ports.store.list(&filter, &PageRequest { limit: STYLES, after: None }).await?;
        Ok(page.items.iter().filter_map(|job| brand_style(&job.value)).collect())
    }

    /// A page of the user's jobs, newest first.
    pub async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        self.ports.store.list(filter, page).await
    }

    /// The user's job as it is and every later change, ending after its final state; `None` as for [`Jobs::get`].
    pub async fn watch_job(
        &self,
        user: &UserId,
        id: &JobId,
    ) -> Result<Option<BoxStream<'static, Result<Versioned<Job>>>>> {
        let changes = self.ports.store.watch(Watch::Job(id.clone()));
        let Some(now) = self.get(user, id).await? else { return Ok(None) };
        // What was read comes first: a watch begun now would say nothing, for ever, of a job deleted meanwhile.
        let watched = Watched { known: now.version, first: Some(Box::new(now)), changes };
        // The final state is delivered, then the stream ends at once: `take_while` would swallow that state, and `scan`
        // would wait for a change after it, which never comes.
        let until_final = stream::unfold(Some(watched), |watched| async {
            let mut watched = watched?;
            let change = watched.next().await?;
            let ended = matches!(&change, Ok(job) if job.value.status().is_final());
            Some((change, (!ended).then_some(watched)))
        });
        Ok(Some(until_final.boxed()))
    }

    /// The user's unfinished jobs as they are, then every change of any of the user's jobs.
    pub fn watch_user(&self, user: &UserId) -> BoxStream<'static, Result<Versioned<Job>>> {
        stream::empty().chain(self.ports.store.watch(Watch::User(user.clone()))).boxed()
    }

    /// The account that pays for the user's jobs, and its balance. A first-time user sees the grant they will get.
    pub async fn account(&self, user: &UserId) -> Result<(AccountId, Account)> {
        let id = match self.ports.accounts.team_of(user).await? {
            Some(team) => AccountId::Team(team),
            None => AccountId::User(user.clone()),
        };
        let granted = self.config.starting_grant;
        let account = self.ports.accounts.account(&id).await?;
        Ok((id, account.unwrap_or(Account { available: granted, granted, ..Account::default() })))
    }
}

/// Whether the user may know of the job.
pub(super) fn is_visible(job: &Job, user: &UserId, team: Option<&TeamId>) -> bool {
    job.user == *user || (job.kind() == JobKind::Brand && team.is_some() && job.team.as_ref() == team)
}

/// The style that draws in a brand; `None` when it is not ready.
pub(super) fn style_of(job: &Job) -> Option<Style> {
    brand_style(job).map(|brand| brand.style)
}

fn brand_style(job: &Job) -> Option<BrandStyle> {
    let (Work::Brand(spec), State::Succeeded { output: Output::Brand(trained), .. }) = (&job.work, &job.state) else {
        return None;
    };
    let sample = trained.samples.first().map(|image| image.key.clone());
    Some(BrandStyle { style: spec.style(job.id.as_str(), trained), sample })
}

/// A job that is watched. Adapters of streams would each keep room for a job, and thousands may wait here.
struct Watched {
    first: Option<Box<Versioned<Job>>>,
    known: Version,
    changes: BoxStream<'static, Result<Versioned<Job>>>,
}

impl Watched {
    async fn next(&mut self) -> Option<Result<Versioned<Job>>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(*first));
        }
        loop {
            match self.changes.next().await? {
                Ok(job) if job.version <= self.known => {}
                change => return Some(change),
            }
        }
    }
}
