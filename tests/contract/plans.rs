//! The cost of a statement must not grow with the store: SQLite explains every statement in the source of the embedded
//! backends, and each must find its rows by an index.
//!
//! The test reads the statements from the source, so that it covers new ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mediaforge::embedded::{DATABASE, Embedded};
use rusqlite::Connection;

/// The files with statements. `open.rs` is not among them: it reads the first row of every b-tree, once, at the start.
const SOURCES: [&str; 4] =
    ["src/store/sqlite", "src/queue/embedded", "src/embedded/messages.rs", "src/embedded/mod.rs"];

/// Values for the placeholders of a statement.
const PLACEHOLDERS: [(&str, &[&str]); 2] = [
    ("{column}", &["user_id", "team_id"]),
    ("({} LIMIT", &["(SELECT 1 FROM jobs WHERE user_id = ?1 AND kind = 'ill_' AND status = 'queued' LIMIT"]),
];

/// Steps that may scan a whole table, each with a part of its statement.
const MAY_SCAN: [(&str, &str); 5] = [
    // One row.
    ("SCAN sequence", "UPDATE sequence SET"),
    ("SCAN sequence", "SELECT value FROM sequence"),
    // Only the first rows by primary key.
    ("SCAN messages", "SELECT id FROM messages ORDER BY id LIMIT 256"),
    // By its primary key, up to the caller's limit.
    ("SCAN dead_letters", "FROM dead_letters ORDER BY id LIMIT ?"),
    // The results of the inner queries, up to their limit.
    ("SCAN (subquery-1)", "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE user_id = ?1"),
];

/// Steps that sort, so that the first row waits for all others. (An `IN` list is a small b-tree of its own.)
const SORTS: &str = "USE TEMP B-TREE";

#[test]
fn no_statement_grows_with_the_store() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Embedded::open(directory.path(), &[]).expect("a database"));
    let db = Connection::open(directory.path().join(DATABASE)).expect("the same database");
    let mut wrong = Vec::new();
    let statements = statements();
    assert!(statements.len() >= 25, "the source has fewer statements than expected: {statements:#?}");
    for (file, sql) in statements {
        for step in plan(&db, &sql) {
            let scans = step.starts_with("SCAN");
            let allowed = MAY_SCAN.iter().any(|(scan, part)| step.starts_with(scan) && sql.contains(part));
            if (scans && !allowed) || step.starts_with(SORTS) {
                wrong.push(format!("{file}: {step}\n    {sql}"));
            }
        }
    }
    assert!(wrong.is_empty(), "the cost of these grows with the store:\n{}", wrong.join("\n"));
}

fn plan(db: &Connection, sql: &str) -> Vec<String> {
    let explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"));
    let mut explain = explain.unwrap_or_else(|error| panic!("{error}: {sql}"));
    // The values do not change the plan, because the tables have no statistics.
    let values = vec![rusqlite::types::Null; explain.parameter_count()];
    let steps = explain.query_map(rusqlite::params_from_iter(values), |row| row.get("detail"));
    steps.expect("a plan").collect::<Result<_, _>>().expect("its steps")
}

/// Every statement of the sources, with its file and without placeholders.
fn statements() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for source in SOURCES {
        for file in files(&root.join(source)) {
            let text = fs::read_to_string(&file).expect("a source file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let name = file.strip_prefix(root).expect("below the root").display().to_string();
            found.extend(literals(code).into_iter().flat_map(without_placeholders).map(|sql| (name.clone(), sql)));
        }
    }
    found
}

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|entry| files(&entry)).collect()
}

/// String literals that start like a statement.
fn literals(code: &str) -> Vec<String> {
    let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE ", "WITH "];
    let starts = code.match_indices('"').map(|(at, _)| &code[at + 1..]);
    let statements = starts.filter(|rest| verbs.iter().any(|verb| rest.starts_with(verb)));
    let whole =
        |rest: &str| rest.split('"').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    statements.map(whole).collect()
}

fn without_placeholders(sql: String) -> Vec<String> {
    let mut all = vec![sql];
    for (part, values) in PLACEHOLDERS {
        all = all
            .into_iter()
            .flat_map(|sql| {
                let is_there = sql.contains(part);
                let many = values.iter().map(|value| sql.replace(part, value)).collect::<Vec<_>>();
                if is_there { many } else { vec![sql] }
            })
            .collect();
    }
    all
}

#[test]
fn statements_are_found_in_source_code() {
    let code = "let a = \"SELECT 1\n   FROM x\"; say(\"hello\"); db.prepare(\"DELETE FROM y WHERE {column} = ?\")";
    assert_eq!(literals(code), ["SELECT 1 FROM x", "DELETE FROM y WHERE {column} = ?"]);
    let filled = without_placeholders("DELETE FROM y WHERE {column} = ?".to_owned());
    assert_eq!(filled, ["DELETE FROM y WHERE user_id = ?", "DELETE FROM y WHERE team_id = ?"]);
}
