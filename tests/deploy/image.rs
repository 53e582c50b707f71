//! `Dockerfile` and `.dockerignore`.

use std::{fs, path::Path, process::Command};

use clap::Parser as _;
use mediaforge::{
    cli::Cli,
    config::{Environment, Sources, load},
};

use crate::{path, pipeline::Pipeline, text};

/// The instructions, as (name, rest of the line).
fn instructions() -> Vec<(String, String)> {
    let dockerfile = text("Dockerfile").replace("\\\n", " ");
    let lines = dockerfile.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line}")))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

/// The instructions of a stage.
fn stage(name: &str) -> Vec<(String, String)> {
    let all = instructions();
    let is_start =
        |(instruction, rest): &(String, String)| instruction == "FROM" && rest.ends_with(&format!(" AS {name}"));
    let at = all.iter().position(is_start).unwrap_or_else(|| panic!("no stage {name}"));
    all[at + 1..].iter().take_while(|(instruction, _)| instruction != "FROM").cloned().collect()
}

fn only(instruction: &str, stage: &[(String, String)]) -> String {
    let found: Vec<_> = stage.iter().filter(|(name, _)| name == instruction).map(|(_, rest)| rest).collect();
    let [one] = found.as_slice() else { panic!("{instruction}: {found:?}") };
    (*one).clone()
}

/// The files that a stage copies from the sources, as (from, to).
fn copies(name: &str) -> Vec<(String, String)> {
    let copies =
        stage(name).into_iter().filter(|(instruction, rest)| instruction == "COPY" && !rest.contains("--from="));
    copies
        .flat_map(|(_, rest)| {
            let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            let (to, from) = words.split_last().expect("a destination");
            from.iter().map(|from| (from.clone(), to.clone())).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether `.dockerignore` includes a path: the last matching line decides.
fn is_sent(file: &str) -> bool {
    let ignore = text(".dockerignore");
    let lines = ignore.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.fold(true, |sent, line| {
        let (included, pattern) = line.strip_prefix('!').map_or((false, line), |pattern| (true, pattern));
        let matches =
            pattern == "*" || file == pattern || file.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('/'));
        if matches { included } else { sent }
    })
}

fn exec_form(line: &str) -> Vec<String> {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("not in exec form, so a shell would run it: {line}"))
}

#[test]
fn copied_files_exist_and_are_sent() {
    for stage in ["dependencies", "build"] {
        for (from, _) in copies(stage) {
            assert!(path(&from).exists(), "{from}");
            assert!(is_sent(&from), ".dockerignore excludes {from}");
        }
    }
    for out in ["target/release/mediaforge", ".git/config", "data/mediaforge.db", "tests/e2e/main.rs", ".env"] {
        assert!(!is_sent(out), ".dockerignore includes {out}");
    }
}

/// In the stage `dependencies`, Cargo must find every manifest, and the lock file must match them.
#[test]
fn cargo_accepts_the_sources_of_the_dependencies_stage() {
    let build = tempfile::tempdir().expect("a directory");
    for (from, to) in copies("dependencies") {
        let name = Path::new(&from).file_name().expect("a file");
        let to = build.path().join(to).join(name);
        fs::create_dir_all(to.parent().expect("a directory")).expect("made");
        fs::copy(path(&from), to).expect("copied");
    }
    let run = only("RUN", &stage("dependencies"));
    let (sources, cargo) = run.rsplit_once("&&").expect("two parts");
    let made = Command::new("sh").args(["-ceu", sources]).current_dir(build.path()).status().expect("a shell");
    assert!(made.success());
    assert_eq!(cargo.trim(), "cargo build --release --locked --bin mediaforge");
    // Resolves as the build does, without packages for tests or other systems.
    let cargo = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges=normal,build", "--prefix=none"])
        .current_dir(build.path())
        .output()
        .expect("cargo");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let tree = String::from_utf8(cargo.stdout).expect("text");
    assert!(tree.starts_with("mediaforge v") && tree.lines().count() > 200, "{tree}");
}

#[test]
fn files_included_by_the_sources_are_copied() {
    // `include_str!` in src/ names only files in config/ and src/.
    let copied: Vec<_> = copies("build").into_iter().map(|(from, _)| from).collect();
    assert_eq!(copied, ["config", "src"]);
    let manifest = text("Cargo.toml");
    assert!(!manifest.contains("\nbuild ="), "a build script must be copied too");
}

#[test]
fn the_image_runs_this_program_without_a_shell_or_root() {
    let runtime = stage("runtime");
    let entrypoint = exec_form(&only("ENTRYPOINT", &runtime));
    assert_eq!(entrypoint, ["/usr/local/bin/mediaforge"]);
    assert!(runtime.iter().any(|(name, rest)| name == "COPY" && rest.ends_with(&entrypoint[0])));
    let arguments = exec_form(&only("CMD", &runtime));
    Cli::try_parse_from(entrypoint.iter().chain(&arguments)).expect("valid arguments");
    assert_eq!(only("USER", &runtime), "nonroot:nonroot");
    let variables = only("ENV", &runtime);
    let environment = Environment::of([variables.split_once('=').expect("a variable")]);
    let loaded = load(&Sources { environment, ..Sources::default() }).expect("valid variables");
    assert_eq!(loaded.config.data_dir, Path::new("/data"));
}

#[test]
fn it_is_built_and_tested_with_the_rust_version_of_the_manifest() {
    let manifest: toml::Table = text("Cargo.toml").parse().expect("TOML");
    let version = manifest["package"]["rust-version"].as_str().expect("a version");
    let from = |stage: &str| {
        let all = instructions().into_iter();
        all.filter(|(name, _)| name == "FROM")
            .find_map(|(_, rest)| rest.strip_suffix(&format!(" AS {stage}")).map(str::to_owned))
    };
    let rust = from("base").expect("a base");
    assert!(rust.starts_with(&format!("rust:{version}.")), "{rust}");
    assert_eq!(Pipeline::running().step("test").name, rust);
    // Both stages must have the same C library.
    assert!(rust.ends_with("-bookworm") && from("runtime").expect("a runtime").contains("debian12"));
}
