//! Checks the files that deploy the program, and the documentation, against the program.

mod image;
mod pages;
mod pipeline;
mod services;
mod shell;
mod vocabulary;

use std::{fs, path::PathBuf};

/// A path below the root of the repository.
fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The text of a file of the repository.
fn text(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// `firebase.json` tells the deploying tool where the rules and indexes are.
#[test]
fn firebase_json_names_rules_and_indexes_that_exist() {
    let firebase: serde_json::Value = serde_json::from_str(&text("firebase.json")).expect("JSON");
    let rules = text(firebase["firestore"]["rules"].as_str().expect("a path"));
    for collection in ["illustrations/{illustrationId}", "brands/{brandId}", "users/{uid}", "teams/{teamId}", "ledger/"]
    {
        assert!(rules.contains(&format!("match /{collection}")), "{collection}");
    }
    // Only the server writes, and the rules do not apply to it.
    for allow in rules.lines().map(str::trim).filter(|line| line.starts_with("allow") && line.contains("write")) {
        assert!(allow.ends_with(": if false;"), "{allow}");
    }
    assert_eq!(rules.matches('{').count(), rules.matches('}').count());
    let indexes = text(firebase["firestore"]["indexes"].as_str().expect("a path"));
    let indexes: serde_json::Value = serde_json::from_str(&indexes).expect("JSON");
    assert!(indexes["indexes"].as_array().is_some_and(|indexes| !indexes.is_empty()));
}
