//! The process environment as a value: tests pass one in instead of changing the process.

use std::{collections::BTreeMap, path::PathBuf};

/// Environment variables and the user's data directory.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    user_data_dir: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process. Variables whose names are not Unicode are left out, because no setting has such a
    /// name. Invalid bytes in a value become U+FFFD, which no setting accepts.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        let user_data_dir = directories::ProjectDirs::from("", "", "mediaforge").map(|dirs| dirs.data_dir().to_owned());
        Self { variables: std::env::vars_os().filter_map(text).collect(), user_data_dir }
    }

    /// An environment with exactly these variables and no data directory.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { variables, user_data_dir: None }
    }

    /// Sets the user's data directory.
    #[must_use]
    pub fn with_user_data_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self { user_data_dir: Some(dir.into()), ..self }
    }

    /// The value of a variable. An empty variable counts as not set, because that is how compose files and shells unset one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether this process runs on Cloud Run.
    pub fn on_cloud_run(&self) -> bool {
        self.get("K_SERVICE").is_some()
    }

    /// The directory for data when `data_dir` is not configured.
    pub fn user_data_dir(&self) -> Option<&PathBuf> {
        self.user_data_dir.as_ref()
    }

    /// The variables that are set and begin with `prefix`; the names are returned without it.
    pub(super) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }
}
