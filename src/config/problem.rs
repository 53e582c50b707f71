//! Configuration mistakes. All are reported at once, each with its key, its variable and its origin.

use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `[default]` of the built-in defaults.
    Default,
    /// A profile of the built-in defaults.
    Profile(&'static str),
    /// `--config FILE`.
    File(String),
    /// An environment variable, including `PORT`.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, for example `worker.lease`. Absent if the mistake is not about one key.
    pub key: Option<String>,
    /// What is wrong and how to correct it.
    pub detail: String,
    /// Where the value came from.
    pub origin: Option<Origin>,
}

impl Problem {
    pub(super) fn of(key: impl Into<String>, detail: impl Into<String>, origin: Origin) -> Self {
        Self { key: Some(key.into()), detail: detail.into(), origin: Some(origin) }
    }

    pub(super) fn general(detail: impl Into<String>) -> Self {
        Self { key: None, detail: detail.into(), origin: None }
    }
}

/// The environment variable that sets `key`.
pub fn variable(key: &str) -> String {
    format!("MEDIAFORGE_{}", key.to_ascii_uppercase().replace('.', "__"))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(key) = &self.key else { return f.write_str(&self.detail) };
        let variable = variable(key);
        match &self.origin {
            // The origin already names the variable.
            Some(Origin::Variable(name)) if *name == variable => write!(f, "{key} (from {name}): {}", self.detail),
            Some(Origin::Default) => write!(f, "{key} (the default; variable {variable}): {}", self.detail),
            Some(origin) => write!(f, "{key} (from {origin}; variable {variable}): {}", self.detail),
            None => write!(f, "{key} (variable {variable}): {}", self.detail),
        }
    }
}

/// An invalid configuration, with all of its mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "invalid configuration: {only}"),
            many => {
                write!(f, "invalid configuration: {} problems", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The candidate that `typed` is probably a misspelling of.
pub(super) fn did_you_mean<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + typed.chars().count() / 4;
    let scored = candidates.into_iter().map(|candidate| (distance(typed, candidate), candidate));
    scored.min().filter(|(distance, _)| *distance <= limit).map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two words (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_word_and_nonsense_finds_none() {
        assert_eq!(did_you_mean("leese", ["lease", "listen", "slots"]), Some("lease"));
        assert_eq!(did_you_mean("zzz", ["lease", "listen"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
