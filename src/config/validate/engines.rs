//! Engines and trainers: the names of engines here, each section's values by the section itself.

use super::Check;
use crate::config::{Config, Roles};

/// Without `roles`, only values are checked; a worker must also have everything that its engines and its trainer need.
pub(super) fn check(config: &Config, roles: Option<Roles>, check: &mut Check) {
    let is_worker = roles.is_some_and(|roles| roles.worker);
    let engine = &config.engine;
    names(config, check);
    let used: Vec<&str> = named(config).iter().filter_map(|(_, name)| Some(engine.route(name).ok()?.engine)).collect();
    for section in engine.sections() {
        section.validate(config, is_worker && used.contains(&section.name()), check);
    }
    for model in &engine.models {
        if let Some(day) = model.retires.as_deref()
            && day.parse::<jiff::civil::Date>().is_err()
        {
            check.wrong("engine.models", format!("{}: {day:?} is not a date; write it as 2026-08-17", model.id));
        }
    }
    config.trainer.validate(config, is_worker, check);
}

fn names(config: &Config, check: &mut Check) {
    let engine = &config.engine;
    for (alias, meant) in &engine.aliases {
        let key = format!("engine.aliases.{alias}");
        if engine.aliases.contains_key(meant) {
            check.wrong(&key, format!("{meant:?} is an alias itself; name an engine"));
        } else if let Err(detail) = engine.route(meant) {
            check.wrong(&key, detail);
        }
    }
    for (key, name) in named(config) {
        if let Err(detail) = engine.route(name) {
            check.wrong(&key, detail);
        }
    }
}

/// Every key whose value names an engine, with the value.
fn named(config: &Config) -> Vec<(String, &str)> {
    let styles =
        config.styles.iter().filter_map(|(id, style)| Some((format!("styles.{id}.engine"), style.engine.as_deref()?)));
    let fallback = config.engine.fallback.as_deref().map(|name| ("engine.fallback".to_owned(), name));
    let brands = config.engine.brands.as_deref().map(|name| ("engine.brands".to_owned(), name));
    std::iter::once(("engine.default".to_owned(), config.engine.default.as_str()))
        .chain(fallback)
        .chain(brands)
        .chain(styles)
        .collect()
}
