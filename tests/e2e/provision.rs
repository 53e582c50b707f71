//! `mediaforge provision` on an emulator of Pub/Sub.

use std::process::Output;

use gcloud_emulator::{Emulator, Fault};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    client::SubscriptionAdmin,
    model::{PushConfig, Subscription},
};
use google_cloud_wkt::{Duration, FieldMask};
use serde_json::{Value, json};
use tonic::Code;

use crate::{output::all_output as text, support::command};

const PROJECT: &str = "forge-test";
const SETTINGS: [(&str, &str); 4] = [
    ("MEDIAFORGE_GCP__PROJECT", PROJECT),
    ("MEDIAFORGE_QUEUE__PUBSUB__PUSH_URL", "https://worker.example.app/"),
    ("MEDIAFORGE_QUEUE__PUBSUB__PUSH_SERVICE_ACCOUNT", "push@forge-test.iam.gserviceaccount.com"),
    ("MEDIAFORGE_WORKER__OIDC__AUDIENCE", "mediaforge-worker"),
];
const NAMES: [&str; 6] = [
    "image-generation-jobs",
    "brand-training-jobs",
    "job-dlq",
    "image-generation-workers",
    "brand-training-workers",
    "job-dlq-sub",
];

async fn provision(emulator: &Emulator, arguments: &[&str]) -> Output {
    run(&SETTINGS, emulator, arguments).await
}

async fn run(settings: &[(&str, &str)], emulator: &Emulator, arguments: &[&str]) -> Output {
    let mut command = command(std::env::temp_dir().join("mediaforge-has-no-data-here"));
    command.env("MEDIAFORGE_PROFILE", "gcp").env("PUBSUB_EMULATOR_HOST", emulator.address().to_string());
    command.envs(settings.iter().copied()).arg("provision").args(arguments);
    crate::output::run(&mut command).await
}

/// The exit code, and the action of each topic and subscription and whether it was done.
fn report(output: &Output) -> (Option<i32>, Vec<(String, String, bool)>) {
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {}", text(output)));
    let lines = report["resources"].as_array().expect("resources").iter().map(|line| {
        let text = |key: &str| line[key].as_str().expect(key).to_owned();
        (text("name"), text("action"), line["done"].as_bool().expect("done"))
    });
    (output.status.code(), lines.collect())
}

fn all(action: &str, done: bool) -> Vec<(String, String, bool)> {
    NAMES.map(|name| (name.to_owned(), action.to_owned(), done)).to_vec()
}

async fn admin(emulator: &Emulator) -> SubscriptionAdmin {
    let admin = SubscriptionAdmin::builder().with_endpoint(emulator.url());
    admin.with_credentials(anonymous::Builder::new().build()).build().await.expect("a client")
}

fn name(subscription: &str) -> String {
    format!("projects/{PROJECT}/subscriptions/{subscription}")
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_resources_are_created_once() {
    let emulator = Emulator::start().await.expect("an emulator");
    let output = provision(&emulator, &["--dry-run", "--json"]).await;
    assert_eq!(report(&output), (Some(8), all("create", false)));
    assert_eq!(emulator.pubsub().subscription(&name("job-dlq-sub")).map(|_| ()), None, "a dry run changes nothing");

    // Loses the answers to two creations: the next try finds the resource that the first has created.
    for lost in ["topics/job-dlq", "subscriptions/image-generation-workers"] {
        emulator.faults().inject_after(lost, 1, Fault::LoseReply(Code::Unavailable), 1);
    }
    let output = provision(&emulator, &["--json"]).await;
    assert_eq!(report(&output), (Some(0), all("create", true)), "{}", text(&output));
    assert_eq!(emulator.faults().pending(), 0);
    for arguments in [&["--json"][..], &["--json", "--dry-run"]] {
        assert_eq!(report(&provision(&emulator, arguments).await), (Some(0), all("nothing", false)));
    }

    let admin = admin(&emulator).await;
    let get = |subscription: &str| admin.get_subscription().set_subscription(name(subscription)).send();
    let workers = get("image-generation-workers").await.expect("there");
    let push = workers.push_config.as_ref().expect("pushed");
    assert_eq!(push.push_endpoint, "https://worker.example.app/process-generation");
    assert_eq!(push.attributes["x-goog-version"], "v1");
    let token = push.oidc_token().expect("a token");
    let account = (token.service_account_email.as_str(), token.audience.as_str());
    assert_eq!(account, ("push@forge-test.iam.gserviceaccount.com", "mediaforge-worker"));
    let letters = workers.dead_letter_policy.as_ref().expect("dead letters");
    let attempts = letters.max_delivery_attempts;
    assert_eq!((letters.dead_letter_topic.as_str(), attempts), ("projects/forge-test/topics/job-dlq", 5));
    let retries = workers.retry_policy.as_ref().expect("retries");
    let (least, most) = (retries.minimum_backoff, retries.maximum_backoff);
    assert_eq!((least, most), (Some(Duration::clamp(10, 0)), Some(Duration::clamp(600, 0))));
    assert_eq!(workers.ack_deadline_seconds, 600);
    assert_eq!(workers.message_retention_duration, Some(Duration::clamp(3_600, 0)));
    assert_eq!(workers.expiration_policy.as_ref().map(|policy| policy.ttl), Some(None), "never");
    let brands = get("brand-training-workers").await.expect("there");
    let endpoint = brands.push_config.map(|push| push.push_endpoint);
    assert_eq!(endpoint.as_deref(), Some("https://worker.example.app/process-training"));
    let operators = get("job-dlq-sub").await.expect("there");
    assert_eq!(operators.message_retention_duration, Some(Duration::clamp(31 * 86_400, 0)));
    assert_eq!(operators.expiration_policy.map(|policy| policy.ttl), Some(None), "never");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_shown_for_each_field_and_repaired() {
    let emulator = Emulator::start().await.expect("an emulator");
    assert!(provision(&emulator, &[]).await.status.success());
    let admin = admin(&emulator).await;
    let mut workers = Subscription::new().set_name(name("image-generation-workers")).set_ack_deadline_seconds(10);
    workers.message_retention_duration = Some(Duration::clamp(7_200, 0));
    let update = admin.update_subscription().set_subscription(workers);
    let mask = FieldMask::default().set_paths(["ack_deadline_seconds", "message_retention_duration", "retry_policy"]);
    update.set_update_mask(mask).send().await.expect("changed by hand");
    let paused = admin.modify_push_config().set_subscription(name("brand-training-workers"));
    paused.set_push_config(PushConfig::new()).send().await.expect("paused by hand");

    let shown = text(&provision(&emulator, &["--dry-run"]).await);
    for line in [
        "ackDeadlineSeconds                        10 -> 600",
        "messageRetentionDuration                  7200s -> 3600s",
        "retryPolicy.minimumBackoff                none -> 10s",
        "pushConfig.pushEndpoint                   none -> https://worker.example.app/process-training",
        "would be updated",
        "2 to do; nothing was changed",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no colours in a pipe: {shown}");
    let output = provision(&emulator, &["--json"]).await;
    let (code, lines) = report(&output);
    let updated: Vec<_> = lines.iter().filter(|(_, action, done)| action == "update" && *done).collect();
    assert_eq!((code, updated.len()), (Some(0), 2), "{}", text(&output));
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let drift = &shown["resources"][3]["drift"][0];
    assert_eq!(*drift, json!({ "field": "ackDeadlineSeconds", "have": "10", "want": "600", "repairable": true }));
    assert_eq!(report(&provision(&emulator, &["--json"]).await), (Some(0), all("nothing", false)));
    let shown = text(&provision(&emulator, &[]).await);
    assert!(shown.contains("Nothing to do."), "{shown}");
    for command in [
        "PROJECT_NUMBER=$(gcloud projects describe forge-test",
        "topics add-iam-policy-binding job-dlq --project=forge-test",
        "subscriptions add-iam-policy-binding brand-training-workers --project=forge-test",
        "service-accounts add-iam-policy-binding push@forge-test.iam.gserviceaccount.com",
        "--role=roles/iam.serviceAccountTokenCreator",
    ] {
        assert!(shown.contains(command), "{command} is not in\n{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_cannot_be_changed_is_reported_with_the_next_step() {
    let emulator = Emulator::start().await.expect("an emulator");
    assert!(provision(&emulator, &[]).await.status.success());
    let admin = admin(&emulator).await;
    admin.delete_subscription().set_subscription(name("job-dlq-sub")).send().await.expect("deleted");
    let topic = format!("projects/{PROJECT}/topics/brand-training-jobs");
    let other = Subscription::new().set_name(name("job-dlq-sub")).set_topic(topic);
    admin.create_subscription().with_request(other).send().await.expect("made by hand");
    let output = provision(&emulator, &[]).await;
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    for part in [
        "projects/forge-test/topics/brand-training-jobs -> projects/forge-test/topics/job-dlq  (cannot be changed)",
        "job-dlq-sub cannot be repaired: a setting that differs cannot be changed",
        "gcloud pubsub subscriptions delete job-dlq-sub --project=forge-test",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    // Everything else was repaired; only the topic is left.
    let (code, lines) = report(&provision(&emulator, &["--dry-run", "--json"]).await);
    assert_eq!((code, lines[5].1.as_str()), (Some(8), "blocked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_permission_names_the_role_and_a_second_run_continues() {
    let emulator = Emulator::start().await.expect("an emulator");
    emulator.faults().inject_after("topics/job-dlq", 1, Fault::Refuse(Code::PermissionDenied), 1);
    let output = provision(&emulator, &["--json"]).await;
    let (code, lines) = report(&output);
    assert_eq!(code, Some(7), "{}", text(&output));
    let done: Vec<_> = lines.iter().map(|(_, _, done)| *done).collect();
    assert_eq!(done, [true, true, false, false, false, false], "the report shows what was done");
    let shown = text(&output);
    assert!(shown.contains("cannot create topic projects/forge-test/topics/job-dlq: permission denied"), "{shown}");
    assert!(shown.contains("roles/pubsub.editor") && shown.contains("roles/iam.serviceAccountUser"), "{shown}");
    let (code, lines) = report(&provision(&emulator, &["--json"]).await);
    assert_eq!((code, lines.iter().filter(|(_, _, done)| *done).count()), (Some(0), 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_setting_is_named() {
    let emulator = Emulator::start().await.expect("an emulator");
    let output = run(&SETTINGS[..1], &emulator, &[]).await;
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    for (variable, _) in &SETTINGS[1..] {
        assert!(shown.contains(variable), "{variable} is not in\n{shown}");
    }
    assert!(!shown.contains("MEDIAFORGE_GCP__PROJECT"), "{shown}");
    let output = run(&[("MEDIAFORGE_PROFILE", "test")], &emulator, &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("--profile gcp"), "{}", text(&output));
}
