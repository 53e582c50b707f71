//! What a watcher costs: streams on which nothing happens, and the memory they take.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{
    client::{Client, Events},
    report::{Figure, share},
    run::{Bench, NO_PROC},
    system::{System, room_for},
};

/// Connections that are being made at once.
const AT_ONCE: usize = 64;
/// How long memory must stay as it is to count as settled, and how often that is tried.
const SETTLE: Duration = Duration::from_millis(250);
const TRIES: usize = 12;

pub(super) async fn measure(bench: &mut Bench<'_>, system: &System) -> anyhow::Result<()> {
    let count = room_for(bench.args.watchers);
    if count == 0 {
        bench.report.leave_out("memory.watcher", "no watchers, or no room for their files (see ulimit -n)");
        return Ok(());
    }
    let Some(before) = settled(system).await else {
        bench.report.leave_out("memory.watcher", NO_PROC);
        return Ok(());
    };
    // Twice, against the same beginning: what the first round left behind must not make the second look cheap.
    let mut shares = Vec::new();
    for round in ["first", "second"] {
        bench.progress.say(format!("memory of {count} watchers, {round} round"));
        let streams = open(bench, count).await?;
        let with = settled(system).await.unwrap_or(before);
        shares.push(share(with.saturating_sub(before), count));
        drop(streams);
        settled(system).await;
    }
    let fewer = if count < bench.args.watchers { "; fewer than asked for, as ulimit -n allows no more" } else { "" };
    let meaning = format!(
        "resident memory of the system with {count} open streams of GET /events, less what it was before, by their \
         number; the greater of two rounds ({} and {} bytes){fewer}",
        shares[0], shares[1]
    );
    let most = shares.iter().copied().max().unwrap_or_default();
    let figure = Figure::new(format!("Memory per watcher, of {count}"), meaning);
    bench.report.add("memory.watcher", figure.count(u64::try_from(count).unwrap_or_default()).bytes(most));
    Ok(())
}

/// Streams of users of whom nothing happens, all of them begun.
async fn open(bench: &Bench<'_>, count: usize) -> anyhow::Result<Vec<Events>> {
    let open = |number: usize| async move {
        let call = bench.gateway.get(&format!("/events?userId=watcher-{number}"))?;
        Client::new(&bench.gateway).events(&call).await
    };
    let mut opened = stream::iter(0..count).map(open).buffer_unordered(AT_ONCE);
    let mut streams = Vec::with_capacity(count);
    while let Some(stream) = opened.next().await {
        streams.push(stream?);
    }
    Ok(streams)
}

/// Resident memory once it stays the same to a hundredth, or has had its time.
pub(super) async fn settled(system: &System) -> Option<u64> {
    let mut last = system.memory()?.resident;
    for _ in 0..TRIES {
        sleep(SETTLE).await;
        let now = system.memory()?.resident;
        if now.abs_diff(last) <= last / 100 {
            return Some(now);
        }
        last = now;
    }
    Some(last)
}
