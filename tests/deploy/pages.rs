//! `README.md` and the pages of `docs/`: the files and headings that they name exist.

use std::{fs, path::Path};

use crate::{path, text};

/// A word of a page that begins like this names a file or folder of the repository.
const FOLDERS: [&str; 6] = [".ci/", ".github/", "config/", "docs/", "src/", "tests/"];

/// The README and every page of `docs/`, relative to the root.
fn pages() -> Vec<String> {
    let docs = fs::read_dir(path("docs")).expect("docs/ can be listed");
    let names = docs.map(|entry| entry.expect("an entry").file_name().into_string().expect("a UTF-8 name"));
    let pages = names
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "md"))
        .map(|name| format!("docs/{name}"));
    pages.chain(["README.md".to_owned()]).collect()
}

/// The words of a page that name a file or folder, without patterns such as `routes/<noun>.rs`.
fn paths(page: &str) -> Vec<&str> {
    let words = page.split(|c: char| c.is_whitespace() || "`'\"()[]|,;#".contains(c));
    let words = words.map(|word| word.trim_end_matches(['.', ':']));
    let paths = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
    paths.filter(|path| !path.contains(['<', '{', '*', '…'])).collect()
}

/// The targets of the links of a page that stay in the repository.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors that GitHub makes of the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let titles = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    titles.map(|title| title.replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', "")).collect()
}

#[test]
fn every_file_that_a_page_names_exists() {
    let missing: Vec<_> = pages()
        .iter()
        .flat_map(|page| {
            let page_text = text(page);
            let missing = paths(&page_text).into_iter().filter(|named| !path(named).exists());
            missing.map(|named| format!("{page} names {named}, which does not exist")).collect::<Vec<_>>()
        })
        .collect();
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in pages() {
        let page_text = text(&page);
        let folder = Path::new(&page).parent().expect("a folder");
        for link in links(&page_text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path(&page) } else { path("").join(folder).join(file) };
            let has_anchor = || anchors(&fs::read_to_string(&target).unwrap_or_default()).iter().any(|it| it == anchor);
            if !target.exists() || !(anchor.is_empty() || has_anchor()) {
                broken.push(format!("{page} links to {link}, which does not exist"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn paths_links_and_headings_are_recognised() {
    let page = "# A page: one\nSee `src/lib.rs`, [the rules](docs/x.md#a-page-one) and src/routes/<noun>.rs.\n";
    assert_eq!(paths(page), ["src/lib.rs", "docs/x.md"]);
    assert_eq!(links(page), ["docs/x.md#a-page-one"]);
    assert_eq!(anchors(page), ["a-page-one"]);
}
