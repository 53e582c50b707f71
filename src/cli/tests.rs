use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn global_flags_work_before_and_after_the_command() {
    for line in ["mediaforge --data-dir /d serve gateway", "mediaforge serve gateway --data-dir /d"] {
        assert_eq!(parse(line).unwrap().global.data_dir, Some("/d".into()), "{line}");
    }
}

#[test]
fn every_documented_form_parses() {
    for line in [
        "mediaforge serve",
        "mediaforge serve worker --worker-listen 127.0.0.1:0 --ready-file ready.json",
        "mediaforge generate lighthouse --style watercolor --size 1536x1024 --count 2 -o out/",
        "mediaforge generate fox --seed 7 --json --timeout 5m --no-wait --user ada --idempotency-key k1",
        "mediaforge train Acme a.png b.png --color #ff6600 --color #003366 --dry-run --json",
        "mediaforge train Acme a.png -o out --detach --user ada --timeout 40m --url http://127.0.0.1:1",
        "mediaforge credits show",
        "mediaforge credits show teams/acme --entries 3 --json",
        "mediaforge credits grant ada 100 --reason offer",
        "mediaforge credits grant users/ada 100 --once key --json",
        "mediaforge team add acme ada bob",
        "mediaforge team remove acme ada --json",
        "mediaforge team show ada",
        "mediaforge config worker --profile test",
        "mediaforge config --defaults",
        "mediaforge bench",
        "mediaforge bench --connections 1,8 --duration 300ms --rate 20 --jobs 50 --watchers 5 --seed-jobs 100 --json",
        "mediaforge bench --only submit,gentle --dir /var/lib",
        "mediaforge bench --url http://127.0.0.1:8080",
        "mediaforge completions zsh",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for line in [
        "mediaforge serve both",
        "mediaforge serve --gateway-listen localhost",
        "mediaforge generate",
        "mediaforge generate fox --size big",
        "mediaforge generate fox --timeout soon",
        "mediaforge generate fox --url nowhere",
        "mediaforge train Acme",
        "mediaforge train Acme a.png --color orange",
        "mediaforge credits",
        "mediaforge credits grant ada",
        "mediaforge credits grant ada 1 --once a --reason b",
        "mediaforge credits grant ada 1 --once welcome",
        "mediaforge team add acme",
        "mediaforge team add ../x ada",
        "mediaforge bench --connections 0",
        "mediaforge bench --only everything",
        "mediaforge bench --url http://127.0.0.1:8080 --seed-jobs 5",
        "mediaforge config --json --defaults",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn every_error_has_an_exit_code() {
    let failure = anyhow::Error::from(Failure::new(Exit::NoCredits, "none left")).context("cannot draw");
    assert_eq!(exit_of(&failure), Exit::NoCredits);
    assert_eq!(exit_of(&ConfigError { problems: Vec::new() }.into()), Exit::Usage);
    assert_eq!(exit_of(&anyhow::anyhow!("anything")), Exit::Failed);
}

#[test]
fn a_completion_script_contains_the_commands() {
    let mut script = Vec::new();
    clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), "mediaforge", &mut script);
    let script = String::from_utf8(script).unwrap();
    assert!(script.contains("generate") && script.contains("--idempotency-key"));
}
