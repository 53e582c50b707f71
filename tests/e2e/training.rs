//! Trainings: started once however often the worker dies, paid once, stopped when they are cancelled.

use std::time::Duration;

use futures::StreamExt as _;
use mediaforge::{
    domain::{
        Timestamp,
        clock::{Clock as _, SystemClock, millis_between},
        failure::ErrorCode,
        job::{State, Status},
    },
    store::Watch,
};
use tokio::time::{Instant, sleep};

use crate::{
    backstage::{Backstage, colors},
    support::{System, Topology},
};

/// The start of the mock's operation.
fn began(operation: &str) -> Timestamp {
    let moment = operation.rsplit(':').next().expect("a moment").parse().expect("a number");
    Timestamp::from_microsecond(moment).expect("a moment")
}

fn times(system: &System, message: &str) -> usize {
    system.logs().matches(message).count()
}

async fn sleep_until_half_of(seconds: u64, operation: &str) {
    let gone = Duration::from_millis(millis_between(began(operation), SystemClock.now()));
    sleep((Duration::from_secs(seconds) / 2).saturating_sub(gone)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_learns_the_colours_and_shows_its_progress() {
    // The heartbeat of this lease is too slow to have reported progress.
    let slow = [("MEDIAFORGE_TRAINER__MOCK__DURATION", "7s"), ("MEDIAFORGE_WORKER__LEASE", "1m")];
    let system = System::start(Topology::TwoProcesses, &slow).await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    let mut changes = backstage.store.watch(Watch::Job(id.clone()));
    let (mut seen, mut moments) = (Vec::new(), Vec::new());
    while let Some(change) = changes.next().await {
        let job = change.expect("a change").value;
        if let State::Running { progress: Some(progress), .. } = &job.state
            && seen.last() != Some(progress)
        {
            seen.push(*progress);
            moments.push(Instant::now());
        }
        if job.status().is_final() {
            break;
        }
    }
    assert!((2..=4).contains(&seen.len()), "{seen:?}");
    assert!(seen.is_sorted_by(|x, y| x.fraction < y.fraction && x.step < y.step && x.eta_seconds > y.eta_seconds));
    assert_eq!(seen[0].total_steps, Some(100));
    // A delay at the start on a slow machine shortens the rest.
    let gap = moments[1] - moments[0];
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&gap), "{gap:?}");

    let (job, trained) = backstage.ready(&system, &id).await;
    assert_eq!((job.attempt(), trained.samples.len()), (1, 3));
    assert_eq!(trained.palette[..2], colors(), "the given ones first");
    assert!((5..=8).contains(&trained.palette.len()), "{:?}", trained.palette);
    assert!(trained.palette.contains(&"#0a9396".parse().expect("a colour")), "{:?}", trained.palette);
    assert!(trained.training_ms >= 7000, "{}", trained.training_ms);
    assert_eq!(system.credits("ada").await, (975, 0, 25, 1000));
    drop(backstage);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_illustration_shows_its_progress_as_often() {
    let slow = [("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "8s"), ("MEDIAFORGE_WORKER__LEASE", "1m")];
    let system = System::start(Topology::OneProcess, &slow).await;
    let body = serde_json::json!({ "userId": "ada", "prompt": "a cat", "width": 256, "height": 256, "count": 4 });
    let id = crate::support::text(&system.post("/generate", &body).await.1, "illustrationId");
    let events = system.all_events(&format!("/illustrations/{id}/events?userId=ada"), None).await;
    let steps: Vec<_> = events
        .iter()
        .filter(|event| event.event == "job.progress")
        .filter_map(|event| event.data["progress"]["step"].as_u64())
        .collect();
    assert!((2..=4).contains(&steps.len()) && steps.is_sorted(), "{steps:?}");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_survives_its_worker_and_is_ready_on_time() {
    let system = System::start(Topology::OneProcess, &SLOW_TO_TRAIN).await;
    let backstage = Backstage::of(&system);
    a_training_is_found_again(system, backstage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_survives_its_worker_on_google_cloud() {
    let system = System::start(Topology::GoogleCloud, &SLOW_TO_TRAIN).await;
    let backstage = Backstage::on_google_cloud(&system);
    a_training_is_found_again(system, backstage).await;
}

const SLOW_TO_TRAIN: [(&str, &str); 2] =
    [("MEDIAFORGE_TRAINER__MOCK__DURATION", "8s"), ("MEDIAFORGE_WORKER__LEASE", "1s")];

async fn a_training_is_found_again(mut system: System, backstage: Backstage) {
    let id = backstage.submit().await;
    let operation = backstage.begun(&system, &id).await;
    sleep_until_half_of(8, &operation).await;
    system.kill().await;
    system.launch().await;
    let again = backstage.until(&system, &id, |job| job.attempt() == 2).await;
    assert_eq!(again.operation(), Some(operation.as_str()), "the same one");
    let (job, trained) = backstage.ready(&system, &id).await;
    let took = millis_between(began(&operation), job.finished_at().expect("finished"));
    assert!((8000..12_000).contains(&took), "{took} ms after it began, not after the restart: {}", system.logs());
    assert_eq!((job.attempt(), trained.samples.len()), (2, 3));
    assert_eq!((times(&system, "training begun"), times(&system, "re-attached")), (1, 1));
    assert_eq!(system.credits("ada").await, (975, 0, 25, 1000));
    drop(backstage);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_is_not_started_twice_after_a_crash() {
    let crash = [("CRASH_AT", "after_attach"), ("MEDIAFORGE_WORKER__LEASE", "10m")];
    let mut system = System::start(Topology::OneProcess, &crash).await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    assert!(!system.ended().await[0].success(), "{}", system.logs());
    let operation = backstage.job(&id).await.operation().map(str::to_owned).expect("recorded");
    system.set("CRASH_AT", None);
    system.launch().await;
    let (job, _) = backstage.ready(&system, &id).await;
    assert_eq!((job.attempt(), system.credits("ada").await.2), (2, 25), "paid once");
    let logs = system.logs();
    assert!(logs.contains("re-attached to the training") && logs.contains(&operation), "{logs}");
    assert!(!logs.contains("training begun"), "{logs}");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_is_handed_back_goes_on_and_costs_no_attempt() {
    let slow = [("MEDIAFORGE_TRAINER__MOCK__DURATION", "6s"), ("MEDIAFORGE_WORKER__DRAIN", "300ms")];
    let mut system = System::start(Topology::OneProcess, &slow).await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    let operation = backstage.begun(&system, &id).await;
    sleep_until_half_of(6, &operation).await;
    system.terminate().await;
    let waiting = backstage.job(&id).await;
    assert_eq!((waiting.status(), waiting.attempt(), waiting.operation()), (Status::Queued, 0, Some(&*operation)));
    system.launch().await;
    let (job, _) = backstage.ready(&system, &id).await;
    assert_eq!((job.attempt(), times(&system, "training begun")), (1, 1));
    assert_eq!(system.credits("ada").await, (975, 0, 25, 1000));
    drop(backstage);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_is_cancelled_is_stopped_and_costs_nothing() {
    let system = System::start(Topology::OneProcess, &[("MEDIAFORGE_TRAINER__MOCK__HANG", "1.0")]).await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    backstage.begun(&system, &id).await;
    assert_eq!(system.credits("ada").await, (975, 25, 0, 1000));
    let asked = Instant::now();
    backstage.request_cancel(&id).await;
    let job = backstage.until(&system, &id, |job| job.status().is_final()).await;
    assert_eq!(job.status(), Status::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(system.credits("ada").await, (1000, 0, 0, 1000));
    while times(&system, "training stopped") == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    drop(backstage);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_no_worker_hears_is_carried_out_by_the_sweeper() {
    let mut system = System::start(
        Topology::TwoProcesses,
        &[("MEDIAFORGE_TRAINER__MOCK__HANG", "1.0"), ("MEDIAFORGE_WORKER__LEASE", "3s")],
    )
    .await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    backstage.begun(&system, &id).await;
    system.kill().await;
    backstage.request_cancel(&id).await;
    system.launch().await;
    let job = backstage.until(&system, &id, |job| job.status().is_final()).await;
    assert_eq!(job.status(), Status::Cancelled);
    while times(&system, "training stopped") == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(system.credits("ada").await, (1000, 0, 0, 1000));
    drop(backstage);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_without_an_end_is_stopped_at_its_deadline() {
    let system = System::start(Topology::OneProcess, &[("MEDIAFORGE_TRAINER__MOCK__HANG", "1.0")]).await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit_within(Duration::from_secs(2)).await;
    let job = backstage.until(&system, &id, |job| job.status().is_final()).await;
    let State::Failed { error, .. } = &job.state else { panic!("{:?}", job.state) };
    assert_eq!(error.code, ErrorCode::DeadlineExceeded);
    while times(&system, "training stopped") == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(system.credits("ada").await, (1000, 0, 0, 1000));
    drop(backstage);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_fails_is_begun_anew_until_the_attempts_are_used_up() {
    let system = System::start(
        Topology::OneProcess,
        &[
            ("MEDIAFORGE_TRAINER__MOCK__FAILED", "1.0"),
            ("MEDIAFORGE_TRAINER__MOCK__DURATION", "300ms"),
            ("MEDIAFORGE_JOBS__MAX_ATTEMPTS", "2"),
        ],
    )
    .await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    let job = backstage.until(&system, &id, |job| job.status().is_final()).await;
    assert_eq!((job.status(), job.attempt()), (Status::Failed, 2));
    assert_eq!(times(&system, "training begun"), 2);
    assert_eq!(system.credits("ada").await, (1000, 0, 0, 1000));
    drop(backstage);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_training_is_not_lost_to_samples_that_cannot_be_drawn() {
    let system = System::start(
        Topology::OneProcess,
        &[
            ("MEDIAFORGE_ENGINE__PREVIEW__UNAVAILABLE", "1.0"),
            ("MEDIAFORGE_TRAINER__MOCK__DURATION", "300ms"),
            ("MEDIAFORGE_JOBS__MAX_ATTEMPTS", "3"),
        ],
    )
    .await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    let (job, trained) = backstage.ready(&system, &id).await;
    assert_eq!((job.attempt(), trained.samples.len()), (3, 0));
    assert_eq!((times(&system, "training begun"), times(&system, "re-attached")), (1, 2));
    assert_eq!(system.credits("ada").await, (975, 0, 25, 1000));
    drop(backstage);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_is_polled_again_after_an_error() {
    let system = System::start(
        Topology::OneProcess,
        &[
            ("MEDIAFORGE_TRAINER__MOCK__UNAVAILABLE", "0.4"),
            ("MEDIAFORGE_TRAINER__MOCK__DURATION", "1s"),
            ("MEDIAFORGE_JOBS__MAX_ATTEMPTS", "30"),
        ],
    )
    .await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    backstage.ready(&system, &id).await;
    assert_eq!(times(&system, "training begun"), 1);
    assert_eq!(times(&system, "re-attached"), 0, "an unanswered question does not end the attempt");
    drop(backstage);
    system.finish().await;
}
