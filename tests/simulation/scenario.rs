//! One run: a system starts, is used while faults occur, gets time to settle, and is checked.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use mediaforge::{
    domain::{
        ids::{TeamId, UserId},
        job::Status,
        request::GenerateRequest,
    },
    jobs::Submitter,
};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    checks,
    client::Client,
    nemesis::{self, Role},
    plan::Broken,
    serving::Serving,
    world::{Report, World},
};

/// In seconds. With clocks that are further apart than this, a job may rightly wait or miss its deadline, so it is not probed.
const PROBED_SKEW: u64 = 2;
const PROBE: &str = "when faults are over everything works again";
/// A worker whose clock is behind the gateway's takes a new job for one that must wait, and acknowledges its message. The
/// sweeper publishes it again after up to 30 s. All slots may be taken then, so that the message is refused once.
const PROBE_TIME: Duration = Duration::from_mins(2);

/// Runs one seed. Everything that happens follows from it.
///
/// One thread runs every task, in the order in which timers fire, and time passes only when no task is ready. Pictures are
/// decoded on a second thread, one at a time. Meanwhile time stands still, and the result is read only when no other task
/// is ready. Only a task that is alone at that moment (`Process::alone`) uses the second thread, so its speed does not
/// change the run.
pub fn run(seed: u64, broken: Option<Broken>, is_told: bool) -> Report {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .global_queue_interval(u32::MAX)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = World::new(seed, broken, is_told);
        play(&world).await;
        let report = world.report();
        world.end();
        report
    })
}

async fn play(world: &Arc<World>) {
    let plan = world.plan.clone();
    world.event("world", "begins", "", || format!("{plan:#?}"));
    world.gateways.lock().expect("a lock").resize_with(plan.gateways, || None);
    world.workers.lock().expect("a lock").resize_with(plan.workers, || None);
    (0..plan.gateways).for_each(|place| nemesis::start(world, Role::Gateway, place, 0));
    (0..plan.workers).for_each(|place| nemesis::start(world, Role::Worker, place, 0));
    let users: Vec<UserId> = (0..plan.users).map(|n| format!("user{n}").parse().expect("a user id")).collect();
    let team: TeamId = "team".parse().expect("a team id");
    if world.dice.chance(600) {
        let mut records = world.records.lock().expect("a lock");
        records.teams.extend(users.iter().take(2).map(|user| (user.clone(), team.clone())));
    }
    let mut acting = JoinSet::new();
    for user in &users {
        let others = users.iter().filter(|other| *other != user).cloned().collect();
        acting.spawn(Client { world: Arc::clone(world), user: user.clone(), others }.act());
    }
    acting.spawn(nemesis::torment(Arc::clone(world)));
    acting.spawn(nemesis::operate(Arc::clone(world)));
    while let Some(ended) = acting.join_next().await {
        ended.expect("the simulation itself does not panic");
    }
    world.calm_down();
    for serving in
        world.gateways.lock().expect("a lock").iter().chain(&*world.workers.lock().expect("a lock")).flatten()
    {
        serving.process.reconnect();
    }
    settle(world, plan.bound()).await;
    if plan.skew <= PROBED_SKEW && !world.is_violated() {
        probe(world).await;
        settle(world, plan.bound()).await;
    }
    checks::all(world);
}

/// Checks that everything works again: more jobs than there are slots must finish in time.
async fn probe(world: &Arc<World>) {
    let Some(gateway) = world.some_gateway() else { return world.violation(PROBE, "no gateway runs".to_owned()) };
    let slots = world.plan.workers * world.plan.worker.slots;
    let mut probes = JoinSet::new();
    for n in 0..=slots {
        probes.spawn(timeout(PROBE_TIME, probed(Arc::clone(&gateway), n)));
    }
    while let Some(ended) = probes.join_next().await {
        let ended = ended.expect("the simulation itself does not panic");
        if ended != Ok(Some(Status::Succeeded)) {
            world.violation(PROBE, format!("one of {slots} jobs ended as {ended:?}"));
        }
    }
}

/// Submits a job and returns its last status.
async fn probed(gateway: Arc<Serving>, n: usize) -> Option<Status> {
    let user: UserId = format!("probe{n}").parse().expect("a user id");
    let side = Some(8);
    let prompt = Some("a probe".to_owned());
    let request = GenerateRequest { prompt, width: side, height: side, ..GenerateRequest::default() };
    let submitter = Submitter { user: user.clone(), idempotency_key: None, trace: None };
    let accepted = gateway.jobs.submission.submit_illustration(&request, submitter).await.ok()?;
    let mut changes = gateway.jobs.queries.watch_job(&user, &accepted.job.value.id).await.ok()??;
    let mut last = None;
    while let Some(Ok(job)) = changes.next().await {
        last = Some(job.value.status());
    }
    last
}

/// Waits until every job has ended, and then for a while in which nothing may happen.
async fn settle(world: &Arc<World>, bound: Duration) {
    let end = Instant::now() + bound;
    while Instant::now() < end && !world.is_violated() {
        sleep(Duration::from_secs(5)).await;
        if world.records.lock().expect("a lock").is_settled() {
            let seq = world.records.lock().expect("a lock").seq();
            sleep(nemesis::AFTERMATH).await;
            if world.records.lock().expect("a lock").seq() == seq {
                return;
            }
        }
    }
}
