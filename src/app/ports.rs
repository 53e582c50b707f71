//! Opens the backends that the configuration names.

use std::sync::Arc;

use super::{AppError, Roles, google_cloud};
use crate::{
    config::{Config, MediaBackend, QueueBackend, StoreBackend},
    domain::clock::{Random, SystemClock, SystemRandom},
    embedded::{Embedded, Role},
    engine::{self, TrainerAccess},
    error::{BackendError, ErrorKind},
    jobs::Ports,
    media, queue,
    store::{self, Stores},
};

pub(super) fn open_stores(config: &Config, embedded: Option<&Embedded>) -> Result<Stores, BackendError> {
    match config.store.backend {
        StoreBackend::Sqlite => Ok(store::open_sqlite(need(embedded, "store.open")?)),
        StoreBackend::Firestore => google_cloud::open_store(config),
    }
}

pub(super) fn need<'a>(embedded: Option<&'a Embedded>, op: &'static str) -> Result<&'a Embedded, BackendError> {
    embedded.ok_or_else(|| BackendError::new(ErrorKind::Internal, op).because("the data directory is not open"))
}

/// Opens the data directory if a backend keeps its data there.
pub(super) async fn open_embedded(config: &Config, roles: Roles) -> Result<Option<Embedded>, AppError> {
    if !config.is_embedded() {
        return Ok(None);
    }
    let mut locks = Vec::new();
    if roles.gateway {
        locks.push(Role::Gateway);
    }
    if roles.worker {
        locks.push(Role::Worker);
    }
    let data_dir = config.data_dir.clone();
    Ok(Some(tokio::task::spawn_blocking(move || Embedded::open(&data_dir, &locks)).await??))
}

pub(super) fn open_ports(config: &Config, embedded: Option<&Embedded>) -> Result<Ports, AppError> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let Stores { jobs, accounts } = open_stores(config, embedded)?;
    Ok(Ports {
        store: jobs,
        accounts,
        queue: match config.queue.backend {
            QueueBackend::Embedded => queue::open_embedded(need(embedded, "queue.open")?),
            QueueBackend::PubSub => google_cloud::open_queue(config)?,
        },
        media: match config.media.backend {
            MediaBackend::Disk => media::open_disk(need(embedded, "media.open")?.directory())?,
            MediaBackend::Gcs => google_cloud::open_media(config)?,
        },
        engine: engine::open(config, &random)?,
        trainer: engine::open_trainer(config, TrainerAccess { random: Arc::clone(&random), tokens: None })?,
        clock: Arc::new(SystemClock),
        random,
    })
}
