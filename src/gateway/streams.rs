//! How many answers may stay open: event streams, and submits that wait for their end.

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

/// When a client may try again: streams end when they end, so nobody knows better.
const RETRY: Duration = Duration::from_secs(5);

/// The streams that are open.
pub(super) struct Streams {
    in_all: Option<NonZeroUsize>,
    per_user: Option<NonZeroUsize>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    /// Users with none are not in it.
    users: HashMap<UserId, usize>,
}

/// A permit for a stream, until it is dropped.
pub(super) struct StreamPermit {
    gateway: GatewayState,
    user: UserId,
}

impl Streams {
    /// None is open; `None` for no bound.
    pub fn new(in_all: Option<NonZeroUsize>, per_user: Option<NonZeroUsize>) -> Self {
        Self { in_all, per_user, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing under this lock can leave the numbers half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamPermit {
    /// A permit for one more stream of the user.
    pub fn take(gateway: &GatewayState, user: &UserId) -> Result<Self, Problem> {
        let Streams { in_all, per_user, .. } = gateway.0.streams;
        let refuse = |detail: String| Err(Problem::new(Code::TooManyStreams, detail).retry_after(Some(RETRY)));
        let mut open = gateway.0.streams.open();
        if in_all.is_some_and(|most| open.all >= most.get()) {
            return refuse("this gateway has as many streams open as it may; poll instead".to_owned());
        }
        let of_user = open.users.get(user).copied().unwrap_or_default();
        if let Some(most) = per_user.filter(|most| of_user >= most.get()) {
            return refuse(format!("a user may have {most} streams open; GET /events watches all jobs in one"));
        }
        open.all += 1;
        open.users.insert(user.clone(), of_user + 1);
        drop(open);
        Ok(Self { gateway: gateway.clone(), user: user.clone() })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.gateway.0.streams.open();
        open.all -= 1;
        if let Some(of_user) = open.users.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                open.users.remove(&self.user);
            }
        }
    }
}
