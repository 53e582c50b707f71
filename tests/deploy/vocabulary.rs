//! Old names and unclear phrases do not come back: in the sources, the documentation, or the configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{path, text};

/// Former names, each with its replacement. They match whole parts of an identifier: `bell` matches `the_bell` and
/// `BellRinger`, but not `label`.
const NAMES: [(&str, &str); 14] = [
    ("bell", "wakeup"),
    ("ringer", "notifier"),
    ("poker", "wake handle"),
    ("desk", "writer loop or uploads"),
    ("courier", "push context"),
    ("circuits", "breakers"),
    ("standing_in", "fallback"),
    ("stand_in", "fallback"),
    ("widowed", "release leases of dead workers"),
    ("take_over_from_the_dead", "release leases of dead workers"),
    ("bury", "record dead letter"),
    ("hold_off", "pause delivery"),
    ("lookups", "point reads"),
    ("patience", "timeouts"),
];

/// Phrases that a reader has to read twice.
const PHRASES: [&str; 21] = [
    "as which",
    "at the doors",
    "deals with",
    "gave up does not",
    "is no error",
    "is no number",
    "knows better",
    "knows the caller not",
    "looks at what",
    "needs no other",
    "nobody ",
    "requests in hand",
    "rules of the house",
    "somebody ",
    "stands in for",
    " to know of",
    "what came of",
    "what it is made of",
    "who asks",
    "who reads",
    "whoever",
];

/// The files that people read, relative to the root.
fn files() -> Vec<PathBuf> {
    let mut files = ["README.md", "CHANGELOG.md", "config/default.toml"].map(PathBuf::from).to_vec();
    collect(Path::new("docs"), "md", &mut files);
    collect(Path::new("src"), "rs", &mut files);
    files
}

fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path("").join(folder)).expect("a folder") {
        let name = folder.join(entry.expect("an entry").file_name());
        if path("").join(&name).is_dir() {
            collect(&name, extension, files);
        } else if name.extension().is_some_and(|it| it == extension) {
            files.push(name);
        }
    }
}

/// An identifier as its parts in lower case: `BellRinger` and `bell_ringer` become `_bell_ringer_`.
fn parts(identifier: &str) -> String {
    let mut parts = String::from("_");
    let mut previous = '_';
    for c in identifier.chars() {
        if c.is_uppercase() && previous.is_lowercase() {
            parts.push('_');
        }
        parts.extend(c.to_lowercase());
        previous = c;
    }
    parts.push('_');
    parts
}

/// The former names in a line, each with its replacement.
fn former_names(line: &str) -> Vec<(&'static str, &'static str)> {
    let identifiers = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(parts);
    let all: String = identifiers.collect::<Vec<_>>().join(" ");
    NAMES.into_iter().filter(|(name, _)| all.contains(&format!("_{name}_"))).collect()
}

/// Whether a line of Rust names a letter that is not a dead letter. (In prose, letters are characters.)
fn names_a_letter(line: &str) -> bool {
    let identifiers = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(parts);
    let mut compound = identifiers.filter(|parts| parts.trim_matches('_').contains('_'));
    let declares = ["let letter", "fn letter", "letter: ", "letters: "].iter().any(|start| line.contains(start));
    let is_comment = line.trim_start().starts_with("//");
    !is_comment
        && (declares && !line.contains('"') && !line.contains("dead_letter")
            || compound.any(|parts| parts.contains("_letter") && !parts.contains("dead_letter")))
}

/// Checks every line of every file.
fn check(problem: impl Fn(&Path, &str) -> Option<String>) {
    let mut problems = Vec::new();
    for file in files() {
        for (at, line) in text(file.to_str().expect("UTF-8")).lines().enumerate() {
            problems.extend(problem(&file, line).map(|problem| format!("{}:{}: {problem}", file.display(), at + 1)));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn former_names_do_not_occur() {
    check(|file, line| {
        if file.extension().is_some_and(|it| it == "rs") && names_a_letter(line) {
            return Some("say `dead letter` instead of `letter`".to_owned());
        }
        former_names(line).first().map(|(name, new)| format!("say `{new}` instead of `{name}`"))
    });
}

#[test]
fn unclear_phrases_do_not_occur() {
    check(|_, line| {
        let line = line.to_lowercase();
        PHRASES.into_iter().find(|phrase| line.contains(phrase)).map(|phrase| format!("rewrite {phrase:?}"))
    });
}

#[test]
fn former_names_are_found_in_every_spelling() {
    for line in ["struct BellRinger;", "the_bell.ring()", "// rings the bell", "fn hold_off(&self)"] {
        assert!(!former_names(line).is_empty(), "{line}");
    }
    for line in ["let label = 1;", "struct Deskew;", "circuit_breakers"] {
        assert!(former_names(line).is_empty(), "{line}");
    }
    assert!(names_a_letter("let letter = queue.next();") && names_a_letter("fn record_letter(&self)"));
    assert!(!names_a_letter("fn record_dead_letter(&self)") && !names_a_letter("let name = \"lower-case letters\";"));
}
