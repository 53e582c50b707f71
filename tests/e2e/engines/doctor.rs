//! `mediaforge doctor engine`, as an operator reads it.

use std::process::Output;

use super::vertex::{FLASH, Vertex};
use crate::train_cli::{json, run, stdout};

async fn doctor(vertex: &Vertex, more: &[(&str, &str)], flags: &[&str]) -> Output {
    let own = vertex.variables();
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let environment: Vec<_> = own.chain(more.iter().copied()).collect();
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &environment, &[&["doctor", "engine"], flags].concat(), &[]).await
}

/// The text after that label.
#[track_caller]
fn line(screen: &str, label: &str) -> String {
    assert!(screen.lines().count() <= 16, "{screen}");
    let line = screen.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {label} in {screen}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_works_is_shown_on_one_screen() {
    let vertex = Vertex::start().await;
    let output = doctor(&vertex, &[], &[]).await;
    let screen = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{screen}");
    for (label, says) in [
        ("engine", format!("gemini/{FLASH}")),
        ("project", "acme-pictures".to_owned()),
        ("location", "global".to_owned()),
        ("credentials", "authorized user, ".to_owned()),
        ("model", "exists".to_owned()),
        ("picture", "1248x832 JPEG, ".to_owned()),
        ("latency", " s".to_owned()),
        ("price", "$0.045000".to_owned()),
        ("result", "it works".to_owned()),
    ] {
        assert!(line(&screen, label).contains(&says), "{label}: {screen}");
    }
    assert!(!screen.contains("hush") && !screen.contains("ya29"), "{screen}");
    assert!(line(&screen, "credentials").contains("adc.json (GOOGLE_APPLICATION_CREDENTIALS)"), "{screen}");
    assert_eq!(vertex.drawings().await.len(), 1);

    let found = json(&doctor(&vertex, &[], &["--json", "--engine", "best"]).await);
    assert_eq!((&found["ok"], &found["engine"]), (&true.into(), &"gemini/gemini-3-pro-image".into()));
    let picture = &found["picture"];
    assert_eq!(
        (&picture["width"], &picture["height"], &picture["format"]),
        (&1248.into(), &832.into(), &"image/jpeg".into())
    );
    assert_eq!((&picture["costMicroUsd"], &found["place"]["project"]), (&134_000.into(), &"acme-pictures".into()));
    assert!(picture["latencyMs"].is_u64() && found["model"]["ok"] == true, "{found}");

    let output = doctor(&vertex, &[], &["--no-picture"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(line(&stdout(&output), "picture").contains("--no-picture"));
    assert_eq!(vertex.drawings().await.len(), 2, "no third one");
}

/// Variables and flags; the texts after `error` and `advice`, and the exit code.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str, &'a str, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_work_is_explained() {
    let vertex = Vertex::start().await;
    vertex.refuse("gemini-gone", 404, "NOT_FOUND", "Publisher Model gemini-gone was not found");
    vertex.refuse(FLASH, 429, "RESOURCE_EXHAUSTED", "Quota exceeded for online_prediction_requests_per_base_model");
    let gone = ["--engine", "gemini/gemini-gone"];
    let no_file = [("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/adc.json")];
    let cases: [Case; 4] = [
        (&[], &gone, "Publisher Model gemini-gone was not found", "fix the configuration", "engine_misconfigured"),
        (
            &[],
            &[gone[0], gone[1], "--no-picture"],
            "engine.gemini.model",
            "fix the configuration",
            "engine_misconfigured",
        ),
        (&[], &[], "Quota exceeded for online_prediction", "ask the provider for more quota", "rate_limited"),
        (&no_file, &[], "no usable credentials for Google Cloud", "fix the configuration", "engine_misconfigured"),
    ];
    for (more, flags, error, advice, code) in cases {
        let output = doctor(&vertex, more, flags).await;
        let screen = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{screen}");
        assert!(line(&screen, "error").contains(error), "{error} in {screen}");
        assert!(line(&screen, "advice").contains(advice), "{advice} in {screen}");
        assert_eq!(line(&screen, "result"), "it does not work");
        assert_eq!(screen.matches(error).count(), 1, "said once: {screen}");
        let found = json(&doctor(&vertex, more, &[flags, &["--json"]].concat()).await);
        let part = if flags.contains(&"--no-picture") { "model" } else { "picture" };
        assert_eq!((&found["ok"], &found[part]["code"]), (&false.into(), &code.into()), "{found}");
        assert!(found[part]["advice"].as_str().is_some_and(|text| text.contains(advice)), "{found}");
    }
    let screen = stdout(&doctor(&vertex, &no_file, &[]).await);
    assert!(
        line(&screen, "credentials")
            .starts_with("none: /nowhere/adc.json (GOOGLE_APPLICATION_CREDENTIALS) does not exist"),
        "{screen}"
    );
}
