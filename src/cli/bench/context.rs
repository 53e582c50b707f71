//! What all parts of a run share: the measured gateway, the load, the report.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::{
    args::BenchArgs,
    client::{Call, Caller, Client, OnAnswer, Target, callers},
    document::{Accepted, Balance},
    load::{Until, closed_loop},
    progress::Progress,
    report::{Floor, Report},
    stats::{Errors, Latencies},
};
use crate::domain::{Timestamp, kind::JobKind};

/// The load is spread over this many users, so that no single account or limit becomes the bottleneck.
const USERS: usize = 64;
/// How long to wait for accepted jobs before the run continues without them.
const TIMEOUT: Duration = Duration::from_mins(2);
/// How often to ask whether the jobs of an account have finished.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What all parts of a run share.
pub(super) struct Bench<'a> {
    pub args: &'a BenchArgs,
    pub progress: &'a Progress,
    pub gateway: Target,
    pub errors: Errors,
    pub report: Report,
    /// One request for an illustration per user.
    pub submits: Arc<[Call]>,
}

/// The users to whom the jobs of the load belong.
pub(super) fn users() -> impl Iterator<Item = String> {
    (0..USERS).map(|number| format!("bench-{number:02}"))
}

/// The reason given when memory cannot be measured.
pub(super) const NO_PROC: &str = "this operating system does not report it in /proc";

pub(super) fn connections_title(connections: usize) -> String {
    if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") }
}

pub(super) fn submits(target: &Target) -> anyhow::Result<Arc<[Call]>> {
    let prompt = "a lighthouse at dawn, waves against the rocks, gulls in a pale sky";
    let body = |user| json!({ "userId": user, "prompt": prompt, "styleId": "flat-2d", "width": 1024, "height": 768 });
    users().map(|user| target.post(JobKind::Illustration.submit_path(), body(user).to_string())).collect()
}

impl Bench<'_> {
    /// Connections that submit illustrations.
    pub(super) async fn submitters(
        &self,
        connections: usize,
        on_answer: Option<&OnAnswer>,
    ) -> anyhow::Result<Vec<Caller>> {
        let accepted = StatusCode::ACCEPTED;
        callers(&self.gateway, connections, &self.submits, accepted, &self.errors, on_answer).await
    }

    /// The largest of the configured numbers of connections.
    pub(super) fn max_connections(&self) -> usize {
        self.args.connections.iter().copied().max().unwrap_or(1)
    }

    /// Runs the load for a tenth of the time without counting it: the first requests are slower.
    pub(super) async fn warm_up(&self, connections: usize) -> anyhow::Result<()> {
        self.warm(connections).await?;
        self.wait_until_finished().await
    }

    pub(super) async fn warm(&self, connections: usize) -> anyhow::Result<()> {
        let senders = self.submitters(connections, None).await?;
        closed_loop(senders, Until::Elapsed(self.args.duration / 10), &Latencies::new()?).await;
        Ok(())
    }

    /// Waits until no account of the run holds credits, because then every job has finished. Sends one request at a time,
    /// to keep the load on the system low.
    pub(super) async fn wait_until_finished(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut client = Client::new(&self.gateway);
        for user in users() {
            let credits = self.gateway.get(&format!("/credits?userId={user}"))?;
            while client.json::<Balance>(&credits).await?.held > 0 {
                if begun.elapsed() > TIMEOUT {
                    self.errors.add(format!("jobs did not finish within {} s", TIMEOUT.as_secs()));
                    return Ok(());
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// A callback that records the id of each accepted job and the time at which the response arrived.
    pub(super) fn record_ids(into: Arc<Mutex<Vec<(String, Timestamp)>>>) -> OnAnswer {
        Arc::new(move |_, body: &Bytes, at| {
            if let Ok(accepted) = serde_json::from_slice::<Accepted>(body) {
                into.lock().unwrap_or_else(PoisonError::into_inner).push((accepted.illustration_id, at));
            }
        })
    }

    /// The floor of a latency that waits for `times` disk writes.
    pub(super) fn disk_floor(&self, times: u32) -> Option<Floor> {
        self.report.floor("disk.fdatasync", "fdatasync").map(|floor| floor.times(times))
    }
}
