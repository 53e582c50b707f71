//! What an always-on worker does from time to time: it sweeps, and asks for its engines' models. On Cloud Run the scheduler calls `/sweep` as well.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::lifecycle::supervised;

/// The longest pause after failed sweeps.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Sweeps until `end`, also after a sweep that ended by a defect.
pub async fn sweep_until(worker: Worker, end: CancellationToken) {
    supervised("sweeper", end.clone(), || sweep_periodically(&worker, &end)).await;
}

/// How often the engines' models are asked for.
const CHECK_EVERY: Duration = Duration::from_mins(10);

/// Asks now, and then now and again until `end`, whether the engines' models are there.
pub async fn check_until(worker: Worker, end: CancellationToken) {
    supervised("engine check", end.clone(), || async {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while end.run_until_cancelled(ticks.tick()).await.is_some() {
            end.run_until_cancelled(worker.execution.check_engines()).await;
        }
    })
    .await;
}

/// Sweeps every `sweep_every` until `end`. A store that does not answer is tried ever more patiently.
async fn sweep_periodically(worker: &Worker, end: &CancellationToken) {
    let every = worker.settings.sweep_every;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0;
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match worker.maintenance.sweep().await {
            Ok(swept) => {
                failures = 0;
                if swept.more {
                    ticks.reset_immediately();
                }
            }
            Err(error) => {
                tracing::error!(%error, "sweep failed");
                failures += 1;
                ticks.reset_after(crate::domain::retry::doubled(every, failures, MAX_PAUSE));
            }
        }
    }
}
