//! Limits on responses that stay open: event streams, and submits that wait for the end of their job.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    GatewayState,
    problem::{Code, Problem},
};
use crate::domain::ids::UserId;

/// The `Retry-After` of a refused stream. Nothing tells when an open stream will end.
const RETRY: Duration = Duration::from_secs(5);

/// The open streams of this gateway.
pub(super) struct Streams {
    max_total: Option<NonZeroUsize>,
    max_per_user: Option<NonZeroUsize>,
    open: Mutex<OpenStreams>,
}

#[derive(Default)]
struct OpenStreams {
    total: usize,
    /// Only users with at least one stream.
    by_user: HashMap<UserId, usize>,
}

/// Counts one stream as open until it is dropped.
pub(super) struct StreamPermit {
    gateway: GatewayState,
    user: UserId,
}

impl Streams {
    /// `None` means no limit.
    pub fn new(max_total: Option<NonZeroUsize>, max_per_user: Option<NonZeroUsize>) -> Self {
        Self { max_total, max_per_user, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, OpenStreams> {
        // A panic under this lock cannot leave the numbers half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamPermit {
    /// A permit for one more stream of the user.
    pub fn acquire(gateway: &GatewayState, user: &UserId) -> Result<Self, Problem> {
        let Streams { max_total, max_per_user, .. } = gateway.0.streams;
        let refuse = |detail: String| Err(Problem::new(Code::TooManyStreams, detail).retry_after(Some(RETRY)));
        let mut open = gateway.0.streams.open();
        if max_total.is_some_and(|max| open.total >= max.get()) {
            return refuse("this gateway has reached its limit of open streams; poll instead".to_owned());
        }
        let of_user = open.by_user.get(user).copied().unwrap_or_default();
        if let Some(max) = max_per_user.filter(|max| of_user >= max.get()) {
            return refuse(format!("a user may have {max} open streams; GET /events watches all jobs in one"));
        }
        open.total += 1;
        open.by_user.insert(user.clone(), of_user + 1);
        drop(open);
        Ok(Self { gateway: gateway.clone(), user: user.clone() })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.gateway.0.streams.open();
        open.total -= 1;
        if let Some(of_user) = open.by_user.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                open.by_user.remove(&self.user);
            }
        }
    }
}
