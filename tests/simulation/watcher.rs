//! Clients that watch: what a stream delivers is kept and compared with the true state at the end.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt as _;
use mediaforge::{
    domain::ids::{JobId, UserId},
    store::Version,
};

use crate::{process::Process, serving::Serving, world::World};

pub struct Watched {
    pub process: Arc<Process>,
    pub target: Target,
    /// The last version of each job, and whether that was final.
    pub seen: BTreeMap<JobId, (Version, bool)>,
    /// Whether the stream is still open.
    pub is_open: bool,
}

pub enum Target {
    Job(JobId),
    /// All jobs of a user, from this change on.
    User(UserId, u64),
}

/// Watches one job until its end, or until its gateway is gone.
pub async fn follow(gateway: Arc<Serving>, user: UserId, id: JobId) {
    let world = Arc::clone(&gateway.process.world);
    let Ok(Some(mut changes)) = gateway.jobs.queries.watch_job(&user, &id).await else { return };
    let at = begin(&world, &gateway, Target::Job(id.clone()));
    loop {
        match changes.next().await {
            Some(Ok(job)) => note(&world, at, &job.value.id, job.version, job.value.status().is_final(), true),
            Some(Err(_)) => return end(&world, at),
            None => {
                let is_final =
                    world.clients.lock().expect("a lock").watches[at].seen.get(&id).is_some_and(|seen| seen.1);
                if is_final {
                    world.count("watch ended with the final state");
                } else {
                    world.violation("a watch ends with the final state", id.to_string());
                }
                return end(&world, at);
            }
        }
    }
}

/// Watches all jobs of a user until the stream ends.
pub async fn follow_all(gateway: Arc<Serving>, user: UserId) {
    let world = Arc::clone(&gateway.process.world);
    gateway.process.runs().await;
    let begun = world.records.lock().expect("a lock").seq();
    let mut changes = gateway.jobs.queries.watch_user(&user);
    let at = begin(&world, &gateway, Target::User(user, begun));
    while let Some(Ok(job)) = changes.next().await {
        note(&world, at, &job.value.id, job.version, job.value.status().is_final(), false);
    }
    end(&world, at);
}

fn begin(world: &World, gateway: &Serving, target: Target) -> usize {
    let mut clients = world.clients.lock().expect("a lock");
    let process = Arc::clone(&gateway.process);
    clients.watches.push(Watched { process, target, seen: BTreeMap::new(), is_open: true });
    clients.watches.len() - 1
}

fn note(world: &World, at: usize, id: &JobId, version: Version, is_final: bool, is_strict: bool) {
    let before = world.clients.lock().expect("a lock").watches[at].seen.insert(id.clone(), (version, is_final));
    let grows = before.is_none_or(|(before, _)| if is_strict { before < version } else { before <= version });
    world.count("change watched");
    if !grows {
        world.violation("versions of a watch grow", format!("{id}: {version:?} after {before:?}"));
    }
}

fn end(world: &World, at: usize) {
    world.clients.lock().expect("a lock").watches[at].is_open = false;
}
