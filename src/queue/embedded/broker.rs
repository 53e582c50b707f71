//! The delivering side of the embedded queue.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    rows,
    subscription::{PushContext, Subscription},
};
use crate::{
    config::EmbeddedQueueConfig,
    domain::{
        Timestamp,
        clock::{Clock, Random},
        kind::JobKind,
    },
    embedded::Embedded,
    http,
    lifecycle::supervised,
};

/// The interval between removals of expired messages.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

/// Pushes messages to a worker as Pub/Sub does: at least once, with an ack deadline, with backoff after a refusal, and to
/// the dead letters after too many refusals.
///
/// The worker lock permits one broker for each database. So the broker keeps in memory which messages are in progress, and
/// a delivery costs one write: the acknowledgement.
pub struct Broker {
    context: Arc<PushContext>,
    subscriptions: Vec<Subscription>,
}

impl Broker {
    /// Pushes to the endpoints below `push_url`, at most `max_in_flight` messages of each subscription at once.
    pub fn new(
        embedded: &Embedded,
        config: &EmbeddedQueueConfig,
        push_url: &Url,
        max_in_flight: usize,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, reqwest::Error> {
        let client = http::client()?;
        let (embedded, config) = (embedded.clone(), config.clone());
        let context = Arc::new(PushContext { embedded, client, config, clock, random });
        let subscriptions =
            JobKind::ALL.map(|kind| Subscription::new(Arc::clone(&context), kind, push_url, max_in_flight)).into();
        Ok(Self { context, subscriptions })
    }

    /// Delivers until `stop` is cancelled, then waits a moment for the pushes in progress and returns.
    pub async fn run(self, stop: CancellationToken) {
        let Self { context, subscriptions } = self;
        let mut tasks = JoinSet::new();
        for subscription in subscriptions {
            let (subscription, end) = (Arc::new(subscription), stop.clone());
            let run = move || Arc::clone(&subscription).run(end.clone());
            tasks.spawn(supervised("subscription", stop.clone(), run));
        }
        let end = stop.clone();
        tasks.spawn(supervised("expiry of messages", stop, move || expire(Arc::clone(&context), end.clone())));
        while let Some(ended) = tasks.join_next().await {
            if let Err(panic) = ended {
                tracing::error!(error = %panic, "a task of the broker panicked");
            }
        }
    }
}

async fn expire(context: Arc<PushContext>, stop: CancellationToken) {
    loop {
        let oldest = context.clock.now().checked_sub(context.config.retention).unwrap_or(Timestamp::MIN);
        match context.embedded.write("queue.expire", move |tx| rows::expire(tx, oldest)).await {
            Ok(0) => {}
            Ok(count) => {
                // No job is lost: the sweeper publishes again for jobs that still wait.
                tracing::warn!(messages = count, "undelivered messages expired");
                continue;
            }
            Err(error) => tracing::warn!(error = %error, "cannot remove expired messages; trying again in a minute"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EXPIRE_EVERY) => {}
        }
    }
}
