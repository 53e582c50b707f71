//! Many jobs at once, from the first submit to the last end.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    client::Client,
    context::{Bench, connections_title, users},
    document::{Document, Page},
    load::{Until, closed_loop},
    report::{Figure, Floor, Values},
    stats::{Latencies, float},
};
use crate::domain::{Timestamp, kind::JobKind};

pub(super) async fn measure(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let (jobs, connections) = (bench.args.jobs, bench.max_connections());
    bench.progress.show(format!("{jobs} jobs, submit to end"));
    bench.warm_up(connections).await?;
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let senders = bench.submitters(connections, Some(&Bench::record_ids(Arc::clone(&accepted)))).await?;
    let load = closed_loop(senders, Until::Sent(jobs), &Latencies::new()?).await;
    bench.progress.show(format!("waiting for the last of {jobs} jobs"));
    bench.wait_until_finished().await?;
    let accepted = std::mem::take(&mut *accepted.lock().unwrap_or_else(PoisonError::into_inner));

    let span = read_ends(bench, accepted.into_iter().map(|(id, _)| id).collect()).await?;
    let title = format!("{jobs} jobs, submit to end");
    let meaning = format!(
        "jobs submitted over {} and run by an engine that does nothing: the number of jobs divided by the time from the \
         first createdAt to the last end",
        connections_title(connections)
    );
    let rate = float(span.finished) / span.time().as_secs_f64().max(f64::MIN_POSITIVE);
    let floor = bench.report.floor(&format!("bare.{connections}"), "bare handler, submits only");
    let floor = floor.map(|floor| Floor { values: Values { latency: None, ..floor.values }, ..floor });
    bench.report.add("drain", Figure::new(title, meaning).count(span.finished).per_second(rate).with_floor(floor));
    let meaning = "how fast the same jobs were accepted";
    let figure = Figure::new("  accepted", meaning).count(load.answered).per_second(load.per_second());
    bench.report.add("drain.submit", figure);
    Ok(())
}

/// The number of finished jobs and the time that they span.
#[derive(Default)]
struct JobSpan {
    finished: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl JobSpan {
    fn add(&mut self, document: &Document) {
        let Some(at) = document.finished_at() else { return };
        self.finished += 1;
        self.first = Some(self.first.map_or(document.created_at, |first| first.min(document.created_at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    fn time(&self) -> Duration {
        let Some((first, last)) = self.first.zip(self.last) else { return Duration::ZERO };
        Duration::try_from(last.duration_since(first)).unwrap_or_default()
    }
}

/// Reads how the jobs ended. The newest pages of each user contain all of them.
async fn read_ends(bench: &Bench<'_>, mut pending: HashSet<String>) -> anyhow::Result<JobSpan> {
    let list = JobKind::Illustration.collection();
    let mut client = Client::new(&bench.gateway);
    let mut span = JobSpan::default();
    for user in users() {
        let mut after = String::new();
        loop {
            let call = bench.gateway.get(&format!("/{list}?limit=100&userId={user}{after}"))?;
            let page: Page = client.json(&call).await?;
            let mut has_ours = false;
            for document in page.data {
                if pending.contains(&document.id) {
                    has_ours = true;
                    span.add(&document);
                    if let Some(text) = document.error_text() {
                        bench.errors.add(text);
                    }
                    if document.finished_at().is_some() {
                        pending.remove(&document.id);
                    }
                }
            }
            match page.last_id {
                Some(last_id) if has_ours && page.has_more => after = format!("&after={last_id}"),
                _ => break,
            }
        }
    }
    if !pending.is_empty() {
        bench.errors.add_many("an accepted job did not finish", u64::try_from(pending.len()).unwrap_or(u64::MAX));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reaches_from_the_first_submit_to_the_last_end() {
        let document = |created: u32, failed: u32| {
            serde_json::from_value::<Document>(serde_json::json!({
                "illustrationId": "i", "status": "failed", "error": { "code": "content_filtered" },
                "createdAt": format!("2026-01-01T00:00:{created:02}Z"), "failedAt": format!("2026-01-01T00:00:{failed:02}Z"),
            }))
            .unwrap()
        };
        let mut span = JobSpan::default();
        assert_eq!(span.time(), Duration::ZERO);
        for (created, failed) in [(5, 9), (2, 12), (3, 4)] {
            span.add(&document(created, failed));
        }
        assert_eq!((span.finished, span.time()), (3, Duration::from_secs(10)));
    }
}
