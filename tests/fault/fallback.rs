//! One engine stands in for another that may not be called; and samples of trainings, which ask like everybody else.

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
    jobs::{AttemptSettings, Claimed, JobsConfig, Outcome},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, settings},
    script::{Line, Script},
};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_mins(10);

/// Two engines, the second of which stands in for the first; pictures say by their model which drew them.
struct Pair {
    meant: Arc<Script>,
    other: Arc<Script>,
}

#[async_trait]
impl ImageEngine for Pair {
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        let engine = if spec.route == "meant" { &self.meant } else { &self.other };
        Ok(Generation { model: spec.route.clone(), ..engine.generate(spec, cx).await? })
    }

    fn routes(&self, _: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        vec!["meant".into(), "other".into()]
    }
}

struct Stage {
    bench: Bench,
    meant: Arc<Script>,
    other: Arc<Script>,
}

fn stage<const N: usize, const M: usize>(
    meant: [Line; N],
    other: [Line; M],
    change: impl FnOnce(&mut JobsConfig),
) -> Stage {
    let (meant, other) = (Script::of(meant), Script::of(other));
    let pair = Pair { meant: Arc::clone(&meant), other: Arc::clone(&other) };
    Stage { bench: Bench::over(Arc::new(pair), change), meant, other }
}

fn short_pauses(config: &mut JobsConfig) {
    config.breaker.failures = 2;
    config.breaker.cooldown = SHORT;
    config.breaker.cap = SHORT;
}

impl Stage {
    fn calls(&self) -> (usize, usize) {
        (self.meant.calls(), self.other.calls())
    }

    fn breakers(&self) -> Vec<&'static str> {
        self.bench.jobs.execution.breakers().iter().map(|breaker| breaker.state).collect()
    }

    /// Who drew a finished job, in which attempt.
    async fn drawn_by(&self, id: &JobId) -> (String, u32) {
        let job = self.bench.job(id).await.value;
        let State::Succeeded { output: Output::Pictures(pictures), .. } = &job.state else { panic!("{:?}", job.state) };
        (pictures.model.clone(), job.attempt())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_that_finds_an_engine_full_is_drawn_by_the_other_and_so_are_those_behind_it() {
    let stage = stage([Line::throttled(LONG)], [], |_| {});
    for calls in [(1, 1), (1, 2), (1, 3)] {
        let id = stage.bench.submit().await;
        assert_eq!(stage.bench.attempt(&id).await, Outcome::Settled(Status::Succeeded));
        assert_eq!((stage.drawn_by(&id).await, stage.calls()), (("other".to_owned(), 1), calls));
    }
    assert_eq!(stage.breakers(), ["open", "closed"]);
    assert_eq!(stage.bench.books().await.spent, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_failure_is_tried_again_and_a_burst_is_drawn_by_the_other() {
    let stage = stage([Line::unavailable(), Line::unavailable()], [], |config| config.breaker.failures = 2);
    let id = stage.bench.submit().await;
    assert_eq!(stage.bench.attempt(&id).await, Outcome::Settled(Status::Queued));
    assert_eq!(stage.calls(), (1, 0), "it may be called again");
    assert_eq!(stage.bench.attempt(&id).await, Outcome::Settled(Status::Succeeded));
    assert_eq!((stage.drawn_by(&id).await, stage.calls()), (("other".to_owned(), 2), (2, 1)));
}

fn filtered() -> AttemptFailure {
    AttemptFailure::fail(ErrorCode::ContentFiltered, "no")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_will_not_draw_is_not_carried_to_the_other() {
    let said = Arc::new(Notify::new());
    let late = Line::RefuseLate(Arc::clone(&said), filtered());
    let stage = stage([Line::Refuse(filtered()), Line::Draw { withheld: 1 }, late, Line::throttled(LONG)], [], |_| {});
    for _ in 0..2 {
        let id = stage.bench.submit().await;
        assert_eq!(stage.bench.attempt(&id).await, Outcome::Settled(Status::Failed));
    }
    // Nor does it matter that the engine has been found full meanwhile.
    let claim = stage.bench.claim(&stage.bench.submit().await).await;
    let jobs = stage.bench.jobs.clone();
    let work =
        tokio::spawn(async move { jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await });
    while stage.meant.calls() < 3 {
        tokio::task::yield_now().await;
    }
    let id = stage.bench.submit().await;
    assert_eq!(stage.bench.attempt(&id).await, Outcome::Settled(Status::Succeeded));
    said.notify_one();
    assert_eq!(work.await.expect("no panic").expect("a store"), Outcome::Settled(Status::Failed));
    assert_eq!(stage.calls(), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_costs_its_job_nothing_and_nobody_waits_for_it() {
    let said = Arc::new(Notify::new());
    let down = AttemptFailure::retry(ErrorCode::EngineUnavailable, "still down");
    let stage = stage([Line::throttled(SHORT), Line::RefuseLate(Arc::clone(&said), down)], [], short_pauses);
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
        assert_eq!(ended.expect("a store"), Outcome::Settled(Status::Succeeded));
        drawn += 1;
    };
    // It goes on, and others do not wait for what it finds.
    let id = stage.bench.submit().await;
    assert_eq!(stage.bench.attempt(&id).await, Outcome::Settled(Status::Succeeded));
    assert_eq!(stage.drawn_by(&id).await.0, "other");
    said.notify_one();
    let (id, work) = probe;
    assert_eq!(work.await.expect("no panic").expect("a store"), Outcome::Settled(Status::Succeeded));
    assert_eq!((stage.drawn_by(&id).await, stage.calls()), (("other".to_owned(), 1), (2, drawn + 2)));
    // The next probe finds it well.
    loop {
        let id = stage.bench.submit().await;
        assert_eq!(stage.bench.attempt(&id).await, Outcome::Settled(Status::Succeeded));
        if stage.drawn_by(&id).await.0 == "meant" {
            break;
        }
    }
    assert_eq!(stage.breakers(), ["closed", "closed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_may_draw_jobs_wait_for_whoever_may_soonest() {
    let stage = stage([Line::throttled(LONG)], [Line::throttled(Duration::from_secs(20))], |_| {});
    let id = stage.bench.submit().await;
    assert_eq!(stage.bench.attempt(&id).await, Outcome::Settled(Status::Queued));
    assert_eq!((stage.bench.job(&id).await.value.attempt(), stage.calls()), (0, (1, 1)));
    let next = stage.bench.submit().await;
    let Claimed::Postponed { until } = stage.bench.try_claim(&next).await else { panic!("not postponed") };
    let soonest = stage.bench.jobs.execution.breakers()[1].until.expect("open");
    let latest = stage.bench.jobs.execution.breakers()[0].until.expect("open");
    assert!(until >= soonest && until < latest, "{soonest} {until} {latest}");
}

fn trains() -> AttemptSettings {
    AttemptSettings { poll_every: Duration::from_millis(20), ..settings() }
}

/// Claims as often as it takes, as a queue delivers.
async fn attempt_training(bench: &Bench, id: &JobId) -> Outcome {
    loop {
        if let Claimed::Ours(claim) = bench.try_claim(id).await {
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
async fn the_samples_of_a_training_leave_an_engine_alone_and_are_its_probe_like_anybody() {
    let script = Script::of([Line::throttled(Duration::from_millis(200))]);
    let bench = Bench::over(script.clone(), |config| {
        config.breaker.cap = Duration::from_millis(200);
        config.policy.retry.cap = Duration::from_millis(200);
    });
    let picture = bench.submit().await;
    bench.attempt(&picture).await;
    let brand = bench.submit_brand().await;
    // While the training went on the pause has passed or not; each time it has not, no call is made.
    let (mut waits, mut ended) = (0, attempt_training(&bench, &brand).await);
    while ended == Outcome::Settled(Status::Queued) {
        waits += 1;
        assert_eq!((script.calls(), bench.job(&brand).await.value.attempt()), (1, 0));
        ended = attempt_training(&bench, &brand).await;
    }
    assert_eq!(ended, Outcome::Settled(Status::Succeeded), "after {waits} waits");
    assert_eq!((script.calls(), state(&bench, "engine")), (1 + 3, "closed"));
    assert_eq!(bench.job(&brand).await.value.attempt(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_left_alone_is_not_called_for_samples() {
    let script = Script::of([Line::throttled(LONG)]);
    let bench = Bench::over(script.clone(), |config| config.breaker.cap = LONG);
    let picture = bench.submit().await;
    bench.attempt(&picture).await;
    let brand = bench.submit_brand().await;
    assert_eq!(attempt_training(&bench, &brand).await, Outcome::Settled(Status::Queued));
    let waiting = bench.job(&brand).await.value;
    let State::Queued { last_error: Some(why), .. } = &waiting.state else { panic!("{:?}", waiting.state) };
    assert_eq!((why.code, waiting.attempt(), script.calls()), (ErrorCode::RateLimited, 0, 1));
    assert!(waiting.operation().is_some(), "what is trained is found again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_is_delivered_without_samples_when_its_attempts_are_used_up() {
    let script = Script::of((0..9).map(|_| Line::unavailable()));
    let bench = Bench::over(script.clone(), |config| {
        config.policy.retry.max_attempts = 2;
        config.breaker.failures = 2;
        config.breaker.cap = LONG;
    });
    let brand = bench.submit_brand().await;
    assert_eq!(attempt_training(&bench, &brand).await, Outcome::Settled(Status::Queued));
    // The second failure opens the breaker, which leaves nothing to wait for.
    assert_eq!(attempt_training(&bench, &brand).await, Outcome::Settled(Status::Succeeded));
    assert_eq!((script.calls(), state(&bench, "engine")), (2, "open"));
    let brand = bench.job(&brand).await.value;
    let State::Succeeded { output: Output::Brand(trained), .. } = &brand.state else { panic!("{:?}", brand.state) };
    assert_eq!(trained.samples.len(), 0);
}
