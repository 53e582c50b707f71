//! The named sets of defaults in `config/default.toml`.

use std::{fmt, str::FromStr};

/// A named set of defaults. It is parsed before figment sees it, because figment treats an unknown profile as empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// A laptop. This is the default profile.
    #[default]
    Local,
    /// Google Cloud: Cloud Run, Firestore, Pub/Sub, Cloud Storage.
    Gcp,
    /// Automatic tests: short waits, free ports.
    Test,
}

impl Profile {
    pub const ALL: [Self; 3] = [Self::Local, Self::Gcp, Self::Test];

    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Gcp => "gcp",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|profile| profile.name() == text).ok_or_else(|| {
            let valid = Self::ALL.map(Self::name).join(", ");
            format!("unknown profile {text:?}; valid profiles: {valid}")
        })
    }
}
