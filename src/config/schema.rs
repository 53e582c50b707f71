//! The keys that exist. They are derived from the default configuration, so that no list can become outdated.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use super::{
    Config,
    problem::{did_you_mean, variable},
};

/// Keys whose environment values are always text: `007` is not a number.
const TEXT: [&str; 36] = [
    "data_dir",
    "engine.default",
    "engine.brands",
    "engine.fallback",
    "engine.aliases.*",
    "engine.gemini.model",
    "engine.gemini.location",
    "engine.gemini.thinking",
    "engine.imagen.model",
    "engine.imagen.location",
    "engine.lora.key.env",
    "engine.lora.key.file",
    "engine.lora.model",
    "engine.openai.key.env",
    "engine.openai.key.file",
    "engine.openai.model",
    "gcp.project",
    "gateway.firebase.project",
    "gateway.stream_tokens.key.env",
    "gateway.stream_tokens.key.file",
    "media.gcs.bucket",
    "media.gcs.signing_key.env",
    "media.gcs.signing_key.file",
    "queue.pubsub.push_service_account",
    "store.firestore.database",
    "worker.oidc.audience",
    "jobs.training_estimate",
    "telemetry.filter",
    "styles.*.name",
    "styles.*.description",
    "styles.*.modifier",
    "styles.*.engine",
    "trainer.command.artifact",
    "trainer.command.directory",
    "trainer.vertex.image",
    "trainer.vertex.output",
];
/// Keys whose environment value may be a comma-separated list.
const LISTS: [&str; 4] =
    ["gateway.cors_origins", "trainer.command.argv", "trainer.vertex.args", "worker.oidc.service_accounts"];

/// Every key as a path, with `*` for a name that the user chooses.
pub(super) struct Schema(BTreeSet<String>);

impl Schema {
    /// The keys of `defaults`, including those without a value.
    pub(super) fn of(defaults: &Config) -> Result<Self, Box<figment::Error>> {
        let Value::Dict(_, dict) = Value::serialize(defaults)? else { return Ok(Self(BTreeSet::new())) };
        Ok(Self(leaves(&dict).into_iter().map(|(path, _)| pattern(&path)).collect()))
    }

    /// Explains why a key is unknown and lists the valid ones; `None` if the key exists.
    pub(super) fn unknown(&self, path: &[String], value: &Value) -> Option<(&'static str, String)> {
        let key = pattern(path);
        if self.0.contains(&key) {
            return None;
        }
        let children = self.children(&key);
        if !children.is_empty() {
            let empty = matches!(value, Value::Dict(_, dict) if dict.is_empty());
            return (!empty).then(|| ("is a section, not a value", format!("its keys: {}", children.join(", "))));
        }
        let mut parent = path;
        while let [shorter @ .., _] = parent {
            parent = shorter;
            let valid = self.children(&pattern(parent));
            if !valid.is_empty() {
                let place = if parent.is_empty() { "valid".into() } else { format!("valid in [{}]", parent.join(".")) };
                return Some(("unknown key", format!("{place}: {}", valid.join(", "))));
            }
        }
        Some(("unknown key", String::new()))
    }

    /// The key with the most similar spelling.
    pub(super) fn nearest(&self, path: &[String]) -> Option<&str> {
        did_you_mean(&path.join("."), self.0.iter().map(String::as_str))
    }

    /// Parses an environment value as the type of its key requires.
    pub(super) fn parse(path: &[String], text: &str) -> Value {
        let key = pattern(path);
        if TEXT.contains(&key.as_str()) {
            Value::from(text)
        } else if LISTS.contains(&key.as_str()) && !text.trim_start().starts_with('[') {
            let items: Vec<Value> = text.split(',').map(|item| Value::from(item.trim())).collect();
            Value::from(items)
        } else {
            // The error type is uninhabited: anything that is not a number, boolean, list or table is text.
            text.parse().unwrap_or_else(|_| Value::from(text))
        }
    }

    /// The names directly below a section; the top-level names if `section` is empty.
    fn children(&self, section: &str) -> Vec<String> {
        let below = |key: &String| {
            let rest = if section.is_empty() { key } else { key.strip_prefix(section)?.strip_prefix('.')? };
            Some(rest.split('.').next()?.replace('*', "<id>"))
        };
        let names: BTreeSet<String> = self.0.iter().filter_map(below).collect();
        names.into_iter().collect()
    }
}

/// Tables whose keys the user chooses.
const USER_TABLES: [&[&str]; 2] = [&["styles"], &["engine", "aliases"]];

/// `["styles", "clay-3d", "name"]` as `styles.*.name`, everything else joined by dots.
fn pattern(path: &[String]) -> String {
    let chosen =
        USER_TABLES.iter().find(|table| path.len() > table.len() && path.iter().zip(**table).all(|(a, b)| a == b));
    let shown = |(at, name): (usize, &String)| match chosen {
        Some(table) if at == table.len() => "*".to_owned(),
        _ => name.clone(),
    };
    path.iter().enumerate().map(shown).collect::<Vec<_>>().join(".")
}

/// Every value of a table with its path. Nested tables are flattened, unless they are empty.
pub(super) fn leaves(dict: &Dict) -> Vec<(Vec<String>, Value)> {
    let mut found = Vec::new();
    for (name, value) in dict {
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => {
                found.extend(leaves(inner).into_iter().map(|(mut path, value)| {
                    path.insert(0, name.clone());
                    (path, value)
                }));
            }
            value => found.push((vec![name.clone()], value.clone())),
        }
    }
    found
}

/// The key path for the name of a variable without `MEDIAFORGE_`.
pub(super) fn path_of_variable(name: &str) -> Vec<String> {
    let mut path: Vec<String> = name.to_ascii_lowercase().split("__").map(str::to_owned).collect();
    // A variable name cannot contain a dash, and a style id cannot contain an underscore.
    if let [styles, id, ..] = path.as_mut_slice()
        && styles == "styles"
    {
        *id = id.replace('_', "-");
    }
    path
}

/// A suggested key as a variable.
pub(super) fn as_variable(key: &str) -> String {
    variable(&key.replace('*', "<id>"))
}
