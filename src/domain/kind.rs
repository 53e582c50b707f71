//! The two kinds of jobs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The two kinds of slow work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobKind {
    /// A picture or a few.
    #[serde(rename = "generation")]
    Illustration,
    /// A brand style to train.
    #[serde(rename = "training")]
    Brand,
}

impl JobKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Illustration, Self::Brand];

    /// The prefix of this kind's job ids.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Self::Illustration => "ill_",
            Self::Brand => "brd_",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Illustration => "generation",
            Self::Brand => "training",
        })
    }
}
