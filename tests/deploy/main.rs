//! Holds the files that deploy to what they deploy: the image, the pipeline, and what both name of this program.

mod image;
mod pipeline;
mod services;
mod shell;

use std::{fs, path::PathBuf};

/// A path below the root of the repository.
fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The text of a file of the repository.
fn text(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// Where Firestore's rules and indexes lie, for the tool that deploys them.
#[test]
fn what_is_deployed_to_firestore_is_there() {
    let firebase: serde_json::Value = serde_json::from_str(&text("firebase.json")).expect("JSON");
    let rules = text(firebase["firestore"]["rules"].as_str().expect("a path"));
    for collection in ["illustrations/{illustrationId}", "brands/{brandId}", "users/{uid}", "teams/{teamId}", "ledger/"]
    {
        assert!(rules.contains(&format!("match /{collection}")), "{collection}");
    }
    // Whoever may write is the server, which these rules do not hold.
    for allow in rules.lines().map(str::trim).filter(|line| line.starts_with("allow") && line.contains("write")) {
        assert!(allow.ends_with(": if false;"), "{allow}");
    }
    assert_eq!(rules.matches('{').count(), rules.matches('}').count());
    let indexes = text(firebase["firestore"]["indexes"].as_str().expect("a path"));
    let indexes: serde_json::Value = serde_json::from_str(&indexes).expect("JSON");
    assert!(indexes["indexes"].as_array().is_some_and(|indexes| !indexes.is_empty()));
}
