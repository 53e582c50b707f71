//! Fills a store with finished jobs, to measure what their number costs.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};

use super::{context::users, progress::Progress, system};
use crate::{
    app,
    config::Config,
    domain::{
        Timestamp,
        clock::{Clock as _, SystemClock, SystemRandom, after},
        ids::{JobId, UserId, WorkerId},
        job::{Job, JobPolicy, Lease, NewJob, Output, Pictures, Transition, Work},
        kind::JobKind,
        pricing::Prices,
        request::IllustrationSpec,
        retry::RetryPolicy,
        stored_image::StoredImage,
    },
    store::{Inserted, JobStore},
};

/// Jobs written concurrently: enough for full group commits.
const AT_ONCE: usize = 1024;
/// Time between two jobs; the last one ends now.
const APART: Duration = Duration::from_millis(20);

/// The settings from which the jobs are made.
struct SeedConfig {
    prices: Prices,
    policy: JobPolicy,
    spec: IllustrationSpec,
    users: Vec<UserId>,
    worker: WorkerId,
    config: Config,
}

/// Puts `jobs` finished jobs into a new store. The domain submits, starts and completes each one and the store port
/// writes it, with its credits, as in a running system. Only the message is left out, because a running system deletes
/// it after delivery.
pub(super) async fn fill(data: &Path, jobs: u64, progress: &Progress) -> anyhow::Result<()> {
    let seed = Arc::new(SeedConfig::new(data)?);
    let store = app::open_store(&seed.config).await?.jobs;
    progress.show("filling the store");
    progress.count_to(jobs);
    let begin = SystemClock.now().checked_sub(APART * u32::try_from(jobs).unwrap_or(u32::MAX))?;
    let write = |number: u64| {
        let (seed, store) = (Arc::clone(&seed), Arc::clone(&store));
        let at = after(begin, APART * u32::try_from(number).unwrap_or(u32::MAX));
        // One task per job, so that all cores prepare jobs while the writer writes.
        tokio::spawn(async move { seed.write(&*store, number, at).await })
    };
    let mut written = stream::iter(0..jobs).map(write).buffer_unordered(AT_ONCE);
    while let Some(ended) = written.next().await {
        ended??;
        progress.add(1);
    }
    progress.stop_counting();
    // Dropping the last handle blocks until the writer has finished.
    drop(written);
    tokio::task::spawn_blocking(move || drop(store)).await?;
    Ok(())
}

impl SeedConfig {
    fn new(data: &Path) -> anyhow::Result<Self> {
        let config = system::config(data)?;
        let (jobs, credits) = (&config.jobs, &config.credits);
        let catalogue = config.catalogue()?;
        Ok(Self {
            prices: Prices {
                image: credits.image,
                image_large: credits.image_large,
                large_above_px: credits.large_above_px,
                training: credits.training,
            },
            policy: JobPolicy {
                retry: RetryPolicy { max_attempts: jobs.max_attempts, base: jobs.backoff, cap: jobs.backoff_cap },
                republish_after: jobs.republish_after,
                republish_cap: jobs.backoff_cap,
                cancel_grace: jobs.cancel_grace,
                queue_delays: true,
            },
            spec: IllustrationSpec {
                prompt: "a lighthouse at dawn, waves against the rocks, gulls in a pale sky".to_owned(),
                style: catalogue.default_style().clone(),
                width: 1024,
                height: 768,
                count: 1,
                seed: None,
            },
            users: users().map(|user| user.parse()).collect::<Result<_, _>>()?,
            worker: WorkerId::new(std::process::id(), &SystemRandom),
            config,
        })
    }

    async fn write(&self, store: &dyn JobStore, number: u64, at: Timestamp) -> anyhow::Result<()> {
        let submitted = self.submitted(number, at);
        let Inserted::New { version, .. } = store.insert(&submitted).await? else {
            anyhow::bail!("the id of a new job is already taken");
        };
        let lease = Lease { owner: self.worker.clone(), expires_at: after(at, self.config.worker.lease) };
        let started = submitted.job.start(at, lease, &self.policy)?;
        let version = store.commit(version, &started).await?.version;
        let output = self.output(&started.job);
        let completed = started.job.complete(after(at, APART), output)?;
        store.commit(version, &completed).await.context("cannot complete a job")?;
        Ok(())
    }

    fn submitted(&self, number: u64, at: Timestamp) -> Transition {
        let user = &self.users[usize::try_from(number).unwrap_or_default() % self.users.len()];
        let new_job = NewJob {
            id: JobId::random(JobKind::Illustration, &SystemRandom),
            user: user.clone(),
            team: None,
            work: Work::Illustration(self.spec.clone()),
            request_hash: self.spec.hash(user),
            trace: None,
            time_limit: self.config.jobs.illustration_deadline,
            starting_grant: self.config.credits.starting_grant,
        };
        Transition { dispatch: None, ..Job::submit(new_job, at, &self.prices, &self.policy) }
    }

    /// One picture, as the preview engine would describe it. There is no file, because nothing reads it.
    fn output(&self, job: &Job) -> Output {
        let key = format!("{}/{}/{}/1-0", job.kind().collection(), job.user, job.id);
        Output::Pictures(Pictures {
            images: vec![StoredImage {
                key: format!("{key}.png"),
                width: self.spec.width,
                height: self.spec.height,
                bytes: 400_000,
                sha256: "0123456789abcdef".repeat(4),
            }],
            thumbnail_key: Some(format!("{key}_thumb.webp")),
            filtered: 0,
            model: "preview".to_owned(),
            final_prompt: self.spec.final_prompt(),
            seed: Some(7),
            cost_micro_usd: 0,
            generation_ms: 1000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stores;

    #[tokio::test]
    async fn a_filled_store_has_finished_jobs_of_all_users_and_balanced_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fill(&data, 130, &Progress::new()).await.unwrap();
        let Stores { jobs, accounts } = app::open_store(&system::config(&data).unwrap()).await.unwrap();
        let mut spent = Vec::new();
        for user in users() {
            let account = crate::domain::ids::AccountId::User(user.parse().unwrap());
            let balance = accounts.account(&account).await.unwrap().unwrap();
            assert!(balance.is_balanced() && balance.held == 0);
            spent.push(balance.spent);
        }
        assert_eq!(spent.iter().sum::<u64>(), 130);
        assert_eq!((spent[0], spent[63]), (3, 2));
        assert!(jobs.due(Timestamp::MAX, 10).await.unwrap().is_empty(), "every job has finished");
    }
}
