//! Checks the arguments and variables of the two services against the command line and the configuration.

use std::{collections::BTreeMap, time::Duration};

use clap::Parser as _;
use mediaforge::{
    cli::Cli,
    config::{Config, Environment, PushAuth, Roles, Sources, load},
};

use crate::{
    pipeline::{Pipeline, Step},
    shell::{Command, flag},
    text,
};

/// The maximum ack deadline of Pub/Sub.
const ACK_DEADLINE: Duration = Duration::from_mins(10);

/// `KEY=VALUE` pairs of a list; the prefix `^|^` sets the separator.
fn pairs(list: &str) -> BTreeMap<String, String> {
    let (separator, list) = match list.strip_prefix('^') {
        Some(rest) => rest.split_once('^').expect("a separator"),
        None => (",", list),
    };
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("{pair}"));
        (key.to_owned(), value.to_owned())
    };
    list.split(separator).map(pair).collect()
}

/// The configuration of a service as started by Cloud Run.
fn configuration(deploy: &Command, roles: Roles) -> Config {
    let mut variables = pairs(flag(deploy, "--set-env-vars").expect("variables"));
    assert!(variables.keys().all(|name| name.starts_with("MEDIAFORGE_")), "{variables:?}");
    for (name, secret) in flag(deploy, "--set-secrets").map(pairs).unwrap_or_default() {
        let (_, version) = secret.split_once(':').unwrap_or_else(|| panic!("{secret}"));
        assert!(version.parse::<u32>().is_ok(), "{secret} could change under a running revision");
        variables.insert(name, "0123456789abcdef0123456789abcdef".to_owned());
    }
    variables.insert("PORT".to_owned(), "8080".to_owned());
    variables.insert("K_SERVICE".to_owned(), deploy[3].clone());
    variables.insert("MEDIAFORGE_DATA_DIR".to_owned(), "/data".to_owned());
    let environment = Environment::of(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let loaded = load(&Sources { environment, roles: Some(roles), ..Sources::default() });
    let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}", deploy[3]));
    assert_eq!(loaded.profile.name(), "gcp");
    loaded.config
}

fn check_arguments(arguments: &[&str]) {
    Cli::try_parse_from(std::iter::once("mediaforge").chain(arguments.iter().copied()))
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
}

fn number(deploy: &Command, name: &str) -> u64 {
    flag(deploy, name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn the_services_start_with_valid_arguments_and_variables() {
    let pipeline = Pipeline::running();
    for (step, name, role, roles) in
        [("gateway", "api-gateway", "gateway", Roles::GATEWAY), ("worker", "worker", "worker", Roles::WORKER)]
    {
        let deploy = pipeline.call(step);
        assert_eq!(deploy[1..4], ["run", "deploy", name]);
        let arguments: Vec<_> = flag(&deploy, "--args").expect("arguments").split(',').collect();
        assert_eq!(arguments, ["serve", role]);
        check_arguments(&arguments);
        let config = configuration(&deploy, roles);
        let listen = if roles.gateway { config.gateway.listen } else { config.worker.listen };
        assert_eq!(listen.to_string(), "0.0.0.0:8080");
        assert!(!config.is_embedded(), "an instance keeps nothing on its disk");
        assert_eq!(config.gcp.project.as_deref(), Some("my-project"));
        assert_eq!(config.media.gcs.bucket.as_deref(), Some("my-project-mediaforge"));
    }
}

#[test]
fn a_wrong_variable_is_noticed() {
    let mut deploy = Pipeline::running().call("worker");
    for word in &mut deploy {
        *word = word.replace("WORKER__SLOTS", "WORKER__SLOT");
    }
    assert!(std::panic::catch_unwind(|| configuration(&deploy, Roles::WORKER)).is_err());
}

#[test]
fn both_services_run_the_same_digest() {
    let pipeline = Pipeline::running();
    let [gateway, worker] = ["gateway", "worker"].map(|step| pipeline.call(step));
    let image = flag(&worker, "--image").expect("an image");
    assert_eq!((image, flag(&gateway, "--image")), ("$(cat image.txt)", Some(image)));
    let push = pipeline.step("push").script();
    let digest = push.lines().find(|line| line.ends_with("> image.txt")).expect("the file is written");
    assert!(digest.contains("grep '^us-central1-docker.pkg.dev/my-project/mediaforge/mediaforge@sha256:'"), "{digest}");
}

#[test]
fn the_services_have_their_sizes() {
    let pipeline = Pipeline::running();
    let gateway = pipeline.call("gateway");
    for flag in ["--allow-unauthenticated", "--memory=512Mi", "--timeout=60", "--max-instances=10", "--cpu=1"] {
        assert!(gateway.iter().any(|word| word == flag), "{flag}");
    }
    let worker = pipeline.call("worker");
    for flag in [
        "--no-allow-unauthenticated",
        "--memory=1Gi",
        "--cpu=2",
        "--timeout=3600",
        "--max-instances=10",
        // A push is answered before its job ends.
        "--no-cpu-throttling",
    ] {
        assert!(worker.iter().any(|word| word == flag), "{flag}");
    }
    let config = configuration(&worker, Roles::WORKER);
    assert_eq!(number(&worker, "--concurrency"), config.worker.slots as u64 + 1, "one more than the slots, for /sweep");
    assert!(config.worker.slot_wait < ACK_DEADLINE);
    assert!(Duration::from_secs(number(&worker, "--timeout")) >= ACK_DEADLINE);
    assert!(number(&gateway, "--concurrency") <= config.server.requests as u64);
}

#[test]
fn a_waiting_submit_is_answered_before_cloud_run_cuts_it_off() {
    let wait = text("src/gateway/prefer.rs");
    let wait =
        wait.lines().find_map(|line| line.strip_prefix("const MAX_WAIT: u64 = ")?.strip_suffix(';')?.parse().ok());
    let gateway = Pipeline::running().call("gateway");
    let longest = Duration::from_secs(wait.expect("the longest wait"));
    let submit = configuration(&gateway, Roles::GATEWAY).jobs.backend_timeout;
    assert!(longest + submit <= Duration::from_secs(number(&gateway, "--timeout")));
}

#[test]
fn an_instance_starts_without_calling_the_backends() {
    let pipeline = Pipeline::running();
    for step in ["gateway", "worker"] {
        let deploy = pipeline.call(step);
        let probe = pairs(flag(&deploy, "--startup-probe").expect("a probe"));
        assert_eq!(probe["httpGet.path"], "/health", "with /ready, an outage of a backend would stop every instance");
        let seconds = |name: &str| probe[name].parse::<u32>().expect("a number");
        assert!(seconds("timeoutSeconds") < seconds("periodSeconds"));
        assert!(
            seconds("periodSeconds") * seconds("failureThreshold") <= 240,
            "the limit of Cloud Run is four minutes"
        );
    }
    let routes = text("src/worker/router.rs");
    assert!(routes.contains("\"/health\"") && routes.contains("\"/sweep\""));
}

/// The variables of a step.
fn variables(step: &Step) -> BTreeMap<&str, &str> {
    step.env.iter().map(|pair| pair.split_once('=').expect("a variable")).collect()
}

#[test]
fn the_worker_accepts_the_accounts_that_push_and_sweep() {
    let pipeline = Pipeline::running();
    let worker = pipeline.call("worker");
    let config = configuration(&worker, Roles::WORKER);
    assert_eq!(config.worker.push_auth, PushAuth::CloudRunIam);
    let (audience, accounts) = (config.worker.oidc.audience.expect("an audience"), config.worker.oidc.service_accounts);
    assert_eq!(audience, "https://worker-123456789.us-central1.run.app");
    assert_eq!(flag(&worker, "--set-custom-audiences"), Some(audience.as_str()));

    let provision = pipeline.step("provision");
    check_arguments(&provision.args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(provision.name, "us-central1-docker.pkg.dev/my-project/mediaforge/mediaforge:b-1");
    let environment = Environment::of(variables(provision)).with_user_data_dir("/data");
    let provisioned = load(&Sources { environment, ..Sources::default() }).expect("valid variables").config;
    assert_eq!(provisioned.worker.oidc.audience.as_deref(), Some(audience.as_str()));
    assert_eq!(provisioned.queue.pubsub.push_url.expect("an address").as_str(), format!("{audience}/"));
    let pusher = provisioned.queue.pubsub.push_service_account.expect("an account");

    let sweep = pipeline.call_of("sweep", "scheduler jobs $verb");
    assert_eq!(flag(&sweep, "--oidc-token-audience"), Some(audience.as_str()));
    assert_eq!(flag(&sweep, "--uri"), Some(format!("{audience}/sweep").as_str()));
    assert_eq!(flag(&sweep, "--http-method"), Some("POST"));
    let sweeper = flag(&sweep, "--oidc-service-account-email").expect("an account");
    assert_eq!(accounts, [pusher.as_str(), sweeper]);
    let invokers = pipeline.step("invokers").script();
    assert!(invokers.contains(&format!("for account in {pusher} {sweeper}; do")), "{invokers}");
    assert!(invokers.contains("--role=roles/run.invoker"));
}

#[test]
fn pub_sub_uses_the_dead_letter_topic_of_the_queue() {
    use mediaforge::domain::{kind::JobKind, message::DEAD_LETTER_TOPIC};
    let pipeline = Pipeline::running();
    let script = pipeline.step("dead-letters").script();
    assert!(script.contains(&format!("topics add-iam-policy-binding {DEAD_LETTER_TOPIC} ")));
    let [generation, training] = [JobKind::Illustration, JobKind::Brand].map(JobKind::subscription);
    assert!(script.contains(&format!("for subscription in {generation} {training}; do")));
}
