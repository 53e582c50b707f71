//! Faults of processes: crashes, freezes, drains, clocks that jump, network partitions.

use std::{sync::Arc, time::Duration};

use mediaforge::{
    domain::{credits::LedgerEntry, job::Status},
    store::{AccountStore as _, JobStore as _},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    plan::Fault,
    process::Process,
    serving::{self, Serving},
    store::SimStore,
    world::World,
};

#[derive(Debug, Clone, Copy)]
pub enum Role {
    Gateway,
    Worker,
}

/// Starts a gateway or a worker at its index.
pub fn start(world: &Arc<World>, role: Role, place: usize, generation: u64) {
    match role {
        Role::Gateway => {
            serving::put(&world.gateways, place, Serving::gateway(world, format!("g{place}.{generation}")));
        }
        Role::Worker => serving::put(&world.workers, place, Serving::worker(world, format!("w{place}.{generation}"))),
    }
}

/// Injects faults until the time is up, and returns when every stopped process runs again.
pub async fn torment(world: Arc<World>) {
    let end = Instant::now() + world.plan.chaos;
    let mut healing = JoinSet::new();
    let mut generation = 0;
    while Instant::now() < end {
        sleep(world.dice.millis(800, 6_000)).await;
        generation += 1;
        let (role, place) = if world.dice.chance(300) {
            (Role::Gateway, world.dice.index(world.plan.gateways))
        } else {
            (Role::Worker, world.dice.index(world.plan.workers))
        };
        let places = match role {
            Role::Gateway => &world.gateways,
            Role::Worker => &world.workers,
        };
        if world.strikes(Fault::StoreOutage) {
            *world.outage.lock().expect("a lock") = Some(Instant::now() + world.dice.millis(1_000, 60_000));
        }
        if world.strikes(Fault::Crash)
            && let Some(crashed) = serving::take(places, place)
        {
            crashed.process.kill();
            healing.spawn(restart(Arc::clone(&world), role, place, generation));
            continue;
        }
        if world.strikes(Fault::Drain)
            && let Some(draining) = serving::take(places, place)
        {
            healing.spawn(drain(Arc::clone(&world), draining, role, place, generation));
            continue;
        }
        let Some(serving) = places.lock().expect("a lock")[place].clone() else { continue };
        if world.strikes(Fault::Freeze) {
            let time = world.plan.worker.attempt.lease * 3;
            let time = time.mul_f64(f64::from(u32::try_from(world.dice.between(1, 100)).expect("a number")) / 100.0);
            healing.spawn(async move {
                serving.process.freeze(true);
                sleep(time).await;
                serving.process.freeze(false);
            });
        } else if world.strikes(Fault::Partition) {
            serving.process.cut_off_for(world.dice.millis(500, 45_000));
        } else if world.strikes(Fault::ClockJump) {
            serving.process.set_clock();
            world.event(&serving.process.name, "clock jumps", "", String::new);
        }
    }
    while healing.join_next().await.is_some() {}
}

async fn restart(world: Arc<World>, role: Role, place: usize, generation: u64) {
    sleep(world.dice.millis(200, 20_000)).await;
    start(&world, role, place, generation);
}

/// Stops a process like a deployment, and starts its successor, sometimes before the end of the first.
async fn drain(world: Arc<World>, draining: Arc<Serving>, role: Role, place: usize, generation: u64) {
    world.event(&draining.process.name, "drains", "", String::new);
    let overlaps = world.dice.chance(500);
    if overlaps {
        start(&world, role, place, generation);
    }
    let drained = draining.shutdown.drain(world.plan.drain).await;
    world.event(&draining.process.name, "drained", "", || format!("{drained:?}"));
    draining.process.kill();
    if !overlaps {
        restart(world, role, place, generation).await;
    }
}

/// An operator that grants credits (each payment twice) and redrives failed jobs.
pub async fn operate(world: Arc<World>) {
    let process = Process::new(&world, "oper".to_owned());
    let store = SimStore(Arc::clone(&process));
    let end = Instant::now() + world.plan.chaos;
    let mut payment = 0;
    while Instant::now() < end {
        sleep(world.dice.millis(5_000, 30_000)).await;
        payment += 1;
        let accounts: Vec<_> = world.records.lock().expect("a lock").accounts.keys().cloned().collect();
        if !accounts.is_empty() && world.dice.chance(300) {
            let account = world.dice.pick(&accounts).clone();
            let grant = LedgerEntry::grant(account, &format!("payment-{payment}"), 5, world.now());
            for _ in 0..2 {
                let _ = store.adjust(&grant).await;
            }
        }
        let failed: Vec<_> = {
            let records = world.records.lock().expect("a lock");
            let failed = records.rows.values().filter(|row| row.job.value.status() == Status::Failed);
            failed.map(|row| row.job.clone()).collect()
        };
        if failed.is_empty() || !world.dice.chance(500) {
            continue;
        }
        let job = world.dice.pick(&failed).clone();
        let config = &world.plan.config;
        let now = mediaforge::domain::clock::Clock::now(&*process);
        if let Ok(next) = job.value.redrive(now, config.deadlines.illustration, &config.policy) {
            // The message is left to the sweeper.
            let _ = store.commit(job.version, &next).await;
        }
    }
}

/// How long to wait after every job has ended. Nothing may happen then.
pub const AFTERMATH: Duration = Duration::from_secs(90);
