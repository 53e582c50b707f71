//! Reading: a person sees their own jobs; somebody else's do not exist.

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::Jobs;
use crate::{
    domain::{
        credits::Account,
        ids::{AccountId, JobId, UserId},
        job::Job,
    },
    error::BackendError,
    store::{JobFilter, Page, PageRequest, Versioned, Watch},
};

type Result<T> = std::result::Result<T, BackendError>;

impl Jobs {
    /// The user's job; `None` when there is none, or it is somebody else's.
    pub async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Versioned<Job>>> {
        let job = self.ports.store.get(id).await?;
        Ok(job.filter(|job| job.value.user == *user))
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
        let known = now.version;
        let news = move |change: &Result<Versioned<Job>>| {
            std::future::ready(change.as_ref().map_or(true, |job| job.version > known))
        };
        // What was read comes first: a watch begun now would say nothing, for ever, of a job deleted meanwhile.
        let changes = stream::iter([Ok(now)]).chain(changes.filter(news)).boxed();
        // The final state is delivered, then the stream ends at once: `take_while` would swallow that state, and `scan`
        // would wait for a change after it, which never comes.
        let until_final = stream::unfold(Some(changes), |changes| async {
            let mut changes = changes?;
            let change = changes.next().await?;
            let ended = matches!(&change, Ok(job) if job.value.status().is_final());
            Some((change, (!ended).then_some(changes)))
        });
        Ok(Some(until_final.boxed()))
    }

    /// The user's unfinished jobs as they are, then every change of any of the user's jobs.
    pub fn watch_user(&self, user: &UserId) -> BoxStream<'static, Result<Versioned<Job>>> {
        stream::empty().chain(self.ports.store.watch(Watch::User(user.clone()))).boxed()
    }

    /// The account that pays for the user's jobs, and its balance. A first-time user sees the grant they will get.
    pub async fn account(&self, user: &UserId) -> Result<(AccountId, Account)> {
        let id = AccountId::User(user.clone());
        let granted = self.rules.starting_grant;
        let account = self.ports.store.account(&id).await?;
        Ok((id, account.unwrap_or(Account { available: granted, granted, ..Account::default() })))
    }
}
