//! The kinds of job and every name that differs between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of job. No other module spells the names that its methods return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum JobKind {
    /// Draws one or more pictures.
    Illustration,
    /// Trains the style of a brand.
    Brand,
}

/// The text is not the name of a kind of job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of job {0:?}; the kinds are {generation} and {training}", generation = JobKind::Illustration, training = JobKind::Brand)]
pub struct UnknownKind(String);

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Illustration, Self::Brand];

    /// The kind of the job with this id, judged by the prefix alone.
    pub fn of_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| id.starts_with(kind.id_prefix()))
    }

    /// The prefix of its job ids.
    pub const fn id_prefix(self) -> &'static str {
        match self {
            Self::Illustration => "ill_",
            Self::Brand => "brd_",
        }
    }

    /// The field that holds a job's id in the API and in stored documents.
    pub const fn id_field(self) -> &'static str {
        match self {
            Self::Illustration => "illustrationId",
            Self::Brand => "brandId",
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

    /// The gateway's path to submit a job.
    pub const fn submit_path(self) -> &'static str {
        match self {
            Self::Illustration => "/generate",
            Self::Brand => "/train-brand",
        }
    }

    /// The value of `kind` in queue messages.
    pub const fn message_kind(self) -> &'static str {
        match self {
            Self::Illustration => "generation",
            Self::Brand => "training",
        }
    }

    /// The topic to which its messages are published.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Illustration => "image-generation-jobs",
            Self::Brand => "brand-training-jobs",
        }
    }

    /// The subscription that pushes its messages.
    pub const fn subscription(self) -> &'static str {
        match self {
            Self::Illustration => "image-generation-workers",
            Self::Brand => "brand-training-workers",
        }
    }

    /// The worker's path that receives its messages.
    pub const fn endpoint(self) -> &'static str {
        match self {
            Self::Illustration => "/process-generation",
            Self::Brand => "/process-training",
        }
    }
}

/// Written as in queue messages.
impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message_kind())
    }
}

impl From<JobKind> for &'static str {
    fn from(kind: JobKind) -> Self {
        kind.message_kind()
    }
}

impl TryFrom<String> for JobKind {
    type Error = UnknownKind;
    fn try_from(text: String) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.message_kind() == text).ok_or(UnknownKind(text))
    }
}
