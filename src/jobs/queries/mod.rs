//! Queries: users read their own jobs, the brands of their team, and the account that pays.

mod watched;

use std::{ops::Range, sync::Arc};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use self::watched::WatchedJob;
use super::visibility::VisibleJobs;
use crate::{
    domain::{
        Timestamp,
        clock::Clock,
        credits::{Account, Credits},
        ids::{AccountId, JobId, UserId},
        job::{Job, Output, State, Status, Work},
        kind::JobKind,
        style::Style,
    },
    error::BackendError,
    media::{MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl},
    store::{AccountStore, JobFilter, JobStore, Owner, Page, PageRequest, Versioned, Watch},
};

type Result<T> = std::result::Result<T, BackendError>;

/// How many brands are listed as styles at most.
const MAX_BRAND_STYLES: usize = 100;

/// Reads jobs, styles and accounts.
pub struct Queries {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) accounts: Arc<dyn AccountStore>,
    pub(super) visible_jobs: VisibleJobs,
    pub(super) media: Arc<dyn MediaStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) starting_grant: Credits,
}

/// A ready brand as a style.
#[derive(Debug, Clone, PartialEq)]
pub struct BrandStyle {
    /// Its name and palette.
    pub style: Style,
    /// The media key of its first sample image.
    pub sample: Option<String>,
}

impl Queries {
    /// The job, if it is the user's own or a brand of their team.
    pub async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Versioned<Job>>> {
        self.visible_jobs.get(user, id).await
    }

    /// The owner of the brands that the user sees: the user, and their team if they have one.
    pub async fn brand_owner(&self, user: &UserId) -> Result<Owner> {
        Ok(match self.accounts.team_of(user).await? {
            Some(team) => Owner::Member(user.clone(), team),
            None => Owner::User(user.clone()),
        })
    }

    /// The ready brands that the user may use, newest first, as styles.
    pub async fn brand_styles(&self, user: &UserId) -> Result<Vec<BrandStyle>> {
        let owner = self.brand_owner(user).await?;
        let filter = JobFilter { owner, kind: JobKind::Brand, statuses: [Status::Succeeded].into() };
        let page = self.store.list(&filter, &PageRequest { limit: MAX_BRAND_STYLES, after: None }).await?;
        Ok(page.items.iter().filter_map(|job| brand_style(&job.value)).collect())
    }

    /// A page of the user's jobs, newest first.
    pub async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        self.store.list(filter, page).await
    }

    /// The job as it is and every later change; the stream ends after the final state. `None` as for [`Queries::get`].
    pub async fn watch_job(
        &self,
        user: &UserId,
        id: &JobId,
    ) -> Result<Option<BoxStream<'static, Result<Versioned<Job>>>>> {
        let changes = self.store.watch(Watch::Job(id.clone()));
        let Some(current) = self.get(user, id).await? else { return Ok(None) };
        Ok(Some(WatchedJob::new(current, changes).until_final()))
    }

    /// The user's unfinished jobs as they are, then every change of any of the user's jobs.
    pub fn watch_user(&self, user: &UserId) -> BoxStream<'static, Result<Versioned<Job>>> {
        stream::empty().chain(self.store.watch(Watch::User(user.clone()))).boxed()
    }

    /// The account that pays for the user's jobs, and its balance. A first-time user sees the grant they will get.
    pub async fn account(&self, user: &UserId) -> Result<(AccountId, Account)> {
        let id = match self.accounts.team_of(user).await? {
            Some(team) => AccountId::Team(team),
            None => AccountId::User(user.clone()),
        };
        let granted = self.starting_grant;
        let account = self.accounts.account(&id).await?;
        Ok((id, account.unwrap_or(Account { available: granted, granted, ..Account::default() })))
    }

    /// Where a client fetches an image.
    pub async fn media_url(&self, key: &MediaKey) -> Result<MediaUrl> {
        self.media.url(key, self.now()).await
    }

    /// Whether the gateway serves the images itself.
    pub fn serves_media(&self) -> bool {
        self.media.is_behind_the_gateway()
    }

    /// The size and type of an image; `None` when it does not exist.
    pub async fn media_info(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        self.media.head(key).await
    }

    /// Opens an image, or a range of its bytes; `None` when it does not exist.
    pub async fn open_media(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        self.media.get(key, range).await
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The style that a brand stands for; `None` unless the brand is ready.
pub(super) fn style_of_brand(job: &Job) -> Option<Style> {
    brand_style(job).map(|brand| brand.style)
}

fn brand_style(job: &Job) -> Option<BrandStyle> {
    let (Work::Brand(spec), State::Succeeded { output: Output::Brand(trained), .. }) = (&job.work, &job.state) else {
        return None;
    };
    let sample = trained.samples.first().map(|image| image.key.clone());
    Some(BrandStyle { style: spec.style(job.id.as_str(), trained), sample })
}
