//! One run: all parts in order, on one system.

use std::path::Path;

use anyhow::Context as _;
use http::StatusCode;
use tokio::time::Instant;

use super::{
    args::{BenchArgs, Part},
    client::{Target, callers},
    context::{Bench, NO_PROC, connections_title, submits},
    drain, floors, gentle,
    load::{Until, closed_loop},
    machine::Machine,
    progress::Progress,
    report::{Figure, Report},
    seed,
    stats::{Errors, Latencies, float},
    steady,
    system::{self, System},
    watchers,
};

/// Number of measured starts.
const STARTS: usize = 5;

/// Starts a system with its data below `directory` and measures it. Returns also the end of its log.
pub(super) async fn measure_own(
    args: &BenchArgs,
    progress: &Progress,
    directory: &Path,
) -> anyhow::Result<(Report, String)> {
    let mut report = Report::new(Machine::here(Some(directory)), "own".to_owned());
    report.settings = system::SETTINGS.iter().copied().collect();
    if args.measures(Part::Floors) {
        measure_disk_floor(args, progress, &mut report, directory).await?;
        measure_http_floor(args, progress, &mut report).await?;
    }
    if args.measures(Part::Start) {
        measure_starts(progress, &mut report, directory).await?;
    }
    let data = directory.join("data");
    if args.seed_jobs > 0 {
        let begun = Instant::now();
        seed::fill(&data, args.seed_jobs, progress).await.context("cannot fill the store")?;
        report.seeded_jobs = args.seed_jobs;
        report.seeding_ms = u64::try_from(begun.elapsed().as_millis()).ok();
    }
    progress.show("starting the system");
    let system = System::start(&data).await?;
    let submits = submits(&system.gateway)?;
    let gateway = system.gateway.clone();
    let mut bench = Bench { args, progress, gateway, errors: Errors::default(), report, submits };
    if args.measures(Part::Start) {
        measure_idle_memory(&mut bench, &system).await?;
    }
    let measured = measure_system(&mut bench, &system).await;
    let mut log = system.log();
    system.stop().await?;
    measured.with_context(|| format!("the log of the measured system ends with: {log}"))?;
    if args.measures(Part::Submit) {
        let accepted = measure_gateway(&mut bench, &data).await;
        log.push_str(&accepted.context("cannot measure the gateway on its own")?);
    }
    bench.report.add_errors(&bench.errors);
    Ok((bench.report, log))
}

/// Measures first what depends on the size of the store, and last what adds the most jobs to it.
async fn measure_system(bench: &mut Bench<'_>, system: &System) -> anyhow::Result<()> {
    if bench.args.measures(Part::Pages) {
        steady::list(bench).await?;
        let worker = system.worker.as_ref().context("the measured system has no worker")?;
        steady::sweep(bench, worker).await?;
    }
    if bench.args.measures(Part::Watchers) {
        watchers::measure(bench, system).await?;
    }
    measure_under_load(bench).await?;
    match system.memory() {
        Some(memory) => {
            let meaning = "the peak of resident memory of the system in this run (VmHWM)";
            bench
                .report
                .add("memory.peak", Figure::new("Memory, peak of this run", meaning).count(1).bytes(memory.peak));
        }
        None => bench.report.skip("memory.peak", NO_PROC),
    }
    Ok(())
}

/// Measures submits to a gateway that runs alone in its process, as it does when the worker is a separate service. The
/// jobs stay queued in the store. Returns the end of the log of the gateway.
async fn measure_gateway(bench: &mut Bench<'_>, data: &Path) -> anyhow::Result<String> {
    bench.progress.show("starting the gateway");
    let gateway = System::start_gateway(data).await?;
    bench.gateway = gateway.gateway.clone();
    bench.submits = submits(&bench.gateway)?;
    for connections in bench.args.connections.clone() {
        measure_submits(bench, connections, Setup::GatewayAlone).await?;
    }
    let log = gateway.log();
    gateway.stop().await?;
    Ok(log)
}

/// Measures a system that is already running.
pub(super) async fn measure_remote(args: &BenchArgs, progress: &Progress, url: &url::Url) -> anyhow::Result<Report> {
    let gateway = Target::of(url)?;
    let mut report = Report::new(Machine::here(None), url.to_string());
    if args.measures(Part::Floors) {
        measure_http_floor(args, progress, &mut report).await?;
        report.skip("disk.fdatasync", "the disk belongs to the other system");
    }
    if args.measures(Part::Start) {
        report.skip("start", "this command did not start the process");
        report.skip("memory.idle", "this command cannot inspect the process");
    }
    report.skip("memory.peak", "this command cannot inspect the process");
    if args.measures(Part::Watchers) {
        report.skip("memory.watcher", "this command cannot inspect the process");
    }
    let submits = submits(&gateway)?;
    let mut bench = Bench { args, progress, gateway, errors: Errors::default(), report, submits };
    if args.measures(Part::Pages) {
        steady::list(&mut bench).await?;
        bench.report.skip("sweep", "only the address of the gateway is known, and the worker sweeps");
    }
    measure_under_load(&mut bench).await?;
    if args.measures(Part::Submit) {
        for &connections in &args.connections {
            measure_submits(&mut bench, connections, Setup::WithWorker).await?;
        }
    }
    bench.report.add_errors(&bench.errors);
    Ok(bench.report)
}

async fn measure_under_load(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    if bench.args.measures(Part::Gentle) {
        gentle::measure(bench).await?;
    }
    if bench.args.measures(Part::Drain) {
        drain::measure(bench).await?;
    }
    Ok(())
}

/// What runs while submits are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setup {
    /// No worker takes the jobs.
    GatewayAlone,
    /// A worker runs the jobs at the same time.
    WithWorker,
}

async fn measure_disk_floor(
    args: &BenchArgs,
    progress: &Progress,
    report: &mut Report,
    directory: &Path,
) -> anyhow::Result<()> {
    progress.show("floor: fdatasync of this disk");
    let latencies = Latencies::new()?;
    let (directory, time, record) = (directory.to_owned(), args.duration / 2, latencies.clone());
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || floors::measure_disk(&directory, time, &record)).await??;
    let rate = float(latencies.count()) / begun.elapsed().as_secs_f64();
    let meaning = "write 4 KiB to a preallocated file in the data directory, then fdatasync; one after the other";
    let figure = Figure::new("fdatasync of this disk", meaning).latencies(&latencies).per_second(rate);
    report.add("disk.fdatasync", figure);
    Ok(())
}

/// Measures the bare handler in a process with as many threads as the measured system, under the same load.
async fn measure_http_floor(args: &BenchArgs, progress: &Progress, report: &mut Report) -> anyhow::Result<()> {
    let floor = system::Floor::start().await?;
    let calls = submits(&floor.target)?;
    let errors = Errors::default();
    for &connections in &args.connections {
        progress.show(format!("floor: a bare handler, {}", connections_title(connections)));
        let senders = callers(&floor.target, connections, &calls, StatusCode::ACCEPTED, &errors, None).await?;
        let latencies = Latencies::new()?;
        let load = closed_loop(senders, Until::Elapsed(args.duration / 2), &latencies).await;
        let title = format!("Bare handler, {}", connections_title(connections));
        let meaning = "an axum handler, alone in its process, parses the same JSON and answers an id; closed loop";
        let figure = Figure::new(title, meaning).latencies(&latencies).per_second(load.per_second());
        report.add(format!("bare.{connections}"), figure);
    }
    anyhow::ensure!(errors.kinds().is_empty(), "the bare handler failed: {:?}", errors.kinds());
    floor.stop().await
}

async fn measure_starts(progress: &Progress, report: &mut Report, directory: &Path) -> anyhow::Result<()> {
    progress.show("cold starts");
    let latencies = Latencies::new()?;
    for number in 0..STARTS {
        let system = System::start(&directory.join(format!("start-{number}"))).await?;
        latencies.record(system.started_in);
        system.stop().await?;
    }
    let meaning =
        "from the start of the process to its first response to /health, on an empty data directory each time";
    report.add("start", Figure::new("Cold start, empty store", meaning).latencies(&latencies));
    Ok(())
}

async fn measure_idle_memory(bench: &mut Bench<'_>, system: &System) -> anyhow::Result<()> {
    bench.progress.show("idle memory");
    let latencies = Latencies::new()?;
    latencies.record(system.started_in);
    let title = format!("Start on {} jobs", bench.args.seed_jobs);
    let meaning = "the same for the measured system on the filled store; one start";
    bench.report.add("start.filled", Figure::new(title, meaning).latencies(&latencies));
    match watchers::settled(system).await {
        Some(bytes) => {
            let meaning = "resident memory of the system after its start, once it no longer changes (VmRSS)";
            bench.report.add("memory.idle", Figure::new("Memory, idle", meaning).count(1).bytes(bytes));
        }
        None => bench.report.skip("memory.idle", NO_PROC),
    }
    Ok(())
}

/// Measures how many jobs this many connections can submit.
async fn measure_submits(bench: &mut Bench<'_>, connections: usize, setup: Setup) -> anyhow::Result<()> {
    let name = connections_title(connections);
    bench.progress.show(format!("submit, {name}"));
    match setup {
        Setup::GatewayAlone => bench.warm(connections).await?,
        Setup::WithWorker => bench.warm_up(connections).await?,
    }
    let senders = bench.submitters(connections, None).await?;
    let latencies = Latencies::new()?;
    let load = closed_loop(senders, Until::Elapsed(bench.args.duration), &latencies).await;
    let meaning = match setup {
        Setup::GatewayAlone => {
            "POST /generate until its 202, closed loop: each connection sends again as soon as it has its response; \
             the gateway runs alone in its process, as it does when the worker is a separate service"
        }
        Setup::WithWorker => {
            bench.progress.show(format!("waiting for the jobs of the {name}"));
            bench.wait_until_finished().await?;
            "POST /generate until its 202, closed loop: each connection sends again as soon as it has its response; \
             the same system runs the jobs at the same time"
        }
    };
    let disk = bench.report.floor("disk.fdatasync", "fdatasync");
    let bare = bench.report.floor(&format!("bare.{connections}"), "bare handler");
    // The handler alone would be an unfair floor for a durable submit, so there is no floor without the disk.
    let floor = bare.zip(disk).map(|(bare, disk)| bare.then(&disk, Some(connections)));
    let title = format!("Submit, {name}");
    let figure = Figure::new(title, meaning).latencies(&latencies).per_second(load.per_second()).with_floor(floor);
    bench.report.add(format!("submit.{connections}"), figure);
    Ok(())
}
