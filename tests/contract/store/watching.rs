//! Watch streams.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream::BoxStream};
use mediaforge::{
    domain::job::{Job, Status},
    store::{Result, Stores, Version, Versioned, Watch},
};

use super::Backend;
use crate::support::{New, at, commit, finish, inserted, lease, policy, soon, start, user};

type Changes = BoxStream<'static, Result<Versioned<Job>>>;

async fn next(changes: &mut Changes) -> Versioned<Job> {
    soon("a change", changes.next()).await.expect("an open stream").expect("a change")
}

/// Reads until the job is final; versions must grow on the way.
async fn final_state(changes: &mut Changes) -> Versioned<Job> {
    let mut last = Version(0);
    loop {
        let job = next(changes).await;
        assert!(job.version > last, "version {:?} after {last:?}", job.version);
        last = job.version;
        if job.value.status().is_final() {
            return job;
        }
    }
}

pub async fn a_watcher_sees_the_snapshot_first_and_then_every_state<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let job = inserted(&store, New::default()).await;
    let mut changes = store.jobs.watch(Watch::Job(job.value.id.clone()));
    assert_eq!(next(&mut changes).await, job);
    let running = job.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
    let running = commit(&store, &job, running).await;
    assert_eq!(next(&mut changes).await, running);
    let cancelled = commit(&store, &running, running.value.clone().cancel(at(1)).expect("cancelled")).await;
    assert_eq!(next(&mut changes).await, cancelled);
    // A late watcher sees the final state.
    let mut late = store.jobs.watch(Watch::Job(job.value.id.clone()));
    assert_eq!(next(&mut late).await, cancelled);
}

pub async fn a_watcher_of_changes_sees_every_state_after_the_call<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let job = inserted(&store, New::default()).await;
    let mut changes = store.jobs.watch(Watch::Changes(job.value.id.clone()));
    // Before the first poll: the call itself subscribes.
    let running = job.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
    let running = commit(&store, &job, running).await;
    let cancelled = commit(&store, &running, running.value.clone().cancel(at(1)).expect("cancelled")).await;
    assert_eq!(final_state(&mut changes).await, cancelled);
}

pub async fn a_watcher_waits_for_a_job_that_does_not_exist_yet<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let first = New::default().submit();
    let mut changes = store.jobs.watch(Watch::Job(first.job.id.clone()));
    let waiting = tokio::spawn(async move { next(&mut changes).await });
    // The change of another job must not wake it with the wrong job.
    inserted(&store, New::default()).await;
    store.jobs.insert(&first).await.expect("an insert");
    let seen = soon("the watcher", waiting).await.expect("no panic");
    assert_eq!(seen, Versioned { version: Version(1), value: first.job });
}

pub async fn a_user_watcher_begins_with_unfinished_jobs_in_the_order_of_their_changes<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let first = inserted(&store, New::default()).await;
    let second = inserted(&store, New::default()).await;
    finish(&store, &inserted(&store, New::default()).await).await;
    let started = first.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
    let first = commit(&store, &first, started).await;
    let mut changes = store.jobs.watch(Watch::User(user("ada")));
    assert_eq!(next(&mut changes).await, second);
    assert_eq!(next(&mut changes).await, first);
    let third = inserted(&store, New::default()).await;
    assert_eq!(next(&mut changes).await, third);
}

pub async fn a_user_watcher_sees_every_final_state_however_slow_it_is<B: Backend>() {
    const JOBS: usize = 400;
    let backend = B::open().await;
    let store = backend.store();
    let mut changes = store.jobs.watch(Watch::User(user("ada")));
    let begun = inserted(&store, New::default()).await;
    assert_eq!(next(&mut changes).await, begun);
    // The test does not read the stream meanwhile: there are more changes than any buffer holds.
    let runs: Vec<_> = (0..JOBS).map(|_| run_one(backend.store())).map(tokio::spawn).collect();
    let mut expected = BTreeMap::new();
    for run in runs {
        let done = run.await.expect("no panic");
        expected.insert(done.value.id.clone(), done);
    }
    let mut versions = BTreeMap::new();
    while !expected.is_empty() {
        let job = next(&mut changes).await;
        let before = versions.insert(job.value.id.clone(), job.version);
        assert!(before.is_none_or(|before| before < job.version), "version {:?} after {before:?}", job.version);
        if expected.get(&job.value.id) == Some(&job) {
            expected.remove(&job.value.id);
        }
    }
}

async fn run_one(store: Stores) -> Versioned<Job> {
    let job = inserted(&store, New::default()).await;
    finish(&store, &job).await
}

pub async fn a_watcher_sees_what_another_process_commits<B: Backend>() {
    let backend = B::open().await;
    let (here, there) = (backend.store(), backend.second());
    let job = inserted(&here, New::default()).await;
    let mut changes = here.jobs.watch(Watch::Job(job.value.id.clone()));
    assert_eq!(next(&mut changes).await, job);
    let done = finish(&there, &job).await;
    assert_eq!(final_state(&mut changes).await, done);
}

pub async fn watchers_see_the_writes_of_two_processes<B: Backend>() {
    const EACH: usize = 40;
    let backend = B::open().await;
    let (here, there) = (backend.store(), backend.second());
    let watchers = [&here, &there].map(|store| {
        let mut changes = store.jobs.watch(Watch::User(user("ada")));
        tokio::spawn(async move {
            let (mut done, mut versions) = (0, BTreeMap::new());
            while done < 2 * EACH {
                let job = next(&mut changes).await;
                let before = versions.insert(job.value.id.clone(), job.version);
                assert!(before.is_none_or(|before| before < job.version), "{:?} after {before:?}", job.version);
                done += usize::from(job.value.status() == Status::Succeeded);
            }
        })
    });
    let runs: Vec<_> = (0..2 * EACH)
        .map(|n| run_one(if n % 2 == 0 { here.clone() } else { there.clone() }))
        .map(tokio::spawn)
        .collect();
    for run in runs {
        run.await.expect("no panic");
    }
    for watcher in watchers {
        soon("every final state", watcher).await.expect("no panic");
    }
}

pub async fn a_watcher_of_one_user_sees_nothing_of_another<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let mut changes = store.jobs.watch(Watch::User(user("ada")));
    inserted(&store, New { user: "bob", ..New::default() }).await;
    let own = inserted(&store, New::default()).await;
    assert_eq!(next(&mut changes).await, own);
}
