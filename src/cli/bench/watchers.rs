//! The memory of a watcher: many idle event streams.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{
    client::{Client, Events},
    context::{Bench, NO_PROC},
    report::{Figure, share},
    system::{System, raise_file_limit},
};

/// Connections to open concurrently.
const AT_ONCE: usize = 64;
/// Memory that stays the same for this long counts as settled; and how often to check.
const SETTLE: Duration = Duration::from_millis(250);
const TRIES: usize = 12;

pub(super) async fn measure(bench: &mut Bench<'_>, system: &System) -> anyhow::Result<()> {
    let count = raise_file_limit(bench.args.watchers);
    if count == 0 {
        bench.report.skip("memory.watcher", "no watchers, or the limit of open files is too low (see ulimit -n)");
        return Ok(());
    }
    let Some(before) = settled(system).await else {
        bench.report.skip("memory.watcher", NO_PROC);
        return Ok(());
    };
    // Two rounds against the same baseline, because memory that the first round leaves allocated makes the second look cheap.
    let mut shares = Vec::new();
    for round in ["first", "second"] {
        bench.progress.show(format!("memory of {count} watchers, {round} round"));
        let streams = open(bench, count).await?;
        let with = settled(system).await.unwrap_or(before);
        shares.push(share(with.saturating_sub(before), count));
        drop(streams);
        settled(system).await;
    }
    let fewer =
        if count < bench.args.watchers { "; fewer than requested, because ulimit -n does not allow more" } else { "" };
    let meaning = format!(
        "resident memory of the system with {count} open streams of GET /events minus resident memory before, divided by \
         their number; the larger of two rounds ({} and {} bytes){fewer}",
        shares[0], shares[1]
    );
    let most = shares.iter().copied().max().unwrap_or_default();
    let figure = Figure::new(format!("Memory per watcher, of {count}"), meaning);
    bench.report.add("memory.watcher", figure.count(u64::try_from(count).unwrap_or_default()).bytes(most));
    Ok(())
}

/// Opens streams for users without jobs.
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

/// Waits until resident memory changes by less than 1 %, for a limited time, and returns it.
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
