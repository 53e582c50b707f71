//! Requests whose cost must not depend on the number of jobs: a page of a list, a sweep that finds nothing.

use std::sync::Arc;

use http::StatusCode;

use super::{
    client::{Call, Target, callers},
    context::{Bench, users},
    load::{Until, closed_loop},
    report::Figure,
    stats::Latencies,
};
use crate::domain::kind::JobKind;

/// The first page of each user in turn.
pub(super) async fn list(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let list = JobKind::Illustration.collection();
    let page = |user| bench.gateway.get(&format!("/{list}?limit=20&userId={user}"));
    let calls = users().map(page).collect::<anyhow::Result<_>>()?;
    let meaning = "GET /illustrations?limit=20 until its last byte, one connection, each user in turn; closed loop";
    let target = bench.gateway.clone();
    measure(bench, "list", Figure::new("List, a page of 20", meaning), &target, calls).await
}

/// Sweeps while nothing is overdue.
pub(super) async fn sweep(bench: &mut Bench<'_>, worker: &Target) -> anyhow::Result<()> {
    let calls = Arc::from([worker.post("/sweep", "")?]);
    let meaning = "POST /sweep of the worker while nothing is overdue, one connection; closed loop";
    measure(bench, "sweep", Figure::new("Sweep, nothing overdue", meaning), worker, calls).await
}

async fn measure(
    bench: &mut Bench<'_>,
    id: &str,
    figure: Figure,
    target: &Target,
    calls: Arc<[Call]>,
) -> anyhow::Result<()> {
    bench.progress.show(figure.title.to_lowercase());
    for (time, is_counted) in [(bench.args.duration / 10, false), (bench.args.duration / 2, true)] {
        let senders = callers(target, 1, &calls, StatusCode::OK, &bench.errors, None).await?;
        let latencies = Latencies::new()?;
        let load = closed_loop(senders, Until::Elapsed(time), &latencies).await;
        if is_counted {
            let floor = bench.report.floor("bare.1", "bare handler");
            let figure = figure.clone().latencies(&latencies).per_second(load.per_second()).with_floor(floor);
            bench.report.add(id, figure);
        }
    }
    Ok(())
}
