//! The table of faults in `tests/fault/README.md` names tests that exist.

use std::{collections::BTreeSet, fs, path::Path};

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
            wrong.push(format!("case {number} names no test, or occurs twice"));
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
fn links_of_a_row_are_read() {
    let row = "| 1 | `kill -9` | dies | [`a_b`](x.rs)<br>[`c`](../y/z.rs) |";
    assert_eq!(tests_linked(row), [("a_b", "x.rs"), ("c", "../y/z.rs")]);
    for text in ["async fn a_b() {", "pub async fn a_b<B: Backend>() {", "    a_b: \"point\", 1;"] {
        assert!(has_test(text, "a_b") && !has_test(text, "a"), "{text}");
    }
}
