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

    /// The word for one such job in texts for people.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Illustration => "illustration",
            Self::Brand => "brand",
        }
    }

    /// The collection of its jobs: a path of the API, a Firestore collection and the first segment of its media keys.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::Illustration => "illustrations",
            Self::Brand => "brands",
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
