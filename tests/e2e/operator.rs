//! Credits and teams from the command line, beside a running system.

use std::process::Output;

use serde_json::Value;

use crate::{
    output::all_output as text,
    support::{System, Topology, books, command},
};

async fn run(data_dir: &std::path::Path, arguments: &[&str]) -> Output {
    crate::output::run(command(data_dir).args(arguments)).await
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    crate::output::json(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_are_granted_and_shown_beside_a_running_system() {
    let system = System::start(Topology::OneProcess, &[("MEDIAFORGE_CREDITS__STARTING_GRANT", "10")]).await;
    let data = system.data_dir();

    let output = run(&data, &["credits", "show", "ada"]).await;
    let shown = text(&output);
    assert!(output.status.success() && shown.contains("starting grant"), "{shown}");
    assert!(shown.starts_with("ACCOUNT    AVAILABLE  HELD  SPENT  GRANTED\nusers/ada          0"), "{shown}");

    let granted = json(&run(&data, &["credits", "grant", "ada", "5", "--json"]).await);
    assert_eq!((&granted["account"], &granted["granted"]), (&"users/ada".into(), &5.into()));
    for (first, available) in [(true, 12), (false, 12)] {
        let output = run(&data, &["credits", "grant", "users/ada", "7", "--once", "invoice-7", "--json"]).await;
        let granted = json(&output);
        assert_eq!(granted["balance"]["available"], available);
        assert_eq!(granted["granted"], if first { 7 } else { 0 });
        assert_eq!(text(&output).contains("nothing changed"), !first, "{}", text(&output));
    }
    assert_eq!(system.credits("ada").await, (12, 0, 0, 12), "the running system sees it");

    // The first job adds the starting grant.
    let id = system.submit("ada", "a fox").await;
    system.finished("ada", &id).await;
    assert_eq!(system.credits("ada").await, (21, 0, 1, 22));
    let shown = json(&run(&data, &["credits", "show", "ada", "--json", "--entries", "3"]).await);
    assert_eq!((&shown["available"], &shown["spent"], &shown["granted"]), (&21.into(), &1.into(), &22.into()));
    let verbs: Vec<_> = shown["entries"].as_array().expect("entries").iter().map(|entry| &entry["verb"]).collect();
    assert_eq!(verbs, ["grant", "hold", "capture"]);
    let shown = text(&run(&data, &["credits", "show", "ada"]).await);
    assert!(shown.contains("invoice-7") && shown.contains(&id) && !shown.contains('\u{1b}'), "{shown}");

    for wrong in
        [&["credits", "grant", "ada", "0"][..], &["credits", "show", "x/y"], &["credits", "grant", "ada", "-5"]]
    {
        assert_eq!(run(&data, wrong).await.status.code(), Some(2), "{wrong:?}");
    }
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_join_and_leave_teams() {
    let system = System::start(Topology::OneProcess, &[]).await;
    let data = system.data_dir();
    let output = run(&data, &["team", "add", "acme", "ada", "bob", "--json"]).await;
    assert_eq!(json(&output)["teams"], serde_json::json!({ "ada": "acme", "bob": "acme" }));
    json(&run(&data, &["credits", "grant", "teams/acme", "500", "--json"]).await);
    let shown = text(&run(&data, &["credits", "show", "ada"]).await);
    assert!(shown.contains("teams/acme pays for") && shown.contains("500"), "{shown}");

    let output = run(&data, &["team", "remove", "acme", "bob", "zoe"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("zoe is not a member of acme"), "{}", text(&output));
    let shown = text(&run(&data, &["team", "show", "bob", "zoe"]).await);
    assert!(shown.contains("bob is in acme") && shown.contains("zoe is not in a team"), "{shown}");
    let output = run(&data, &["team", "remove", "acme", "bob", "--json"]).await;
    assert_eq!(json(&output)["teams"]["bob"], Value::Null);
    let output = run(&data, &["team", "add", "zoo", "ada"]).await;
    assert!(text(&output).contains("ada was in acme before"), "{}", text(&output));
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_commands_create_no_data_directory_and_granting_does() {
    let parent = tempfile::tempdir().expect("a directory");
    let data = parent.path().join("data");
    for arguments in [&["credits", "show"][..], &["team", "show", "ada"], &["team", "remove", "acme", "ada"]] {
        let output = run(&data, arguments).await;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(data.to_str().expect("text")), "{}", text(&output));
        assert!(!data.exists());
    }
    assert!(run(&data, &["credits", "grant", "ada", "3", "--reason", "spring offer"]).await.status.success());
    let shown = text(&run(&data, &["credits", "show", "ada"]).await);
    assert!(shown.contains("+3  spring offer ("), "{shown}");
    books::check(&data);
}
