//! Who is in which team, as far as this process has heard.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::ids::{TeamId, UserId};

/// Members that are remembered, at most.
const REMEMBERED: usize = 10_000;

/// A presumption, so that a submission need not read the team first: the store checks it in the insert itself.
#[derive(Default)]
pub(super) struct Teams(Mutex<HashMap<UserId, TeamId>>);

impl Teams {
    /// The team the user was in when last heard of; `None` for everybody else.
    pub(super) fn presumed(&self, user: &UserId) -> Option<TeamId> {
        self.known().get(user).cloned()
    }

    pub(super) fn learn(&self, user: &UserId, team: Option<&TeamId>) {
        let mut known = self.known();
        match team {
            None => {
                known.remove(user);
            }
            Some(team) => {
                // Forgetting costs each of them one insert more.
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(user.clone(), team.clone());
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<UserId, TeamId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
