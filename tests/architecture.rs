//! Checks the layout: imports point in one direction, no folder has an import circle, and the table of faults names tests
//! that exist.

#[path = "architecture/fault_table.rs"]
mod fault_table;
#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/tokens.rs"]
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use imports::Imports;

/// What each room may use beside itself. A new room fails the test until it has a line here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("error", &[]),
    ("failpoint", &[]),
    ("intercept", &["error"]),
    ("http", &["error"]),
    ("net", &[]),
    ("google", &["error", "http", "net"]),
    ("config", &["domain", "net"]),
    ("telemetry", &["config", "domain", "error"]),
    ("lifecycle", &[]),
    ("server", &["lifecycle"]),
    ("embedded", &["domain", "error"]),
    ("store", &["config", "domain", "embedded", "error", "google", "intercept"]),
    ("queue", &["config", "domain", "embedded", "error", "google", "http", "intercept", "lifecycle"]),
    ("provision", &["config", "domain", "error", "google"]),
    ("media", &["config", "domain", "error", "google", "http", "intercept"]),
    // From `media` the engines use only the pure part, which reads and writes pixels.
    ("engine", &["config", "domain", "error", "google", "http", "media"]),
    ("identity", &["domain", "error", "http"]),
    ("jobs", &["domain", "engine", "error", "failpoint", "intercept", "media", "queue", "store"]),
    // The gateway holds no engine and no queue.
    ("gateway", &["domain", "error", "identity", "jobs", "media", "net", "server", "store"]),
    ("worker", &["domain", "error", "failpoint", "identity", "jobs", "lifecycle", "server"]),
    (
        "app",
        &[
            "config",
            "domain",
            "embedded",
            "engine",
            "error",
            "gateway",
            "google",
            "identity",
            "jobs",
            "lifecycle",
            "media",
            "provision",
            "queue",
            "server",
            "store",
            "worker",
        ],
    ),
    // The CLI acts through the use cases, so that an operator does not bypass their rules.
    (
        "cli",
        &[
            "app",
            "config",
            "domain",
            "engine",
            "error",
            "http",
            "jobs",
            "lifecycle",
            "net",
            "provision",
            "store",
            "telemetry",
        ],
    ),
];

/// Rules inside a room: files whose path begins with the first may not name the second.
const MAY_NOT_NAME: &[(&str, &str)] = &[
    // Only the code behind the embedded backends knows the SQLite file.
    ("src/store/document", "embedded"),
    ("src/store/firestore", "embedded"),
    ("src/queue/pubsub", "embedded"),
    // The pure part of `media` needs no configuration.
    ("src/media/image", "config"),
    // From `media` the engines use only the pure part.
    ("src/engine", "media::disk"),
    ("src/engine", "media::gcs"),
];

/// The backends of each port. A backend may not name another.
const BACKENDS: &[(&str, &[&str])] = &[
    ("store", &["firestore", "sqlite"]),
    ("queue", &["embedded", "pubsub"]),
    ("media", &["disk", "gcs"]),
    ("engine", &["command_trainer", "mock_trainer", "noop", "preview", "remote", "vertex_trainer"]),
];

/// Folders without import circles even if their own `mod.rs` is one of the files.
const ACYCLIC_WITH_PARENT: &[&str] = &[
    "src/cli/bench",
    "src/cli/doctor",
    "src/cli/generate",
    "src/cli/job",
    "src/cli/train",
    "src/domain",
    "src/domain/job",
    "src/engine/preview",
    "src/media/disk",
    "src/store/document",
    "src/telemetry",
];

/// Folders that still have a circle among their files. Remove a folder from the list when its circle is gone.
const CIRCULAR: &[&str] =
    &["src/engine", "src/engine/remote", "src/queue/embedded", "src/store/firestore/watch", "src/store/sqlite"];

/// Crates that do I/O or need a runtime are not allowed in the domain.
const NOT_IN_DOMAIN: &[&str] =
    &["tokio", "axum", "reqwest", "rusqlite", "std::fs", "std::net", "async_trait", "async fn"];

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let relative = |path: &PathBuf| path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
    files.iter().map(|path| (relative(path), fs::read_to_string(path).expect("a source file"))).collect()
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn room_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    let room = below.split('/').next()?.trim_end_matches(".rs");
    (!matches!(room, "lib" | "main")).then_some(room)
}

#[test]
fn imports_point_one_way() {
    let may_use: BTreeMap<_, BTreeSet<_>> =
        MAY_USE.iter().map(|(room, used)| (*room, used.iter().copied().collect())).collect();
    let mut wrong = BTreeSet::new();
    for (file, path) in Imports::read(sources()).named() {
        let (Some(room), Some(named)) = (room_of(file), path.first()) else { continue };
        // `crate::thing` would be a function or a macro of the crate's root.
        let Some(allowed) = may_use.get(room) else {
            wrong.insert(format!("{file}: add a line for `{room}` to MAY_USE"));
            continue;
        };
        if named != room && !allowed.contains(named.as_str()) {
            wrong.insert(format!("{file}: `{room}` may not use `{named}`"));
        }
        let full = path.join("::");
        let is_below = |module: &str| full == module || full.starts_with(&format!("{module}::"));
        for (_, banned) in MAY_NOT_NAME.iter().filter(|(prefix, _)| file.starts_with(prefix)) {
            if is_below(banned) {
                wrong.insert(format!("{file}: may not use `{full}`"));
            }
        }
        for (port, backends) in BACKENDS {
            let own = backends.iter().find(|backend| is_in(file, &format!("src/{port}/{backend}")));
            let other = backends.iter().find(|backend| is_below(&format!("{port}::{backend}")));
            if let (Some(own), Some(other)) = (own, other)
                && own != other
            {
                wrong.insert(format!("{file}: the backend `{own}` may not use the backend `{other}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Whether a file is a module's own or below it: `src/engine/noop.rs` or `src/engine/noop/…` of `src/engine/noop`.
fn is_in(file: &str, module: &str) -> bool {
    file.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[test]
fn no_folder_has_an_import_circle() {
    let imports = Imports::read(sources());
    let folders = imports.folders();
    let mut wrong = Vec::new();
    for folder in &folders {
        let is_strict = ACYCLIC_WITH_PARENT.contains(&folder.as_str());
        let circles = imports.circles(folder, is_strict);
        match (circles.is_empty(), CIRCULAR.contains(&folder.as_str())) {
            (true, true) => wrong.push(format!("{folder}: has no circle any longer; remove it from CIRCULAR")),
            (false, false) => wrong.extend(circles.iter().map(|circle| format!("{folder}: {}", circle.join(" -> ")))),
            _ => {}
        }
    }
    let unknown = ACYCLIC_WITH_PARENT.iter().chain(CIRCULAR).filter(|folder| !folders.contains(**folder));
    wrong.extend(unknown.map(|folder| format!("{folder}: there is no such folder")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_the_ports_files_name_their_backends() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let text = without_comments(&text);
        let foreign = ["google_cloud_storage::", "storage::client::"].iter().any(|name| text.contains(name));
        if foreign && !path.starts_with("src/media/gcs") {
            wrong.push(format!("{path}: Cloud Storage belongs behind src/media"));
        }
        for (port, crates) in [("src/store", "rusqlite"), ("src/embedded", "rusqlite")] {
            let inside = path.starts_with("src/store/sqlite")
                || path.starts_with("src/embedded")
                || path.starts_with("src/queue/embedded");
            if text.contains(&format!("{crates}::")) && !inside {
                wrong.push(format!("{path}: {crates} belongs behind {port}"));
            }
        }
        for pubsub in ["google_cloud_pubsub::", "google::pubsub::v1"] {
            let rooms = ["src/queue/pubsub/", "src/provision/pubsub/", "src/google/pubsub.rs"];
            if text.contains(pubsub) && !rooms.iter().any(|room| path.starts_with(room)) {
                wrong.push(format!("{path}: {pubsub} belongs in one of {rooms:?}"));
            }
        }
        for client in ["use firestore::", "google::firestore::"] {
            if text.contains(client) && !path.starts_with("src/store/firestore") {
                wrong.push(format!("{path}: {client} belongs behind src/store"));
            }
        }
        if path.starts_with("src/domain") {
            for banned in NOT_IN_DOMAIN {
                if text.contains(banned) {
                    wrong.push(format!("{path}: `{banned}` in the domain"));
                }
            }
        }
        if !path.starts_with("src/gateway/") && !path.starts_with("src/worker/") && !path.starts_with("src/cli/") {
            for line in text.lines().filter(|line| line.contains("StatusCode")) {
                // A client of an HTTP API reads its statuses.
                let calls = ["src/google", "src/provision", "src/queue/embedded"];
                if !calls.iter().any(|room| path.starts_with(room)) && path != "src/app.rs" {
                    wrong.push(format!("{path}: an HTTP status outside the HTTP rooms: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
