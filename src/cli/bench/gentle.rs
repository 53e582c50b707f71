//! A light, even load: how long a job waits, how long it takes in all, how soon its event arrives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    client::Client,
    context::{Bench, users},
    document::Document,
    load::{Schedule, open_loop},
    report::Figure,
    stats::Latencies,
};
use crate::domain::Timestamp;

/// How long to wait for the event that ends the last job.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often to check for it.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The events that the watchers received of each job.
#[derive(Clone, Default)]
struct ObservedJobs(Arc<Mutex<HashMap<String, ObservedJob>>>);

#[derive(Default)]
struct ObservedJob {
    /// When its first event, `job.queued`, arrived.
    queued: Option<Timestamp>,
    /// Its final state, and when that event arrived.
    finished: Option<(Document, Timestamp)>,
}

impl ObservedJobs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, ObservedJob>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, at: Timestamp, data: &str) {
        let Ok(document) = serde_json::from_str::<Document>(data) else { return };
        let mut jobs = self.lock();
        let job = jobs.entry(document.id.clone()).or_default();
        if document.status == "queued" {
            job.queued.get_or_insert(at);
        } else if document.finished_at().is_some() {
            job.finished.get_or_insert((document, at));
        }
    }
}

pub(super) async fn measure(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let rate = bench.args.rate;
    bench.progress.show(format!("even load, {rate} jobs/s"));
    bench.warm_up(1).await?;
    let seen = ObservedJobs::default();
    let _watching = watch(bench, &seen).await?;

    let accepted = Arc::new(Mutex::new(Vec::new()));
    let senders = bench.submitters(bench.max_connections(), Some(&Bench::record_ids(Arc::clone(&accepted)))).await?;
    let submits = Latencies::new()?;
    let schedule = Schedule::lasting(rate, bench.args.duration * 2);
    let load = open_loop(senders, schedule.start()?, &submits).await;
    let accepted = std::mem::take(&mut *accepted.lock().unwrap_or_else(PoisonError::into_inner));

    let begun = Instant::now();
    while !accepted.iter().all(|(id, _)| seen.lock().get(id).is_some_and(|job| job.finished.is_some())) {
        if begun.elapsed() > TIMEOUT {
            break;
        }
        sleep(POLL_INTERVAL).await;
    }
    let meaning = format!(
        "POST /generate until its 202, at {rate}/s however fast the system responds; counted from the moment each request \
         was due, so that a slow response hides nothing"
    );
    let figure = Figure::new(format!("Submit, {rate} jobs/s"), meaning).latencies(&submits);
    let bare = bench.report.floor("bare.1", "bare handler").zip(bench.disk_floor(1));
    let bare = bare.map(|(bare, disk)| bare.then(&disk, None));
    bench.report.add("submit.gentle", figure.per_second(load.per_second()).with_floor(bare));
    report(bench, &accepted, &seen)
}

/// Opens one event stream per user.
async fn watch(bench: &Bench<'_>, seen: &ObservedJobs) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for user in users() {
        let call = bench.gateway.get(&format!("/events?userId={user}"))?;
        let mut events = Box::pin(Client::new(&bench.gateway).events(&call).await?.arriving());
        let seen = seen.clone();
        tasks.spawn(async move {
            while let Some((at, data)) = events.next().await {
                seen.record(at, &data);
            }
        });
    }
    Ok(tasks)
}

fn report(bench: &mut Bench<'_>, accepted: &[(String, Timestamp)], seen: &ObservedJobs) -> anyhow::Result<()> {
    let (queue, whole) = (Latencies::new()?, Latencies::new()?);
    let (event, after_answer) = (Latencies::new()?, Latencies::new()?);
    let mut lost = 0;
    for (id, answered) in accepted {
        let job = seen.lock().remove(id).unwrap_or_default();
        if let Some(queued) = job.queued {
            after_answer.record_between(*answered, queued);
        }
        let Some((document, arrived)) = job.finished else {
            lost += 1;
            continue;
        };
        if let Some(text) = document.error_text() {
            bench.errors.add(text);
        }
        if let Some(started) = document.started_at {
            queue.record_between(document.created_at, started);
        }
        if let Some(finished) = document.finished_at() {
            whole.record_between(document.created_at, finished);
            event.record_between(finished, arrived);
        }
    }
    if lost > 0 {
        bench
            .errors
            .add_many(format!("a job did not end, or its event did not arrive, within {} s", TIMEOUT.as_secs()), lost);
    }
    let rate = bench.args.rate;
    let meaning = "createdAt to startedAt of each job of the even load: its commit, its delivery, the wait for a slot";
    let figure = Figure::new(format!("Queue time, {rate} jobs/s"), meaning).latencies(&queue);
    bench.report.add("queue", figure.with_floor(bench.disk_floor(1)));
    let meaning = "createdAt to the end of each job of the even load, with an engine that does nothing";
    let figure = Figure::new(format!("End to end, {rate} jobs/s"), meaning).latencies(&whole);
    bench.report.add("endToEnd", figure.with_floor(bench.disk_floor(2)));
    if bench.gateway.is_this_machine {
        let meaning = "from failedAt or completedAt, taken just before the last commit of a job, to the arrival of its \
                       event; this includes the commit, so it is an upper bound of the time from the commit to the \
                       event";
        let figure = Figure::new("Event, with its commit", meaning).latencies(&event);
        bench.report.add("event.withCommit", figure.with_floor(bench.disk_floor(1)));
    } else {
        bench.report.skip("event.withCommit", "the clocks of two machines do not agree precisely enough");
    }
    let meaning = "how much later than the 202 of a submit its job.queued event arrived; both follow the same commit, \
                   and an event that arrives first counts as 0";
    bench.report.add("event.afterAnswer", Figure::new("Event, after the 202", meaning).latencies(&after_answer));
    Ok(())
}
