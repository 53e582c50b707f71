//! Who must be allowed what: bindings that belong to IAM, for a person to make.

use crate::{domain::kind::JobKind, queue::DEAD_LETTER_TOPIC};

/// Pub/Sub's own account in a project, with the project's number as a shell's variable.
const SERVICE_AGENT: &str = "service-${PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com";

/// The commands that let Pub/Sub forward dead letters and push in the name of `push_account`. Without the first three
/// it delivers for ever what no worker takes; without the last it pushes without a token, and workers refuse it.
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
