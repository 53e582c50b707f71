//! Credits: held at submit, captured for delivered work, released otherwise.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Timestamp,
    ids::{AccountId, JobId},
};

/// A whole number of credits.
pub type Credits = u64;

/// What a ledger entry does to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Adds to granted and to available.
    Grant,
    /// Moves from available to held.
    Hold,
    /// Moves from held to spent.
    Capture,
    /// Moves from held back to available.
    Release,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grant => "grant",
            Self::Hold => "hold",
            Self::Capture => "capture",
            Self::Release => "release",
        })
    }
}

/// One movement of credits. Its id identifies it: writing it a second time changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// `{job}:{hold}:{verb}`, or `grant:{account}:{source}` with `/` written as `:`.
    pub id: String,
    /// Whose credits move.
    pub account: AccountId,
    /// The job they move for; `None` for a grant.
    pub job_id: Option<JobId>,
    /// Which way they move.
    pub verb: Verb,
    /// How many, at least 1.
    pub amount: Credits,
    /// When they move.
    pub at: Timestamp,
}

impl LedgerEntry {
    /// A grant that happens once per `source` (a payment id, `welcome`, …) and account.
    pub fn grant(account: AccountId, source: &str, amount: Credits, at: Timestamp) -> Self {
        let id = format!("grant:{}:{source}", account.to_string().replace('/', ":"));
        Self { id, account, job_id: None, verb: Verb::Grant, amount, at }
    }
}

/// Why an entry cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreditsError {
    /// The hold is larger than the available credits.
    #[error("{needed} credits needed, {available} available")]
    Insufficient {
        /// Credits that the hold needs.
        needed: Credits,
        /// Credits that are available.
        available: Credits,
    },
    /// More is settled than is held: a defect, never the caller's fault.
    #[error("{amount} credits to settle, {held} held")]
    NotHeld {
        /// Credits that the entry would settle.
        amount: Credits,
        /// Credits that are held.
        held: Credits,
    },
    /// The sum does not fit into 63 bits.
    #[error("the account cannot hold that many credits")]
    Overflow,
}

/// The balance of a user or a team. `available + held + spent == granted` always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Free to be held.
    pub available: Credits,
    /// Set aside for jobs that are not finished.
    pub held: Credits,
    /// Paid for delivered work.
    pub spent: Credits,
    /// Everything ever granted.
    pub granted: Credits,
}

impl Account {
    /// The account after `entry`. A refused entry changes nothing.
    pub fn apply(self, entry: &LedgerEntry) -> Result<Self, CreditsError> {
        let amount = entry.amount;
        let add = |to: Credits| to.checked_add(amount).filter(|sum| i64::try_from(*sum).is_ok());
        let free = |from: Credits| {
            from.checked_sub(amount).ok_or(CreditsError::Insufficient { needed: amount, available: self.available })
        };
        let settled = |from: Credits| from.checked_sub(amount).ok_or(CreditsError::NotHeld { amount, held: self.held });
        let full = CreditsError::Overflow;
        Ok(match entry.verb {
            Verb::Grant => {
                Self { available: add(self.available).ok_or(full)?, granted: add(self.granted).ok_or(full)?, ..self }
            }
            Verb::Hold => Self { available: free(self.available)?, held: add(self.held).ok_or(full)?, ..self },
            Verb::Capture => Self { held: settled(self.held)?, spent: add(self.spent).ok_or(full)?, ..self },
            Verb::Release => Self { held: settled(self.held)?, available: add(self.available).ok_or(full)?, ..self },
        })
    }

    /// Whether every granted credit is either available, held or spent.
    pub fn is_balanced(&self) -> bool {
        self.available.checked_add(self.held).and_then(|sum| sum.checked_add(self.spent)) == Some(self.granted)
    }
}
