//! The cost of a statement must not depend on how much the store has ever done: every statement in the source of the
//! embedded backends is explained, and must find its rows by an index.
//!
//! The statements are read off the source, so that a new one cannot be forgotten.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mediaforge::embedded::{DATABASE, Embedded};
use rusqlite::Connection;

/// Where statements stand. `open.rs` is not among them: it looks at the first row of every b-tree, once, at the start.
const SOURCES: [&str; 4] =
    ["src/store/sqlite", "src/queue/embedded", "src/embedded/messages.rs", "src/embedded/mod.rs"];

/// What stands in for the parts of a statement that are filled in.
const FILLED_IN: [(&str, &[&str]); 2] = [
    ("{column}", &["user_id", "team_id"]),
    ("({} LIMIT", &["(SELECT 1 FROM jobs WHERE user_id = ?1 AND kind = 'ill_' AND status = 'queued' LIMIT"]),
];

/// Steps that may go through a whole table, each with a part of its statement.
const MAY_SCAN: [(&str, &str); 5] = [
    // One row.
    ("SCAN sequence", "UPDATE sequence SET"),
    ("SCAN sequence", "SELECT value FROM sequence"),
    // The first rows by primary key, and no more than that.
    ("SCAN messages", "SELECT id FROM messages ORDER BY id LIMIT 256"),
    // By its primary key, up to the limit of who asks.
    ("SCAN dead_letters", "FROM dead_letters ORDER BY id LIMIT ?"),
    // What the parts in it have found, up to their limit.
    ("SCAN (subquery-1)", "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE user_id = ?1"),
];

/// Steps that make rows wait for all others. (An `IN` list is a b-tree of its own, of as many values as are given.)
const SORTS: &str = "USE TEMP B-TREE";

#[test]
fn no_statement_grows_with_the_store() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Embedded::open(directory.path(), &[]).expect("a database"));
    let db = Connection::open(directory.path().join(DATABASE)).expect("the same database");
    let mut wrong = Vec::new();
    let statements = statements();
    assert!(statements.len() >= 25, "statements are no longer found in the source: {statements:#?}");
    for (file, sql) in statements {
        for step in plan(&db, &sql) {
            let scans = step.starts_with("SCAN");
            let allowed = MAY_SCAN.iter().any(|(scan, part)| step.starts_with(scan) && sql.contains(part));
            if (scans && !allowed) || step.starts_with(SORTS) {
                wrong.push(format!("{file}: {step}\n    {sql}"));
            }
        }
    }
    assert!(wrong.is_empty(), "these cost more the more there is:\n{}", wrong.join("\n"));
}

fn plan(db: &Connection, sql: &str) -> Vec<String> {
    let explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"));
    let mut explain = explain.unwrap_or_else(|error| panic!("{error}: {sql}"));
    // The values do not change the plan: nothing is analysed, so none are looked at.
    let values = vec![rusqlite::types::Null; explain.parameter_count()];
    let steps = explain.query_map(rusqlite::params_from_iter(values), |row| row.get("detail"));
    steps.expect("a plan").collect::<Result<_, _>>().expect("its steps")
}

/// Every statement of the sources with its file, filled in.
fn statements() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for source in SOURCES {
        for file in files(&root.join(source)) {
            let text = fs::read_to_string(&file).expect("a source file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let name = file.strip_prefix(root).expect("below the root").display().to_string();
            found.extend(literals(code).into_iter().flat_map(filled_in).map(|sql| (name.clone(), sql)));
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

/// String literals that begin like a statement.
fn literals(code: &str) -> Vec<String> {
    let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE ", "WITH "];
    let starts = code.match_indices('"').map(|(at, _)| &code[at + 1..]);
    let statements = starts.filter(|rest| verbs.iter().any(|verb| rest.starts_with(verb)));
    let whole =
        |rest: &str| rest.split('"').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    statements.map(whole).collect()
}

fn filled_in(sql: String) -> Vec<String> {
    let mut all = vec![sql];
    for (part, values) in FILLED_IN {
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
fn statements_are_read_off_the_source() {
    let code = "let a = \"SELECT 1\n   FROM x\"; say(\"hello\"); db.prepare(\"DELETE FROM y WHERE {column} = ?\")";
    assert_eq!(literals(code), ["SELECT 1 FROM x", "DELETE FROM y WHERE {column} = ?"]);
    let filled = filled_in("DELETE FROM y WHERE {column} = ?".to_owned());
    assert_eq!(filled, ["DELETE FROM y WHERE user_id = ?", "DELETE FROM y WHERE team_id = ?"]);
}
