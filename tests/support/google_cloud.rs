//! Google Cloud on this machine: emulators of Firestore, Pub/Sub, Cloud Storage and the issuers of tokens.

use std::{path::Path, sync::Arc};

use gcloud_emulator::{Emulator, Storage, identity::Issuer};
use serde_json::{Value, json};

use super::{TIMEOUT, command, front::StableAddress};

pub const PROJECT: &str = "test-project";
/// The service account with which Pub/Sub pushes.
pub const PUSH_ACCOUNT: &str = "push@test-project.iam.gserviceaccount.com";
/// The service account of the scheduler.
pub const SCHEDULER_ACCOUNT: &str = "scheduler@test-project.iam.gserviceaccount.com";

/// Pub/Sub's delays are shorter by this factor: a retry after 10 s comes after 200 ms.
const SPEED: f64 = 50.0;

/// An empty project on emulators.
pub struct GoogleCloud {
    pub emulator: Emulator,
    pub storage: Arc<Storage>,
    worker_address: StableAddress,
    variables: Vec<(String, String)>,
}

impl GoogleCloud {
    /// Starts a project with a bucket and the deployed indexes.
    pub async fn start() -> Self {
        let emulator = Emulator::start().await.expect("an emulator");
        emulator.pubsub().speed(SPEED);
        emulator
            .firestore()
            .set_indexes(include_str!("../../config/firebase/firestore.indexes.json"))
            .expect("indexes");
        let storage = Arc::new(Storage::start().await.unwrap_or_else(|error| panic!("{error}")));
        let worker_address = StableAddress::start().await;
        let bucket = storage.create_bucket().await.expect("a bucket");
        let keys = |issuer: Issuer| format!("{}{}", emulator.url(), issuer.path());
        let own = [
            ("MEDIAFORGE_PROFILE", "gcp".to_owned()),
            ("MEDIAFORGE_GCP__PROJECT", PROJECT.to_owned()),
            ("FIRESTORE_EMULATOR_HOST", emulator.address().to_string()),
            ("PUBSUB_EMULATOR_HOST", emulator.address().to_string()),
            ("STORAGE_EMULATOR_HOST", storage.url()),
            ("MEDIAFORGE_MEDIA__GCS__BUCKET", bucket),
            ("MEDIAFORGE_MEDIA__GCS__SIGNING_KEY__ENV", "SIGNING_KEY".to_owned()),
            ("SIGNING_KEY", storage.signing_key().to_owned()),
            ("MEDIAFORGE_GATEWAY__FIREBASE__KEYS_URL", keys(Issuer::Firebase)),
            ("MEDIAFORGE_GATEWAY__STREAM_TOKENS__KEY__ENV", "STREAM_TOKEN_KEY".to_owned()),
            ("STREAM_TOKEN_KEY", "0123456789abcdef0123456789abcdef".to_owned()),
            // Without Cloud Run's front end, the worker verifies the tokens itself.
            ("MEDIAFORGE_WORKER__PUSH_AUTH", "oidc".to_owned()),
            ("MEDIAFORGE_WORKER__OIDC__KEYS_URL", keys(Issuer::Google)),
            ("MEDIAFORGE_WORKER__OIDC__AUDIENCE", worker_address.url()),
            ("MEDIAFORGE_WORKER__OIDC__SERVICE_ACCOUNTS", format!("{PUSH_ACCOUNT},{SCHEDULER_ACCOUNT}")),
            ("MEDIAFORGE_QUEUE__PUBSUB__PUSH_URL", worker_address.url()),
            ("MEDIAFORGE_QUEUE__PUBSUB__PUSH_SERVICE_ACCOUNT", PUSH_ACCOUNT.to_owned()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        let variables = test_profile_variables().into_iter().chain(own).collect();
        Self { emulator, storage, worker_address, variables }
    }

    /// The variables with which a process uses this project.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Sets the address of the worker and provisions topics and subscriptions, as the deployment does.
    pub async fn set_worker(&self, url: &str, data_dir: &Path) {
        self.worker_address.forward_to(url);
        let mut provision = command(data_dir);
        provision.arg("provision").envs(self.variables.iter().cloned());
        let output = tokio::time::timeout(TIMEOUT, provision.output()).await.expect("in time").expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// An ID token of this user.
    pub fn user_token(&self, user: &str) -> String {
        self.emulator.identity().firebase_token(PROJECT, user, &json!({}))
    }

    /// A token of a service account for the worker; `claims` override Google's claims.
    pub fn service_token(&self, account: &str, claims: &Value) -> String {
        let mut all = json!({ "email": account, "aud": self.worker_address.url() });
        if let (Value::Object(all), Value::Object(claims)) = (&mut all, claims) {
            all.extend(claims.clone());
        }
        self.emulator.identity().google_token(&all)
    }
}

/// The settings of the profile `test` as variables, without the queue, which is not used here.
fn test_profile_variables() -> Vec<(String, String)> {
    let profiles: toml::Table = mediaforge::config::default_file().parse().expect("TOML");
    let mut variables = Vec::new();
    let sections = profiles["test"].as_table().expect("a profile").iter().filter(|(section, _)| *section != "queue");
    for (section, value) in sections {
        flatten(&format!("MEDIAFORGE_{}", section.to_uppercase()), value, &mut variables);
    }
    variables.retain(|(name, _)| !name.ends_with("__LISTEN"));
    variables
}

fn flatten(name: &str, value: &toml::Value, variables: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(&format!("{name}__{}", key.to_uppercase()), value, variables);
            }
        }
        toml::Value::String(text) => variables.push((name.to_owned(), text.clone())),
        other => variables.push((name.to_owned(), other.to_string())),
    }
}
