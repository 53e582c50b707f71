//! The teams of users, as far as this process knows them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::ids::{TeamId, UserId};

/// How many members are remembered at most.
const MAX_MEMBERS: usize = 10_000;

/// An assumption that saves a submission one read: the store checks the team in the insert itself.
#[derive(Default)]
pub(in crate::jobs) struct TeamCache(Mutex<HashMap<UserId, TeamId>>);

impl TeamCache {
    /// The team that the user last belonged to; `None` for users that are not in the cache.
    pub(super) fn assumed_team(&self, user: &UserId) -> Option<TeamId> {
        self.teams().get(user).cloned()
    }

    pub(super) fn remember(&self, user: &UserId, team: Option<&TeamId>) {
        let mut teams = self.teams();
        match team {
            None => {
                teams.remove(user);
            }
            Some(team) => {
                // A user that is forgotten costs one more insert.
                if teams.len() >= MAX_MEMBERS {
                    teams.clear();
                }
                teams.insert(user.clone(), team.clone());
            }
        }
    }

    fn teams(&self) -> MutexGuard<'_, HashMap<UserId, TeamId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
