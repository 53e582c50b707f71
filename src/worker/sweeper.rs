//! Periodic work of the worker: sweeps, and checks of the engines. On Cloud Run, where an idle worker does not run, the
//! scheduler also calls `/sweep`.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::lifecycle::supervised;

/// The longest pause after a failed sweep.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Sweeps until `end`. Continues after a sweep that panicked.
pub async fn sweep_until(worker: Worker, end: CancellationToken) {
    supervised("sweeper", end.clone(), || sweep_periodically(&worker, &end)).await;
}

/// The interval between two checks of the engines.
const CHECK_EVERY: Duration = Duration::from_mins(10);

/// Checks now and periodically until `end` whether the engines offer the configured models.
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

/// Sweeps every `sweep_every` until `end`. The pause doubles with each failure in a row.
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
