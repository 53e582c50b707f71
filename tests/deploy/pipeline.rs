//! `cloudbuild.yaml`, with substitutions as in Cloud Build.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{shell, text};

/// The built-in substitutions of Cloud Build.
const BUILT_IN: [(&str, &str); 3] =
    [("PROJECT_ID", "my-project"), ("PROJECT_NUMBER", "123456789"), ("BUILD_ID", "b-1")];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pipeline {
    pub steps: Vec<Step>,
    pub substitutions: BTreeMap<String, String>,
    pub service_account: String,
    pub images: Vec<String>,
    pub timeout: String,
    pub options: BTreeMap<String, serde_yaml_ng::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Step {
    pub id: String,
    pub name: String,
    pub wait_for: Vec<String>,
    pub entrypoint: Option<String>,
    #[serde(default)]
    pub env: Vec<String>,
    pub args: Vec<String>,
}

impl Pipeline {
    /// The file, without substitutions.
    pub fn written() -> Self {
        serde_yaml_ng::from_str(&text("cloudbuild.yaml")).expect("a build")
    }

    /// The file with substitutions, for the project `my-project`.
    pub fn running() -> Self {
        let mut pipeline = Self::written();
        let mut values: BTreeMap<String, String> = pipeline.substitutions.clone();
        values.extend(BUILT_IN.map(|(name, value)| (name.to_owned(), value.to_owned())));
        // `dynamicSubstitutions` allows substitutions in substitutions, one level deep.
        let values = values.iter().map(|(name, value)| (name.clone(), substitute(value, &values))).collect();
        for step in &mut pipeline.steps {
            step.name = substitute(&step.name, &values);
            step.args.iter_mut().chain(&mut step.env).for_each(|text| *text = substitute(text, &values));
        }
        pipeline
    }

    pub fn step(&self, id: &str) -> &Step {
        self.steps.iter().find(|step| step.id == id).unwrap_or_else(|| panic!("no step {id}"))
    }

    /// The one `gcloud` call of a step.
    pub fn call(&self, id: &str) -> shell::Command {
        let calls = shell::calls_of("gcloud", self.step(id).script());
        let [call] = calls.as_slice() else { panic!("{id}: {calls:?}") };
        call.clone()
    }

    /// The `gcloud` call of a step that begins with these words.
    pub fn call_of(&self, id: &str, begins: &str) -> shell::Command {
        let calls = shell::calls_of("gcloud", self.step(id).script());
        let found = calls.iter().find(|call| call[1..].join(" ").starts_with(begins));
        found.unwrap_or_else(|| panic!("{id}: {calls:?}")).clone()
    }

    /// Every step that ends before this one begins.
    fn before(&self, id: &str) -> BTreeSet<&str> {
        let waits = self.step(id).wait_for.iter().filter(|other| *other != "-");
        waits.flat_map(|other| self.before(other).into_iter().chain([self.step(other).id.as_str()])).collect()
    }
}

impl Step {
    /// The script that its shell runs.
    pub fn script(&self) -> &str {
        assert_eq!((self.entrypoint.as_deref(), self.args[0].as_str()), (Some("bash"), "-ceu"), "{}", self.id);
        &self.args[1]
    }
}

/// The substitutions in a text.
fn names(text: &str) -> Vec<String> {
    pieces(text).into_iter().filter_map(Result::err).collect()
}

fn substitute(text: &str, values: &BTreeMap<String, String>) -> String {
    let value = |name: String| values.get(&name).cloned().unwrap_or_else(|| panic!("{name} is not defined: {text}"));
    pieces(text).into_iter().map(|piece| piece.unwrap_or_else(value)).collect()
}

/// The parts of a text: plain text as `Ok`, names of substitutions as `Err`. `$$` is a plain dollar.
fn pieces(text: &str) -> Vec<Result<String, String>> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((plain, after)) = rest.split_once('$') {
        pieces.push(Ok(plain.to_owned()));
        if let Some(after) = after.strip_prefix('$') {
            pieces.push(Ok("$".to_owned()));
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (name, after) = after.split_once('}').expect("a closing brace");
            pieces.push(Err(name.to_owned()));
            rest = after;
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            pieces.push(Err(after[..end].to_owned()));
            rest = &after[end..];
        }
    }
    pieces.push(Ok(rest.to_owned()));
    pieces
}

#[test]
fn every_substitution_is_defined_and_used() {
    let pipeline = Pipeline::written();
    assert_eq!(pipeline.options["substitutionOption"], "MUST_MATCH");
    assert_eq!(pipeline.options["dynamicSubstitutions"], true);
    let steps = pipeline.steps.iter().flat_map(|step| step.args.iter().chain(&step.env).chain([&step.name]));
    let elsewhere = pipeline.images.iter().chain([&pipeline.service_account]).chain(pipeline.substitutions.values());
    let used: BTreeSet<String> = steps.chain(elsewhere).flat_map(|text| names(text)).collect();
    let built_in = BUILT_IN.map(|(name, _)| name.to_owned());
    let defined: BTreeSet<String> = pipeline.substitutions.keys().cloned().chain(built_in).collect();
    assert_eq!(used, defined);
    assert!(
        pipeline.substitutions.keys().all(|name| name.starts_with('_')),
        "other names are reserved for Cloud Build"
    );
    // Cloud Build does not substitute more than one level deep.
    for (name, value) in &pipeline.substitutions {
        for other in names(value) {
            let inner = pipeline.substitutions.get(&other).map(|value| names(value)).unwrap_or_default();
            assert_eq!(inner, Vec::<String>::new(), "{name} names {other}");
        }
    }
}

#[test]
fn a_build_with_its_own_account_sets_where_its_logs_go() {
    assert_eq!(Pipeline::written().options["logging"], "CLOUD_LOGGING_ONLY");
}

#[test]
fn the_steps_run_in_a_valid_order() {
    let pipeline = Pipeline::running();
    for (at, step) in pipeline.steps.iter().enumerate() {
        let earlier: Vec<_> = pipeline.steps[..at].iter().map(|step| step.id.as_str()).collect();
        assert!(!earlier.contains(&step.id.as_str()), "two steps have the id {}", step.id);
        assert!(!step.wait_for.is_empty(), "{}: without waitFor, a step waits for all steps before it", step.id);
        for other in step.wait_for.iter().filter(|other| *other != "-") {
            assert!(earlier.contains(&other.as_str()), "{} waits for {other}, which is not before it", step.id);
        }
    }
    for (step, needs) in [
        ("build", &["test"][..]),
        ("worker", &["push", "firestore"]),
        // A subscription pushes as soon as it exists.
        ("provision", &["worker", "invokers"]),
        ("dead-letters", &["provision"]),
        ("sweep", &["invokers"]),
        ("gateway", &["provision", "dead-letters", "sweep"]),
        ("verify", &["gateway"]),
    ] {
        let before = pipeline.before(step);
        assert!(needs.iter().all(|needed| before.contains(needed)), "{step} begins only after {before:?}");
    }
    assert_eq!(pipeline.timeout, "5400s");
}

#[test]
fn every_gcloud_command_and_flag_exists() {
    let pipeline = Pipeline::running();
    let scripts = pipeline.steps.iter().filter(|step| step.entrypoint.is_some());
    let setup = text("config/google-cloud-setup");
    let calls: Vec<_> = scripts
        .map(Step::script)
        .chain([setup.as_str()])
        .flat_map(|script| shell::calls_of("gcloud", script))
        .collect();
    assert!(calls.len() >= 26, "not all calls are found: {}", calls.len());
    for call in &calls {
        shell::check_gcloud(call);
    }
}

#[test]
fn the_setup_creates_what_the_pipeline_needs() {
    let (pipeline, setup) = (Pipeline::written(), text("config/google-cloud-setup"));
    let accounts = setup.lines().find_map(|line| line.strip_prefix("for name in ")?.strip_suffix("build; do"));
    let accounts: Vec<_> = accounts.expect("the accounts").split_whitespace().collect();
    for (name, value) in pipeline.substitutions.iter().filter(|(name, _)| name.ends_with("_ACCOUNT")) {
        let account = value.strip_suffix("@${PROJECT_ID}.iam.gserviceaccount.com").expect("an account of the project");
        let account = account.strip_prefix("mediaforge-").expect("a name that begins with mediaforge-");
        assert!(accounts.contains(&account), "{name}");
    }
    assert!(pipeline.service_account.contains("mediaforge-build@$PROJECT_ID"));
    assert!(
        setup.contains("bucket=$project-mediaforge\n")
            && pipeline.substitutions["_BUCKET"] == "${PROJECT_ID}-mediaforge"
    );
    assert!(setup.contains("artifacts repositories create mediaforge "));
    assert!(pipeline.substitutions["_IMAGE"].contains("/mediaforge/mediaforge"));
}

#[test]
fn the_files_contain_no_project_and_no_secret() {
    for file in ["cloudbuild.yaml", "Dockerfile", "config/google-cloud-setup"] {
        let text = text(file);
        for (at, _) in text.match_indices(".iam.gserviceaccount.com") {
            let before = text[..at].trim_end_matches(['}', '"']);
            let named = ["PROJECT_ID", "$project", "@gcp-sa-pubsub"].iter().any(|name| before.ends_with(name));
            assert!(named, "{file}: {}", &text[at.saturating_sub(60)..at]);
        }
        assert!(!text.contains("PRIVATE KEY") && !text.contains("AIza"), "{file}");
    }
}

#[test]
fn the_services_get_only_the_rights_that_they_use() {
    let setup = text("config/google-cloud-setup");
    let setup: Vec<_> = shell::calls_of("gcloud", &setup);
    let roles = |command: &str| -> BTreeSet<String> {
        let calls = setup.iter().filter(|call| call[1..].join(" ").starts_with(command));
        calls.filter_map(|call| Some(shell::flag(call, "--role")?.to_owned())).collect()
    };
    // The same role as in the error message.
    let [bucket] = roles("storage buckets add-iam-policy-binding").into_iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(bucket, "roles/storage.objectUser");
    assert!(text("src/media/gcs/api.rs").contains(&format!("{bucket} on the bucket")));
    // An account that creates tokens of another one can act as it: only Pub/Sub as the pusher, and the gateway as itself.
    let signs = setup.iter().filter(|call| call.join(" ").contains("roles/iam.serviceAccountTokenCreator"));
    let signs: Vec<_> = signs.map(|call| (call[4].as_str(), shell::flag(call, "--member").unwrap())).collect();
    assert_eq!(
        signs,
        [("$(account gateway)", "serviceAccount:$(account gateway)"), ("$(account push)", "serviceAccount:$agent")]
    );
}
