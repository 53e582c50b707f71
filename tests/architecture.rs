//! Holds the import directions of the layout: reads every `crate::` path in `src/` and fails on one that points back. Holds
//! the table of faults to the tests that it names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each room may use beside itself. A room that is not listed fails the test, so a new one is placed on purpose.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("error", &[]),
    ("failpoint", &[]),
    ("http", &[]),
    ("net", &[]),
    ("google", &["error"]),
    ("config", &["domain", "net"]),
    ("telemetry", &["config", "domain"]),
    ("lifecycle", &[]),
    ("server", &["lifecycle"]),
    ("embedded", &["domain", "error"]),
    ("store", &["config", "domain", "embedded", "error", "google"]),
    ("queue", &["config", "domain", "embedded", "error", "google", "http", "lifecycle"]),
    ("media", &["config", "domain", "error", "google", "http"]),
    // Of the media only what looks at pixels, which is pure.
    ("engine", &["config", "domain", "error", "google", "http", "media", "net"]),
    ("identity", &["domain", "error", "http"]),
    ("jobs", &["domain", "engine", "error", "failpoint", "media", "queue", "store"]),
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
            "queue",
            "server",
            "store",
            "worker",
        ],
    ),
    ("cli", &["app", "config", "domain", "engine", "error", "http", "lifecycle", "net", "store", "telemetry"]),
];

/// Rules inside a room: files whose path begins with the first may not name the second.
const MAY_NOT_NAME: &[(&str, &str)] = &[
    // Only the code behind the embedded backends knows the SQLite file.
    ("src/store/document", "embedded"),
    ("src/store/firestore", "embedded"),
    // The pure part of the ports' neighbours stays free of configuration.
    ("src/media/image", "config"),
];

/// Crates that do I/O or need a runtime have no place in the rulebook.
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

/// The rooms named by `crate::room` and by `use crate::{room::…, room::…}`.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => rooms.extend(first_word(rest)),
            Some(group) => {
                let mut depth = 0_i32;
                let mut item = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => rooms.extend(first_word(&std::mem::take(&mut item))),
                        _ => {}
                    }
                    if depth == 0 && c != ',' {
                        item.push(c);
                    }
                }
                rooms.extend(first_word(&item));
            }
        }
    }
    rooms
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    // `crate::Thing` re-exported at the root does not occur; a lower-case word is a module.
    word.starts_with(|c: char| c.is_ascii_lowercase()).then_some(word)
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
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(room) = room_of(&path) else { continue };
        let Some(allowed) = may_use.get(room) else {
            wrong.push(format!("{path}: the room `{room}` has no place in tests/architecture.rs"));
            continue;
        };
        let text = without_comments(&text);
        for named in rooms_named(&text) {
            if named != room && !allowed.contains(named.as_str()) {
                wrong.push(format!("{path}: `{room}` may not use `{named}`"));
            }
            if MAY_NOT_NAME.iter().any(|(prefix, banned)| path.starts_with(prefix) && named == *banned) {
                wrong.push(format!("{path}: may not use `{named}`"));
            }
        }
    }
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
        for pubsub in ["google_cloud_pubsub::", "google::pubsub::"] {
            if text.contains(pubsub) && !path.starts_with("src/queue/pubsub/") {
                wrong.push(format!("{path}: {pubsub} belongs in src/queue/pubsub"));
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
                // Those who call others read their statuses.
                let calls = ["src/queue/embedded", "src/engine/vertex_trainer"];
                if !calls.iter().any(|room| path.starts_with(room)) && path != "src/app.rs" {
                    wrong.push(format!("{path}: an HTTP status outside the HTTP rooms: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_imports() {
    let text = "use crate::{\n    domain::{Timestamp, job::{Job, State}},\n    store::Version,\n};\nlet x = crate::error::y();";
    let rooms: Vec<_> = rooms_named(text).into_iter().collect();
    assert_eq!(rooms, ["domain", "error", "store"]);
}

/// Cases of the table of faults.
const CASES: std::ops::RangeInclusive<u32> = 1..=48;

/// The tests that Markdown links to, as (name, file).
fn tests_linked(text: &str) -> Vec<(&str, &str)> {
    let link = |rest: &'_ str| -> Option<(usize, usize, usize)> {
        let name = rest.find("`](")?;
        let file = name + "`](".len();
        Some((name, file, file + rest[file..].find(')')?))
    };
    let links = text.split("[`").skip(1).filter_map(|rest| {
        let (name, file, end) = link(rest)?;
        Some((&rest[..name], &rest[file..end]))
    });
    links.collect()
}

/// Whether a file has a test or a case of this name: a function, or a line of a macro that makes one.
fn has_test(text: &str, name: &str) -> bool {
    let (function, generic, line) = (format!("fn {name}("), format!("fn {name}<"), format!("{name}: \""));
    text.contains(&function) || text.contains(&generic) || text.lines().any(|it| it.trim_start().starts_with(&line))
}

#[test]
fn every_case_of_the_fault_table_names_tests_that_exist() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fault");
    let table = fs::read_to_string(folder.join("README.md")).expect("the table");
    let (mut wrong, mut cases) = (Vec::new(), BTreeSet::new());
    for row in table.lines() {
        let number = row.strip_prefix("| ").and_then(|row| row.split(' ').next()?.parse::<u32>().ok());
        let Some(number) = number else { continue };
        let tests = tests_linked(row);
        if tests.is_empty() || !cases.insert(number) {
            wrong.push(format!("case {number} names no test, or stands there twice"));
        }
        for (name, file) in tests {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            if !has_test(&text, name) {
                wrong.push(format!("case {number}: there is no {name} in {file}"));
            }
        }
    }
    wrong.extend(CASES.filter(|case| !cases.contains(case)).map(|case| format!("case {case} is missing")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_links_reads_links() {
    let row = "| 1 | `kill -9` | dies | [`a_b`](x.rs)<br>[`c`](../y/z.rs) |";
    assert_eq!(tests_linked(row), [("a_b", "x.rs"), ("c", "../y/z.rs")]);
    for text in ["async fn a_b() {", "pub async fn a_b<B: Backend>() {", "    a_b: \"point\", 1;"] {
        assert!(has_test(text, "a_b") && !has_test(text, "a"), "{text}");
    }
}
