//! One engine is the fallback of another whose breaker is open; samples of trainings respect the breakers, too.

use std::{borrow::Cow, sync::Arc, time::Duration};

use async_trait::async_trait;
use mediaforge::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        job::{Output, State, Status},
        request::IllustrationSpec,
    },
    engine::{AttemptContext, Generation, ImageEngine, ImageSpec},
    jobs::{AttemptOutcome, AttemptSettings, ClaimResult, JobsConfig},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, settings},
    script::{Reply, Script},
};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_mins(10);

/// Two engines, the second of which is the fallback of the first. The model of a picture tells which engine drew it.
struct Pair {
    preferred: Arc<Script>,
    fallback: Arc<Script>,
}

#[async_trait]
impl ImageEngine for Pair {
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        let engine = if spec.route == "primary" { &self.preferred } else { &self.fallback };
        Ok(Generation { model: spec.route.clone(), ..engine.generate(spec, cx).await? })
    }

    fn routes(&self, _: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        vec!["primary".into(), "secondary".into()]
    }
}

struct Stage {
    bench: Bench,
    preferred: Arc<Script>,
    fallback: Arc<Script>,
}

fn stage<const N: usize, const M: usize>(
    preferred: [Reply; N],
    fallback: [Reply; M],
    change: impl FnOnce(&mut JobsConfig),
) -> Stage {
    let (preferred, fallback) = (Script::of(preferred), Script::of(fallback));
    let pair = Pair { preferred: Arc::clone(&preferred), fallback: Arc::clone(&fallback) };
    Stage { bench: Bench::over(Arc::new(pair), change), preferred, fallback }
}

fn short_pauses(config: &mut JobsConfig) {
    config.breaker.failures = 2;
    config.breaker.cooldown = SHORT;
    config.breaker.cap = SHORT;
}

impl Stage {
    fn calls(&self) -> (usize, usize) {
        (self.preferred.calls(), self.fallback.calls())
    }

    fn breakers(&self) -> Vec<&'static str> {
        self.bench.jobs.execution.breakers().iter().map(|breaker| breaker.state).collect()
    }

    /// The engine that drew a finished job, and the attempt.
    async fn drawn_by(&self, id: &JobId) -> (String, u32) {
        let job = self.bench.job(id).await.value;
        let State::Succeeded { output: Output::Pictures(pictures), .. } = &job.state else { panic!("{:?}", job.state) };
        (pictures.model.clone(), job.attempt())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_draws_the_attempt_that_found_the_engine_full_and_the_next_ones() {
    let stage = stage([Reply::throttled(LONG)], [], |_| {});
    for calls in [(1, 1), (1, 2), (1, 3)] {
        let id = stage.bench.submit().await;
        assert_eq!(stage.bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
        assert_eq!((stage.drawn_by(&id).await, stage.calls()), (("secondary".to_owned(), 1), calls));
    }
    assert_eq!(stage.breakers(), ["open", "closed"]);
    assert_eq!(stage.bench.books().await.spent, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_failure_is_retried_and_after_a_burst_the_fallback_draws() {
    let stage = stage([Reply::unavailable(), Reply::unavailable()], [], |config| config.breaker.failures = 2);
    let id = stage.bench.submit().await;
    assert_eq!(stage.bench.attempt(&id).await, AttemptOutcome::Settled(Status::Queued));
    assert_eq!(stage.calls(), (1, 0), "the engine may be called again");
    assert_eq!(stage.bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
    assert_eq!((stage.drawn_by(&id).await, stage.calls()), (("secondary".to_owned(), 2), (2, 1)));
}

fn filtered() -> AttemptFailure {
    AttemptFailure::fail(ErrorCode::ContentFiltered, "no")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_not_sent_to_the_fallback() {
    let said = Arc::new(Notify::new());
    let late = Reply::RefuseLate(Arc::clone(&said), filtered());
    let stage =
        stage([Reply::Refuse(filtered()), Reply::Draw { withheld: 1 }, late, Reply::throttled(LONG)], [], |_| {});
    for _ in 0..2 {
        let id = stage.bench.submit().await;
        assert_eq!(stage.bench.attempt(&id).await, AttemptOutcome::Settled(Status::Failed));
    }
    // It makes no difference that the engine has become rate-limited meanwhile.
    let claim = stage.bench.claim(&stage.bench.submit().await).await;
    let jobs = stage.bench.jobs.clone();
    let work =
        tokio::spawn(async move { jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await });
    while stage.preferred.calls() < 3 {
        tokio::task::yield_now().await;
    }
    let id = stage.bench.submit().await;
    assert_eq!(stage.bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
    said.notify_one();
    assert_eq!(work.await.expect("no panic").expect("a store"), AttemptOutcome::Settled(Status::Failed));
    assert_eq!(stage.calls(), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_costs_its_job_nothing_and_no_other_job_waits_for_it() {
    let said = Arc::new(Notify::new());
    let down = AttemptFailure::retry(ErrorCode::EngineUnavailable, "still down");
    let stage = stage([Reply::throttled(SHORT), Reply::RefuseLate(Arc::clone(&said), down)], [], short_pauses);
    let first = stage.bench.submit().await;
    stage.bench.attempt(&first).await;
    // Once the pause is over, the next job is the probe.
    let mut drawn = 1;
    let probe = loop {
        let id = stage.bench.submit().await;
        let claim = stage.bench.claim(&id).await;
        if stage.breakers()[0] == "half-open" {
            let jobs = stage.bench.jobs.clone();
            let work = async move { jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await };
            break (id, tokio::spawn(work));
        }
        let ended = stage.bench.jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await;
        assert_eq!(ended.expect("a store"), AttemptOutcome::Settled(Status::Succeeded));
        drawn += 1;
    };
    // While the probe runs, other jobs do not wait for its result.
    let id = stage.bench.submit().await;
    assert_eq!(stage.bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
    assert_eq!(stage.drawn_by(&id).await.0, "secondary");
    said.notify_one();
    let (id, work) = probe;
    assert_eq!(work.await.expect("no panic").expect("a store"), AttemptOutcome::Settled(Status::Succeeded));
    assert_eq!((stage.drawn_by(&id).await, stage.calls()), (("secondary".to_owned(), 1), (2, drawn + 2)));
    // The next probe finds it well.
    loop {
        let id = stage.bench.submit().await;
        assert_eq!(stage.bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
        if stage.drawn_by(&id).await.0 == "primary" {
            break;
        }
    }
    assert_eq!(stage.breakers(), ["closed", "closed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_engine_may_be_called_jobs_wait_for_the_earliest() {
    let stage = stage([Reply::throttled(LONG)], [Reply::throttled(Duration::from_secs(20))], |_| {});
    let id = stage.bench.submit().await;
    assert_eq!(stage.bench.attempt(&id).await, AttemptOutcome::Settled(Status::Queued));
    assert_eq!((stage.bench.job(&id).await.value.attempt(), stage.calls()), (0, (1, 1)));
    let next = stage.bench.submit().await;
    let ClaimResult::Postponed { until } = stage.bench.try_claim(&next).await else { panic!("not postponed") };
    let soonest = stage.bench.jobs.execution.breakers()[1].until.expect("open");
    let latest = stage.bench.jobs.execution.breakers()[0].until.expect("open");
    assert!(until >= soonest && until < latest, "{soonest} {until} {latest}");
}

fn trains() -> AttemptSettings {
    AttemptSettings { poll_every: Duration::from_millis(20), ..settings() }
}

/// Claims repeatedly, like a queue that delivers again, and runs the attempt.
async fn attempt_training(bench: &Bench, id: &JobId) -> AttemptOutcome {
    loop {
        if let ClaimResult::Claimed(claim) = bench.try_claim(id).await {
            return bench
                .jobs
                .execution
                .run_attempt(*claim, &trains(), &CancellationToken::new())
                .await
                .expect("a store");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn state(bench: &Bench, name: &str) -> &'static str {
    bench.jobs.execution.breakers().iter().find(|breaker| breaker.engine == name).expect("asked for").state
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_of_a_training_respect_the_breaker_and_may_be_its_probe() {
    let script = Script::of([Reply::throttled(Duration::from_millis(200))]);
    let bench = Bench::over(script.clone(), |config| {
        config.breaker.cap = Duration::from_millis(200);
        config.policy.retry.cap = Duration::from_millis(200);
    });
    let picture = bench.submit().await;
    bench.attempt(&picture).await;
    let brand = bench.submit_brand().await;
    // The pause may or may not have passed during the training. While it has not, the engine is not called.
    let (mut waits, mut ended) = (0, attempt_training(&bench, &brand).await);
    while ended == AttemptOutcome::Settled(Status::Queued) {
        waits += 1;
        assert_eq!((script.calls(), bench.job(&brand).await.value.attempt()), (1, 0));
        ended = attempt_training(&bench, &brand).await;
    }
    assert_eq!(ended, AttemptOutcome::Settled(Status::Succeeded), "after {waits} waits");
    assert_eq!((script.calls(), state(&bench, "engine")), (1 + 3, "closed"));
    assert_eq!(bench.job(&brand).await.value.attempt(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_engine_is_not_called_for_samples() {
    let script = Script::of([Reply::throttled(LONG)]);
    let bench = Bench::over(script.clone(), |config| config.breaker.cap = LONG);
    let picture = bench.submit().await;
    bench.attempt(&picture).await;
    let brand = bench.submit_brand().await;
    assert_eq!(attempt_training(&bench, &brand).await, AttemptOutcome::Settled(Status::Queued));
    let waiting = bench.job(&brand).await.value;
    let State::Queued { last_error: Some(why), .. } = &waiting.state else { panic!("{:?}", waiting.state) };
    assert_eq!((why.code, waiting.attempt(), script.calls()), (ErrorCode::RateLimited, 0, 1));
    assert!(waiting.operation().is_some(), "the training can be found again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_is_delivered_without_samples_when_its_attempts_are_used_up() {
    let script = Script::of((0..9).map(|_| Reply::unavailable()));
    let bench = Bench::over(script.clone(), |config| {
        config.policy.retry.max_attempts = 2;
        config.breaker.failures = 2;
        config.breaker.cap = LONG;
    });
    let brand = bench.submit_brand().await;
    assert_eq!(attempt_training(&bench, &brand).await, AttemptOutcome::Settled(Status::Queued));
    // The second failure opens the breaker, and no attempt is left to wait for it.
    assert_eq!(attempt_training(&bench, &brand).await, AttemptOutcome::Settled(Status::Succeeded));
    assert_eq!((script.calls(), state(&bench, "engine")), (2, "open"));
    let brand = bench.job(&brand).await.value;
    let State::Succeeded { output: Output::Brand(trained), .. } = &brand.state else { panic!("{:?}", brand.state) };
    assert_eq!(trained.samples.len(), 0);
}
