//! Reads which modules a source file names, by `use` or by a path, and finds circles among the files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::tokens::{Token, tokens};

/// The source files of the crate with what each names.
pub struct Imports {
    modules: BTreeMap<Path, Module>,
}

/// A module path from the crate's root, for example `["domain", "job"]`.
type Path = Vec<String>;

/// Which children of a folder each of them imports.
type Edges = BTreeMap<String, BTreeSet<String>>;

struct Module {
    file: String,
    /// Absolute paths inside the crate, whether or not they name a module.
    named: BTreeSet<Path>,
    /// Names that a `use` at the top of the file brings in, and where each comes from.
    bound: BTreeMap<String, Path>,
}

impl Imports {
    /// Reads files, given as (path from the package's root, text).
    pub fn read(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let modules = files.into_iter().map(|(file, text)| {
            let path = module_path(&file);
            let mut reader = Reader::new(&path, &text);
            reader.run();
            (path, Module { file, named: reader.named, bound: reader.bound })
        });
        Self { modules: modules.collect() }
    }

    /// The absolute paths that each file names, as (file, path).
    pub fn named(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.modules.values().flat_map(|it| it.named.iter().map(|path| (it.file.as_str(), path.as_slice())))
    }

    /// The folders: the modules that have modules below them, as paths from the package's root.
    pub fn folders(&self) -> BTreeSet<String> {
        let parents = self.modules.keys().filter_map(|path| path.split_last());
        parents.map(|(_, parent)| folder(parent)).collect()
    }

    /// The circles among the children of a folder, where a subfolder counts as one. Each is written as the shortest way
    /// from a child back to itself.
    ///
    /// With `parent` the folder's own module (`mod.rs`) is one of them. A port and its backends form a circle with it by
    /// design: the port's `open` names the backends, and they name the port.
    pub fn circles(&self, of: &str, parent: bool) -> Vec<Vec<String>> {
        let child = |path: &Path| {
            let below = path.strip_prefix(module_path(of).as_slice())?;
            below.first().cloned().or_else(|| parent.then(|| "mod".to_owned()))
        };
        let mut edges: Edges = BTreeMap::new();
        for (from, module) in &self.modules {
            for to in module.named.iter().filter_map(|path| self.defining_module(path, 0)) {
                if let (Some(from), Some(to)) = (child(from), child(to))
                    && from != to
                {
                    edges.entry(from).or_default().insert(to);
                }
            }
        }
        let circles = edges.keys().filter_map(|child| way_back(&edges, child));
        // A circle is found from each of its members: the one that begins with the first is kept.
        circles.filter(|circle| circle.iter().min() == circle.first()).collect()
    }

    /// The module that defines what a path names. A re-exported name is followed to its origin.
    fn defining_module(&self, path: &[String], followed: usize) -> Option<&Path> {
        let ((known, module), rest) =
            (0..=path.len()).rev().find_map(|len| Some((self.modules.get_key_value(&path[..len])?, &path[len..])))?;
        // A name that a file itself imports is followed, but not for ever: `use super::*` may lead in a circle.
        if let Some((name, rest)) = rest.split_first()
            && let Some(origin) = module.bound.get(name)
            && followed < 10
        {
            let origin: Path = origin.iter().chain(rest).cloned().collect();
            return self.defining_module(&origin, followed + 1);
        }
        Some(known)
    }
}

fn way_back(edges: &Edges, from: &str) -> Option<Vec<String>> {
    let mut open = VecDeque::from([vec![from.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = open.pop_front() {
        for next in edges.get(way.last()?).into_iter().flatten() {
            let longer: Vec<String> = way.iter().chain([next]).cloned().collect();
            if next == from {
                return Some(longer);
            }
            if seen.insert(next) {
                open.push_back(longer);
            }
        }
    }
    None
}

/// A module path as a folder: `["domain", "job"]` is `src/domain/job`.
fn folder(path: &[String]) -> String {
    ["src"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("/")
}

/// `src/domain/job/mod.rs` is `domain::job`, `src/domain/ids.rs` is `domain::ids`, `src/lib.rs` is the root.
fn module_path(file: &str) -> Path {
    let below = file.trim_start_matches("src").trim_end_matches(".rs");
    let mut path: Path = below.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if path.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib")) {
        path.pop();
    }
    path
}

struct Reader {
    module: Path,
    tokens: Vec<Token>,
    children: BTreeSet<String>,
    named: BTreeSet<Path>,
    bound: BTreeMap<String, Path>,
}

impl Reader {
    fn new(module: &[String], text: &str) -> Self {
        let tokens = tokens(text);
        let declared = tokens.windows(3).filter_map(|three| match three {
            [Token::Word(keyword), Token::Word(name), Token::Sign(';')] if keyword == "mod" => Some(name.clone()),
            _ => None,
        });
        let children = declared.collect();
        Self { module: module.to_vec(), tokens, children, named: BTreeSet::new(), bound: BTreeMap::new() }
    }

    fn run(&mut self) {
        // Modules written inside the file, each with the number of braces around it.
        let (mut inline, mut depth): (Vec<(String, usize)>, usize) = (Vec::new(), 0);
        let mut at = 0;
        while at < self.tokens.len() {
            match &self.tokens[at..] {
                [Token::Word(keyword), Token::Word(name), Token::Sign('{'), ..] if keyword == "mod" => {
                    inline.push((name.clone(), depth));
                    depth += 1;
                    at += 3;
                }
                [Token::Sign('{'), ..] => {
                    depth += 1;
                    at += 1;
                }
                [Token::Sign('}'), ..] => {
                    depth = depth.saturating_sub(1);
                    if inline.last().is_some_and(|(_, outside)| *outside == depth) {
                        inline.pop();
                    }
                    at += 1;
                }
                [Token::Word(keyword), Token::Word(_), ..] if keyword == "use" => {
                    let base = inline.iter().map(|(name, _)| name.clone()).collect::<Path>();
                    at = self.tree(at + 1, &[], &base, depth == 0);
                }
                [Token::Word(_), Token::Separator, ..] => {
                    let base = inline.iter().map(|(name, _)| name.clone()).collect::<Path>();
                    at = self.path(at, &base);
                }
                _ => at += 1,
            }
        }
    }

    /// Reads a path in code, for example `super::ids::hex(…)`.
    fn path(&mut self, mut at: usize, inline: &[String]) -> usize {
        let mut path = Path::new();
        while let Some(Token::Word(word)) = self.tokens.get(at) {
            path.push(word.clone());
            at += 1;
            match &self.tokens[at..] {
                [Token::Separator, Token::Word(_), ..] => at += 1,
                _ => break,
            }
        }
        self.note(&path, inline);
        at
    }

    /// Reads one branch of a `use`: `a::b`, `a::b as c`, `a::*`, `a::{…}`. Returns the position after it.
    fn tree(&mut self, mut at: usize, prefix: &[String], inline: &[String], is_top: bool) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match self.tokens.get(at) {
                Some(Token::Word(word)) if word == "as" => {
                    if let Some(Token::Word(alias)) = self.tokens.get(at + 1) {
                        self.bind(&path, alias.clone(), inline, is_top);
                    }
                    return at + 2;
                }
                Some(Token::Word(word)) => {
                    path.push(word.clone());
                    at += 1;
                }
                Some(Token::Separator) => at += 1,
                Some(Token::Sign('*')) => {
                    self.note(&path, inline);
                    return at + 1;
                }
                Some(Token::Sign('{')) => {
                    at += 1;
                    while !matches!(self.tokens.get(at), None | Some(Token::Sign('}'))) {
                        let after = self.tree(at, &path, inline, is_top);
                        // A comma, or a token that a `use` cannot have: skip it.
                        at = if after == at || self.tokens.get(after) == Some(&Token::Sign(',')) {
                            after + 1
                        } else {
                            after
                        };
                    }
                    return at + 1;
                }
                _ => {
                    if path.len() > prefix.len() {
                        let path = if path.len() > 1 { strip_self(&path) } else { &path };
                        let name = path.last().cloned().unwrap_or_default();
                        self.bind(path, name, inline, is_top);
                    }
                    return at;
                }
            }
        }
    }

    fn bind(&mut self, path: &[String], name: String, inline: &[String], is_top: bool) {
        if let Some(path) = self.note(path, inline)
            && is_top
        {
            self.bound.insert(name, path);
        }
    }

    /// Records a path when it is one inside the crate.
    fn note(&mut self, path: &[String], inline: &[String]) -> Option<Path> {
        let mut base: Path = self.module.iter().chain(inline).cloned().collect();
        let (first, mut rest) = path.split_first()?;
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                base.pop();
                while let Some((next, after)) = rest.split_first()
                    && next == "super"
                {
                    base.pop();
                    rest = after;
                }
            }
            child if inline.is_empty() && self.children.contains(child) => base.push(child.to_owned()),
            _ => return None,
        }
        base.extend(rest.iter().cloned());
        self.named.insert(base.clone());
        Some(base)
    }
}

fn strip_self(path: &[String]) -> &[String] {
    match path {
        [before @ .., last] if last == "self" => before,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> Imports {
        Imports::read(files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())))
    }

    fn named(file: &str, text: &str) -> Vec<String> {
        imports(&[(file, text)]).named().map(|(_, path)| path.join("::")).collect()
    }

    fn circles(files: &[(&str, &str)], of: &str, parent: bool) -> Vec<String> {
        imports(files).circles(of, parent).iter().map(|circle| circle.join(" -> ")).collect()
    }

    #[test]
    fn uses_are_read_through_nested_groups() {
        let text = "use crate::{\n    domain::{Timestamp, job::{self, Job as J}},\n    store::*,\n};\nuse std::fmt;";
        assert_eq!(named("src/a.rs", text), ["domain::Timestamp", "domain::job", "domain::job::Job", "store"]);
    }

    #[test]
    fn paths_in_code_are_read() {
        let text =
            "fn f(x: &dyn crate::error::E) { $crate::point!(\"x\"); super::ids::hex::<u8>(x); std::fs::read(x) }";
        assert_eq!(named("src/a/b/c.rs", text), ["a::b::ids::hex", "error::E", "point"]);
    }

    #[test]
    fn relative_paths_start_at_the_right_module() {
        assert_eq!(named("src/a/mod.rs", "use super::x; use self::y;"), ["a::y", "x"]);
        assert_eq!(named("src/a/b.rs", "use super::super::x::Y;"), ["x::Y"]);
        assert_eq!(
            named("src/a/b.rs", "mod tests { use super::*; use super::super::z; } use super::w;"),
            ["a::b", "a::w", "a::z"]
        );
        assert_eq!(
            named("src/a/mod.rs", "mod child; pub use child::Thing; fn f() { child::g(); other::h() }"),
            ["a::child::Thing", "a::child::g"]
        );
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = r##"// use crate::a;
            /* use crate::b; /* nested */ use crate::c; */
            const X: &str = "crate::d"; const Y: &str = r#"a " crate::e"#; const Z: char = '"';
            fn f<'a>(x: &'a str) { let quote = '\''; crate::real::f(x) } // '"##;
        assert_eq!(named("src/x.rs", text), ["real::f"]);
    }

    #[test]
    fn a_circle_of_siblings_is_found() {
        let files = [
            ("src/r/mod.rs", "mod a; mod b; mod c;"),
            ("src/r/a.rs", "use super::b::B;"),
            ("src/r/b.rs", "use crate::r::{c::{C, D}};"),
            ("src/r/c.rs", "fn f() { super::a::g() }"),
            ("src/r/d.rs", "use super::a::A;"),
        ];
        assert_eq!(circles(&files, "src/r", false), ["a -> b -> c -> a"]);
        assert_eq!(circles(&files[..3], "src/r", false), [""; 0], "without the last step it is a chain");
    }

    #[test]
    fn a_subfolder_counts_as_one() {
        let files = [
            ("src/r/mod.rs", ""),
            ("src/r/a/mod.rs", "mod deep;"),
            ("src/r/a/deep.rs", "use crate::r::b::B;"),
            ("src/r/b.rs", "use super::a::A;"),
        ];
        assert_eq!(circles(&files, "src/r", false), ["a -> b -> a"]);
        assert_eq!(circles(&files, "src/r/a", false), [""; 0], "inside it there is none");
    }

    #[test]
    fn a_re_exported_name_belongs_to_the_file_that_defines_it() {
        let facade = "mod a; mod b; pub use a::A; pub struct Own;";
        let files = [("src/r/mod.rs", facade), ("src/r/a.rs", "pub struct A;"), ("src/r/b.rs", "use super::A;")];
        assert_eq!(circles(&files, "src/r", true), [""; 0], "the facade's name leads to its origin");
        let looped = [files[0], ("src/r/a.rs", "use super::b::B; pub struct A;"), files[2]];
        assert_eq!(circles(&looped, "src/r", false), ["a -> b -> a"]);
        let upward = [("src/r/mod.rs", "mod b; pub use b::B; pub struct Own;"), ("src/r/b.rs", "use super::Own;")];
        assert_eq!(circles(&upward, "src/r", true), ["b -> mod -> b"]);
        assert_eq!(circles(&upward, "src/r", false), [""; 0], "the parent counts only on request");
    }
}
