//! One run: the parts in their order, on one system.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::{
    BenchArgs, Part,
    client::{Call, Client, OnAnswer, Target, callers},
    document::Balance,
    drain, floors, gentle,
    load::{Until, closed_loop},
    machine::Machine,
    progress::Progress,
    report::{Figure, Floor, Report},
    seed,
    stats::{Errors, Latencies},
    steady,
    system::{self, System},
    watchers,
};
use crate::domain::kind::JobKind;

/// Users that the load is spread over, so that nobody's account or limit is the narrow place.
const USERS: usize = 64;
/// How often the start is measured.
const STARTS: usize = 5;
/// How long accepted jobs may take to finish before the run goes on without them.
const TIMEOUT: Duration = Duration::from_mins(2);
/// How often an account is asked whether its jobs are finished.
const LOOK: Duration = Duration::from_millis(20);

/// What every part needs.
pub(super) struct Bench<'a> {
    pub args: &'a BenchArgs,
    pub progress: &'a Progress,
    pub gateway: Target,
    pub errors: Errors,
    pub report: Report,
    /// One request for a picture per user.
    pub submits: Arc<[Call]>,
}

/// Those whose jobs the load is.
pub(super) fn users() -> impl Iterator<Item = String> {
    (0..USERS).map(|number| format!("bench-{number:02}"))
}

/// Measures a system of its own, with its data below `directory`.
pub(super) async fn own(args: &BenchArgs, progress: &Progress, directory: &Path) -> anyhow::Result<(Report, String)> {
    let mut report = Report::new(Machine::here(Some(directory)), "own".to_owned());
    report.settings = system::SETTINGS.iter().copied().collect();
    if args.measures(Part::Floors) {
        floor_of_the_disk(args, progress, &mut report, directory).await?;
        floor_of_the_stack(args, progress, &mut report).await?;
    }
    if args.measures(Part::Start) {
        starts(progress, &mut report, directory).await?;
    }
    let data = directory.join("data");
    if args.seed_jobs > 0 {
        let begun = Instant::now();
        seed::fill(&data, args.seed_jobs, progress).await.context("cannot fill the store")?;
        report.seeded_jobs = args.seed_jobs;
        report.seeding_ms = u64::try_from(begun.elapsed().as_millis()).ok();
    }
    progress.say("starting the system");
    let system = System::start(&data).await?;
    let submits = submits(&system.gateway)?;
    let gateway = system.gateway.clone();
    let mut bench = Bench { args, progress, gateway, errors: Errors::default(), report, submits };
    if args.measures(Part::Start) {
        idle_memory(&mut bench, &system).await?;
    }
    let measured = on_own(&mut bench, &system).await;
    let mut log = system.log();
    system.stop().await?;
    measured.with_context(|| format!("the system says: {log}"))?;
    if args.measures(Part::Submit) {
        let accepted = on_gateway(&mut bench, &data).await;
        log.push_str(&accepted.context("cannot measure the gateway alone")?);
    }
    bench.report.close(&bench.errors);
    Ok((bench.report, log))
}

/// What is measured while the store is as it was filled comes first, what fills it most comes last.
async fn on_own(bench: &mut Bench<'_>, system: &System) -> anyhow::Result<()> {
    if bench.args.measures(Part::Pages) {
        steady::list(bench).await?;
        let worker = system.worker.as_ref().context("the system to measure has no worker")?;
        steady::sweep(bench, worker).await?;
    }
    if bench.args.measures(Part::Watchers) {
        watchers::measure(bench, system).await?;
    }
    under_load(bench).await?;
    match system.memory() {
        Some(memory) => {
            let meaning = "the most resident memory that the system held at once in this run (VmHWM)";
            bench
                .report
                .add("memory.peak", Figure::new("Memory, most in this run", meaning).count(1).bytes(memory.peak));
        }
        None => bench.report.leave_out("memory.peak", NO_PROC),
    }
    Ok(())
}

/// How fast jobs get in: into a gateway that has its process for itself, as where the worker is another service. The jobs
/// wait in the store. Answers what the gateway had to say.
async fn on_gateway(bench: &mut Bench<'_>, data: &Path) -> anyhow::Result<String> {
    bench.progress.say("starting the gateway");
    let gateway = System::start_gateway(data).await?;
    bench.gateway = gateway.gateway.clone();
    bench.submits = submits(&bench.gateway)?;
    for connections in bench.args.connections.clone() {
        submit(bench, connections, Alone::Yes).await?;
    }
    let log = gateway.log();
    gateway.stop().await?;
    Ok(log)
}

/// Measures the system at a URL.
pub(super) async fn at(args: &BenchArgs, progress: &Progress, url: &url::Url) -> anyhow::Result<Report> {
    let gateway = Target::of(url)?;
    let mut report = Report::new(Machine::here(None), url.to_string());
    if args.measures(Part::Floors) {
        floor_of_the_stack(args, progress, &mut report).await?;
        report.leave_out("disk.fdatasync", "the disk is the other system's");
    }
    if args.measures(Part::Start) {
        report.leave_out("start", "the process is not this command's to start");
        report.leave_out("memory.idle", "the process is not this command's to look into");
    }
    report.leave_out("memory.peak", "the process is not this command's to look into");
    if args.measures(Part::Watchers) {
        report.leave_out("memory.watcher", "the process is not this command's to look into");
    }
    let submits = submits(&gateway)?;
    let mut bench = Bench { args, progress, gateway, errors: Errors::default(), report, submits };
    if args.measures(Part::Pages) {
        steady::list(&mut bench).await?;
        bench.report.leave_out("sweep", "only the gateway's address is known, and sweeping is the worker's");
    }
    under_load(&mut bench).await?;
    if args.measures(Part::Submit) {
        for &connections in &args.connections {
            submit(&mut bench, connections, Alone::No).await?;
        }
    }
    bench.report.close(&bench.errors);
    Ok(bench.report)
}

async fn under_load(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    if bench.args.measures(Part::Gentle) {
        gentle::measure(bench).await?;
    }
    if bench.args.measures(Part::Drain) {
        drain::measure(bench).await?;
    }
    Ok(())
}

/// Whether nobody works on what the gateway accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alone {
    Yes,
    No,
}

/// Why there is no memory in the report.
pub(super) const NO_PROC: &str = "this operating system does not tell it in /proc";

async fn floor_of_the_disk(
    args: &BenchArgs,
    progress: &Progress,
    report: &mut Report,
    directory: &Path,
) -> anyhow::Result<()> {
    progress.say("floor: fdatasync of this disk");
    let latencies = Latencies::new()?;
    let (directory, time, record) = (directory.to_owned(), args.duration / 2, latencies.clone());
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || floors::disk(&directory, time, &record)).await??;
    let rate = super::stats::float(latencies.count()) / begun.elapsed().as_secs_f64();
    let meaning = "4 KiB written to a file of the data directory that has its size already, and fdatasync, one by one";
    let figure = Figure::new("fdatasync of this disk", meaning).latencies(&latencies).per_second(rate);
    report.add("disk.fdatasync", figure);
    Ok(())
}

/// In a process of its own with as many threads as the measured system, under the same load.
async fn floor_of_the_stack(args: &BenchArgs, progress: &Progress, report: &mut Report) -> anyhow::Result<()> {
    let floor = system::Floor::start().await?;
    let calls = submits(&floor.target)?;
    let errors = Errors::default();
    for &connections in &args.connections {
        progress.say(format!("floor: a bare handler, {}", of_connections(connections)));
        let senders = callers(&floor.target, connections, &calls, StatusCode::ACCEPTED, &errors, None).await?;
        let latencies = Latencies::new()?;
        let load = closed_loop(senders, Until::Elapsed(args.duration / 2), &latencies).await;
        let title = format!("Bare handler, {}", of_connections(connections));
        let meaning = "an axum handler alone in a process parses the same JSON and answers an id; closed loop";
        let figure = Figure::new(title, meaning).latencies(&latencies).per_second(load.per_second());
        report.add(format!("bare.{connections}"), figure);
    }
    anyhow::ensure!(errors.kinds().is_empty(), "the bare handler failed: {:?}", errors.kinds());
    floor.stop().await
}

async fn starts(progress: &Progress, report: &mut Report, directory: &Path) -> anyhow::Result<()> {
    progress.say("cold starts");
    let latencies = Latencies::new()?;
    for number in 0..STARTS {
        let system = System::start(&directory.join(format!("start-{number}"))).await?;
        latencies.record(system.started_in);
        system.stop().await?;
    }
    let meaning = "from the start of the process to its first answer of /health, each on an empty data directory";
    report.add("start", Figure::new("Cold start, empty store", meaning).latencies(&latencies));
    Ok(())
}

async fn idle_memory(bench: &mut Bench<'_>, system: &System) -> anyhow::Result<()> {
    bench.progress.say("idle memory");
    let latencies = Latencies::new()?;
    latencies.record(system.started_in);
    let title = format!("Start on {} jobs", bench.args.seed_jobs);
    let meaning = "the same, of the measured system on the store as it was filled; one start";
    bench.report.add("start.filled", Figure::new(title, meaning).latencies(&latencies));
    match watchers::settled(system).await {
        Some(bytes) => {
            let meaning = "resident memory of the system after its start, once it has stopped changing (VmRSS)";
            bench.report.add("memory.idle", Figure::new("Memory, idle", meaning).count(1).bytes(bytes));
        }
        None => bench.report.leave_out("memory.idle", NO_PROC),
    }
    Ok(())
}

/// How much a number of clients can get in.
async fn submit(bench: &mut Bench<'_>, connections: usize, alone: Alone) -> anyhow::Result<()> {
    let name = of_connections(connections);
    bench.progress.say(format!("submit, {name}"));
    match alone {
        Alone::Yes => bench.warm(connections).await?,
        Alone::No => bench.warm_up(connections).await?,
    }
    let senders = bench.submitters(connections, None).await?;
    let latencies = Latencies::new()?;
    let load = closed_loop(senders, Until::Elapsed(bench.args.duration), &latencies).await;
    let meaning = match alone {
        Alone::Yes => {
            "POST /generate until its 202, closed loop: each connection sends again once it is answered; \
             a gateway alone in its process, as where the worker is another service"
        }
        Alone::No => {
            bench.progress.say(format!("waiting for the jobs of {name}"));
            bench.until_finished().await?;
            "POST /generate until its 202, closed loop: each connection sends again once it is answered; \
             the same system works on the jobs meanwhile"
        }
    };
    let disk = bench.report.floor("disk.fdatasync", "fdatasync");
    let bare = bench.report.floor(&format!("bare.{connections}"), "bare handler");
    // Without a disk to compare with, the handler alone would be an unfair floor for something durable.
    let floor = bare.zip(disk).map(|(bare, disk)| bare.then(&disk, Some(connections)));
    let title = format!("Submit, {name}");
    let figure = Figure::new(title, meaning).latencies(&latencies).per_second(load.per_second()).beside(floor);
    bench.report.add(format!("submit.{connections}"), figure);
    Ok(())
}

pub(super) fn of_connections(connections: usize) -> String {
    if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") }
}

fn submits(target: &Target) -> anyhow::Result<Arc<[Call]>> {
    let prompt = "a lighthouse at dawn, waves against the rocks, gulls in a pale sky";
    let body = |user| json!({ "userId": user, "prompt": prompt, "styleId": "flat-2d", "width": 1024, "height": 768 });
    users().map(|user| target.post(JobKind::Illustration.submit_path(), body(user).to_string())).collect()
}

impl Bench<'_> {
    /// Connections that ask for pictures.
    pub(super) async fn submitters(
        &self,
        connections: usize,
        on_answer: Option<&OnAnswer>,
    ) -> anyhow::Result<Vec<super::client::Caller>> {
        let accepted = StatusCode::ACCEPTED;
        callers(&self.gateway, connections, &self.submits, accepted, &self.errors, on_answer).await
    }

    /// Connections for whatever takes as many as the run has.
    pub(super) fn most_connections(&self) -> usize {
        self.args.connections.iter().copied().max().unwrap_or(1)
    }

    /// A tenth of the time, uncounted: what is done for the first time is slower.
    pub(super) async fn warm_up(&self, connections: usize) -> anyhow::Result<()> {
        self.warm(connections).await?;
        self.until_finished().await
    }

    async fn warm(&self, connections: usize) -> anyhow::Result<()> {
        let senders = self.submitters(connections, None).await?;
        closed_loop(senders, Until::Elapsed(self.args.duration / 10), &Latencies::new()?).await;
        Ok(())
    }

    /// Waits until no account of the run holds credits: then every job is finished. One question at a time, so that
    /// asking costs the system next to nothing.
    pub(super) async fn until_finished(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut client = Client::new(&self.gateway);
        for user in users() {
            let credits = self.gateway.get(&format!("/credits?userId={user}"))?;
            while client.json::<Balance>(&credits).await?.held > 0 {
                if begun.elapsed() > TIMEOUT {
                    self.errors.add(format!("jobs were not finished after {} s", TIMEOUT.as_secs()));
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// What `on_answer` is told of accepted jobs: their ids and when the answer was here.
    pub(super) fn note_ids(into: Arc<std::sync::Mutex<Vec<(String, crate::domain::Timestamp)>>>) -> OnAnswer {
        Arc::new(move |_, body: &Bytes, at| {
            if let Ok(accepted) = serde_json::from_slice::<super::document::Accepted>(body) {
                into.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((accepted.illustration_id, at));
            }
        })
    }

    /// The floor of a latency that waits for the disk that often.
    pub(super) fn disk(&self, times: u32) -> Option<Floor> {
        self.report.floor("disk.fdatasync", "fdatasync").map(|floor| floor.times(times))
    }
}
