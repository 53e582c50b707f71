//! A gentle, even load: how long a job waits, how long it takes in all, how soon its watcher knows.

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
    document::Document,
    load::{Schedule, open_loop},
    report::Figure,
    run::{Bench, users},
    stats::Latencies,
};
use crate::domain::Timestamp;

/// How long the last job may take to be seen finished.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether all are.
const LOOK: Duration = Duration::from_millis(10);

/// What the watchers have seen of each job.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<HashMap<String, Job>>>);

#[derive(Default)]
struct Job {
    /// When its first event, `job.queued`, was here.
    queued: Option<Timestamp>,
    /// Its last state, and when that event was here.
    finished: Option<(Document, Timestamp)>,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, at: Timestamp, data: &str) {
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
    bench.progress.say(format!("a gentle load, {rate} jobs a second"));
    bench.warm_up(1).await?;
    let seen = Seen::default();
    let _watching = watch(bench, &seen).await?;

    let accepted = Arc::new(Mutex::new(Vec::new()));
    let senders = bench.submitters(bench.most_connections(), Some(&Bench::note_ids(Arc::clone(&accepted)))).await?;
    let submits = Latencies::new()?;
    let schedule = Schedule::lasting(rate, bench.args.duration * 2);
    let load = open_loop(senders, schedule.start()?, &submits).await;
    let accepted = std::mem::take(&mut *accepted.lock().unwrap_or_else(PoisonError::into_inner));

    let begun = Instant::now();
    while !accepted.iter().all(|(id, _)| seen.lock().get(id).is_some_and(|job| job.finished.is_some())) {
        if begun.elapsed() > TIMEOUT {
            break;
        }
        sleep(LOOK).await;
    }
    let meaning = format!(
        "POST /generate until its 202, {rate} a second whatever the system does; counted from the moment each was to \
         be sent, so that nothing hides behind a slow answer"
    );
    let figure = Figure::new(format!("Submit, {rate} jobs/s"), meaning).latencies(&submits);
    let bare = bench.report.floor("bare.1", "bare handler").zip(bench.disk(1));
    let bare = bare.map(|(bare, disk)| bare.then(&disk, None));
    bench.report.add("submit.gentle", figure.per_second(load.per_second()).beside(bare));
    report(bench, &accepted, &seen)
}

/// One stream of all their jobs per user, open when this returns.
async fn watch(bench: &Bench<'_>, seen: &Seen) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for user in users() {
        let call = bench.gateway.get(&format!("/events?userId={user}"))?;
        let mut events = Box::pin(Client::new(&bench.gateway).events(&call).await?.arriving());
        let seen = seen.clone();
        tasks.spawn(async move {
            while let Some((at, data)) = events.next().await {
                seen.note(at, &data);
            }
        });
    }
    Ok(tasks)
}

fn report(bench: &mut Bench<'_>, accepted: &[(String, Timestamp)], seen: &Seen) -> anyhow::Result<()> {
    let (queue, whole) = (Latencies::new()?, Latencies::new()?);
    let (event, after_answer) = (Latencies::new()?, Latencies::new()?);
    let mut lost = 0;
    for (id, answered) in accepted {
        let job = seen.lock().remove(id).unwrap_or_default();
        if let Some(queued) = job.queued {
            after_answer.record_between(*answered, queued);
        }
        let Some((document, here)) = job.finished else {
            lost += 1;
            continue;
        };
        if let Some(trouble) = document.trouble() {
            bench.errors.add(trouble);
        }
        if let Some(started) = document.started_at {
            queue.record_between(document.created_at, started);
        }
        if let Some(finished) = document.finished_at() {
            whole.record_between(document.created_at, finished);
            event.record_between(finished, here);
        }
    }
    if lost > 0 {
        bench.errors.add_many(format!("no event told the end of a job within {} s", TIMEOUT.as_secs()), lost);
    }
    let rate = bench.args.rate;
    let meaning =
        "createdAt to startedAt of each job of the gentle load: its commit, its delivery, the wait for a slot";
    let figure = Figure::new(format!("Queue time, {rate} jobs/s"), meaning).latencies(&queue);
    bench.report.add("queue", figure.beside(bench.disk(1)));
    let meaning = "createdAt to the end of each job of the gentle load, with an engine that does nothing";
    let figure = Figure::new(format!("End to end, {rate} jobs/s"), meaning).latencies(&whole);
    bench.report.add("endToEnd", figure.beside(bench.disk(2)));
    if bench.gateway.is_this_machine {
        let meaning = "from failedAt or completedAt, taken just before the last commit of a job, to the arrival of the \
                       event that tells it: the commit's own wait for the disk is in it, so it is an upper bound of \
                       the time from the commit to the event";
        let figure = Figure::new("Event, with its commit", meaning).latencies(&event);
        bench.report.add("event.withCommit", figure.beside(bench.disk(1)));
    } else {
        bench.report.leave_out("event.withCommit", "the clocks of two machines cannot be compared this exactly");
    }
    let meaning = "how much later than the 202 of a submit its job.queued event arrived; both follow the same commit, \
                   and an event that was first counts as 0";
    bench.report.add("event.afterAnswer", Figure::new("Event, after the 202", meaning).latencies(&after_answer));
    Ok(())
}
