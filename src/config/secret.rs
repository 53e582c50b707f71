//! Secrets are named in the configuration, not written into it.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Environment;

/// Where a secret is found: `{ env = "NAME" }` or `{ file = "/path" }`. [`super::load()`] reads it for a process that serves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The variable that holds it.
    pub env: Option<String>,
    /// The file that holds it; one line end behind it does not count.
    pub file: Option<PathBuf>,
    #[serde(skip)]
    value: Option<Secret>,
}

/// A secret; it prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret of this text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever must use it.
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
    /// One that is known already.
    fn from(secret: Secret) -> Self {
        Self { value: Some(secret), ..Self::default() }
    }
}

impl SecretRef {
    /// Whether one is named.
    pub fn is_set(&self) -> bool {
        self.env.is_some() || self.file.is_some()
    }

    /// The secret, where one is named and has been read.
    pub fn value(&self) -> Option<&Secret> {
        self.value.as_ref()
    }

    /// Reads it; the error says what is wrong, never what was read.
    pub(super) fn read(&mut self, environment: &Environment) -> Result<(), String> {
        let text = match (&self.env, &self.file) {
            (None, None) => return Ok(()),
            (Some(_), Some(_)) => return Err("env and file are both given; one is enough".to_owned()),
            // It would be printed with the configuration, and with the error that there is no such variable.
            (Some(name), None) if !is_name(name) => {
                return Err("env is no name of a variable; it names the one that holds the secret".to_owned());
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

/// Whether a variable may be called so (POSIX, and no longer than any real one).
fn is_name(text: &str) -> bool {
    let first_ok = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first_ok && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
