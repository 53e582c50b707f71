//! References to secrets. The configuration names a secret; it does not contain one.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Environment;

/// A reference to a secret: `{ env = "NAME" }` or `{ file = "/path" }`. [`super::load()`] reads the secret for a process
/// that serves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The variable that holds the secret.
    pub env: Option<String>,
    /// The file that holds the secret. One trailing line break is removed.
    pub file: Option<PathBuf>,
    #[serde(skip)]
    value: Option<Secret>,
}

/// A secret. Its `Debug` output is `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The secret in plain text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<Secret> for SecretRef {
    fn from(secret: Secret) -> Self {
        Self { value: Some(secret), ..Self::default() }
    }
}

impl SecretRef {
    /// Whether a variable or a file is named.
    pub fn is_set(&self) -> bool {
        self.env.is_some() || self.file.is_some()
    }

    /// The secret, if it has been read.
    pub fn value(&self) -> Option<&Secret> {
        self.value.as_ref()
    }

    /// Reads the secret. The error never contains what was read.
    pub(super) fn read(&mut self, environment: &Environment) -> Result<(), String> {
        let text = match (&self.env, &self.file) {
            (None, None) => return Ok(()),
            (Some(_), Some(_)) => return Err("both env and file are set; set only one".to_owned()),
            // This is probably the secret itself. It must not appear in an error or in the output of `mediaforge config`.
            (Some(name), None) if !is_name(name) => {
                return Err(
                    "env is not a valid variable name; set it to the name of the variable that holds the secret"
                        .to_owned(),
                );
            }
            (Some(name), None) => {
                environment.get(name).map(str::to_owned).ok_or(format!("the variable {name} is not set"))?
            }
            (None, Some(path)) => {
                std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?
            }
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        self.value = Some(Secret::new(text));
        Ok(())
    }
}

/// Whether `text` is a POSIX variable name of a plausible length.
fn is_name(text: &str) -> bool {
    let first_ok = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first_ok && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
