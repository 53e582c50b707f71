//! `mediaforge config`

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::{Exit, Invocation, output, serve::Role};
use crate::config::{Entry, Loaded, Origin, default_file};

const DIM: &str = "\u{1b}[2m";
const GREEN: &str = "\u{1b}[32m";
const BOLD: &str = "\u{1b}[1m";
const RESET: &str = "\u{1b}[0m";

/// Show every effective setting and where it came from
///
/// The output is TOML with the origin of each value as a comment. You can pass it to --config.
#[derive(Debug, Args)]
#[command(after_help = "\
Sources; each overrides those above it:
  defaults          of the profile
  a file            --config FILE or MEDIAFORGE_CONFIG
  PORT              the port of the gateway (for `serve worker`: of the worker), as set by Cloud Run
  the environment   MEDIAFORGE_SECTION__KEY, for example MEDIAFORGE_WORKER__SLOTS=4
  flags             such as --data-dir

Examples:
  mediaforge config                                  what `serve` would use
  mediaforge config worker --profile test            what `serve worker --profile test` would use
  mediaforge config --json | jq '.settings[\"worker.lease\"]'
  mediaforge config --defaults                       an explanation of every key")]
pub(super) struct ConfigArgs {
    /// Show what `serve ROLE` would use
    role: Option<Role>,
    /// Print one JSON object: {profile, settings: {KEY: {value, origin, variable}}}
    #[arg(long)]
    json: bool,
    /// Print the built-in defaults with an explanation of every key
    #[arg(long, conflicts_with_all = ["json", "role"])]
    defaults: bool,
}

pub(super) fn run(args: &ConfigArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    if args.defaults {
        output::bytes(default_file().as_bytes())?;
        return Ok(Exit::Done);
    }
    let loaded = invocation.load(Some(Role::roles(args.role)), Vec::new())?;
    if args.json {
        output::line(serde_json::to_string_pretty(&as_json(&loaded))?)?;
    } else {
        output::line(as_toml(&loaded).trim_end())?;
    }
    Ok(Exit::Done)
}

fn as_json(loaded: &Loaded) -> serde_json::Value {
    let setting = |entry: Entry| {
        let variable = crate::config::variable(&entry.key);
        (entry.key, json!({ "value": entry.value, "origin": entry.origin.to_string(), "variable": variable }))
    };
    let settings: serde_json::Map<_, _> = loaded.entries().into_iter().map(setting).collect();
    json!({ "profile": loaded.profile.name(), "settings": settings })
}

/// TOML with the origins as aligned comments; unset keys are comments.
fn as_toml(loaded: &Loaded) -> String {
    let rows: Vec<(String, String, Origin)> = loaded.entries().into_iter().map(row).collect();
    // Descriptions of styles are long; aligning all rows with them would leave the page mostly blank.
    let width = rows.iter().map(|(_, text, _)| text.chars().count()).filter(|width| *width <= 40).max().unwrap_or(0);
    let mut text = format!("{DIM}# profile {}{RESET}\n", loaded.profile);
    let mut section = String::new();
    for (of, setting, origin) in rows {
        if of != section {
            let _ = write!(text, "\n{BOLD}[{of}]{RESET}\n"); // writing to a String cannot fail
            section = of;
        }
        let colour = if origin == Origin::Default { DIM } else { GREEN };
        let _ = writeln!(text, "{setting:<width$}  {colour}# {origin}{RESET}");
    }
    text
}

/// (section, `key = value`, origin)
fn row(entry: Entry) -> (String, String, Origin) {
    let (section, name) = entry.key.rsplit_once('.').unwrap_or(("", &entry.key));
    let setting = if entry.value.is_null() {
        let meaning = match entry.key.as_str() {
            "worker.heartbeat" => "a third of the lease",
            "gateway.public_url" => "the Host header of the request",
            "queue.embedded.push_url" => "the worker in the same process",
            "queue.embedded.max_in_flight" => "twice worker.slots",
            _ => "not set",
        };
        format!("# {name}: {meaning}")
    } else {
        format!("{name} = {}", inline(&entry.value))
    };
    (section.to_owned(), setting, entry.origin)
}

/// A value as one line of TOML. Strings, numbers and booleans of JSON are valid TOML.
fn inline(value: &serde_json::Value) -> String {
    use serde_json::Value::{Array, Object};
    match value {
        Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Object(map) => {
            let set = map.iter().filter(|(_, value)| !value.is_null());
            let pair = |(name, value): (&String, &serde_json::Value)| format!("{} = {}", json!(name), inline(value));
            format!("{{ {} }}", set.map(pair).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Sources, load};

    fn loaded(variables: &[(&str, &str)]) -> Loaded {
        let environment = Environment::of(variables.iter().copied()).with_user_data_dir("/data");
        load(&Sources { environment, ..Sources::default() }).unwrap()
    }

    fn plain(loaded: &Loaded) -> String {
        anstream::adapter::strip_str(&as_toml(loaded)).to_string()
    }

    #[test]
    fn the_output_loads_as_the_same_configuration() {
        let first =
            loaded(&[("MEDIAFORGE_WORKER__LEASE", "45s"), ("MEDIAFORGE_GATEWAY__CORS_ORIGINS", "https://a.example")]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, plain(&first)).unwrap();
        let environment = Environment::of([]);
        let again = load(&Sources { environment, file: Some(file), ..Sources::default() }).unwrap();
        assert_eq!(format!("{:?}", first.config), format!("{:?}", again.config));
    }

    #[test]
    fn every_value_shows_its_origin() {
        let text = plain(&loaded(&[("MEDIAFORGE_WORKER__LEASE", "45s")]));
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        assert!(line("lease = \"45s\"").ends_with("# MEDIAFORGE_WORKER__LEASE"));
        assert!(line("starting_grant = 1000").ends_with("# profile local"));
        assert!(line("# heartbeat: a third of the lease").ends_with("# default"));
        let json = as_json(&loaded(&[]));
        assert_eq!(
            json["settings"]["worker.slots"],
            json!({"value": 2, "origin": "default", "variable": "MEDIAFORGE_WORKER__SLOTS"})
        );
    }
}
