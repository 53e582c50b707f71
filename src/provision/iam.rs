//! The IAM bindings that Pub/Sub needs. A person adds them; this program changes no permissions.

use crate::domain::{kind::JobKind, message::DEAD_LETTER_TOPIC};

/// Pub/Sub's service agent in a project, with the project's number as a shell variable.
const SERVICE_AGENT: &str = "service-${PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com";

/// The commands that allow Pub/Sub to forward dead letters and to push as `push_account`. Without the bindings for dead
/// letters Pub/Sub delivers a refused message forever; without the last binding it pushes without a token, which workers
/// refuse.
pub fn iam_commands(project: &str, push_account: &str) -> Vec<String> {
    let agent = format!("--project={project} --member=\"serviceAccount:{SERVICE_AGENT}\"");
    let number = format!("PROJECT_NUMBER=$(gcloud projects describe {project} --format='value(projectNumber)')");
    let dead_letters = format!(
        "gcloud pubsub topics add-iam-policy-binding {DEAD_LETTER_TOPIC} {agent} --role=roles/pubsub.publisher"
    );
    let forwarding = JobKind::ALL.map(|kind| {
        let name = kind.subscription();
        format!("gcloud pubsub subscriptions add-iam-policy-binding {name} {agent} --role=roles/pubsub.subscriber")
    });
    let tokens = format!(
        "gcloud iam service-accounts add-iam-policy-binding {push_account} {agent} \
         --role=roles/iam.serviceAccountTokenCreator"
    );
    [number, dead_letters].into_iter().chain(forwarding).chain([tokens]).collect()
}
