//! `mediaforge provision`

mod table;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, Invocation, output};
use crate::{
    app::provision::{CannotProvision, open_provisioner},
    config::variable,
    error::{BackendError, ErrorKind},
    provision::{Action, PlannedResource, ProvisionError, Provisioner, ResourceKind, iam_commands},
};

/// Create and repair the topics and subscriptions on Pub/Sub
///
/// Creates what is missing, shows what differs and repairs what can be changed. A second run finds nothing to do. Prints
/// IAM settings as commands for you to run.
#[derive(Debug, Args)]
#[command(after_help = "\
What it creates in gcp.project:
  topics         image-generation-jobs, brand-training-jobs, job-dlq
  subscriptions  image-generation-workers, brand-training-workers: push to queue.pubsub.push_url as
                   queue.pubsub.push_service_account, with tokens for worker.oidc.audience;
                   ack deadline 600 s, retention 1 h, retries after 10 s to 600 s, dead letters to
                   job-dlq after 5 attempts, no expiry
                 job-dlq-sub: for operators to pull from; retention 31 d, no expiry

You need roles/pubsub.editor on the project and roles/iam.serviceAccountUser on the push account.

Examples:
  mediaforge provision --profile gcp --dry-run       show what would change
  mediaforge provision --profile gcp                 change it

Exit codes: 0 everything is correct, 1 failure or something cannot be repaired, 2 wrong usage or a
setting is missing, 4 Pub/Sub is unreachable, 7 permission denied, 8 --dry-run found something to do.")]
pub(super) struct ProvisionArgs {
    /// Change nothing; exit with 8 if there is something to do
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object: {project, dryRun, resources: [{kind, name, action, drift, done}], iamCommands}
    #[arg(long)]
    json: bool,
}

/// The differences, and what was done about them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    project: &'a str,
    dry_run: bool,
    resources: Vec<Line>,
    iam_commands: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    planned: PlannedResource,
    done: bool,
}

pub(super) async fn run(args: &ProvisionArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let config = invocation.load(None, Vec::new())?.config;
    let provisioner = open_provisioner(&config).await.map_err(start_failure)?;
    let account = &provisioner.push_target().service_account;
    let known = &config.worker.oidc.service_accounts;
    if !known.is_empty() && !known.contains(account) {
        output::note(format!(
            "warning: {account} is not in worker.oidc.service_accounts, so workers refuse its pushes"
        ));
    }
    let lines =
        provisioner.plan().await.map_err(provision_failure)?.into_iter().map(|planned| Line { planned, done: false });
    let iam_commands = iam_commands(provisioner.project(), account);
    let resources = lines.collect();
    let mut report = Report { project: provisioner.project(), dry_run: args.dry_run, resources, iam_commands };
    // On a failure, the report shows what was done before it.
    let applied = if args.dry_run { Ok(()) } else { apply(&provisioner, &mut report.resources).await };
    if args.json {
        output::line(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::line(table::text(&report))?;
    }
    applied.map_err(provision_failure)?;
    outcome(&report)
}

async fn apply(provisioner: &Provisioner, lines: &mut [Line]) -> Result<(), ProvisionError> {
    for line in lines {
        if matches!(line.planned.action, Action::Create | Action::Update) {
            provisioner.apply(&line.planned).await?;
            line.done = true;
        }
    }
    Ok(())
}

fn outcome(report: &Report<'_>) -> anyhow::Result<Exit> {
    let planned = || report.resources.iter().map(|line| &line.planned);
    if report.dry_run {
        let is_done = planned().all(|planned| planned.action == Action::Nothing);
        return Ok(if is_done { Exit::Done } else { Exit::WouldChange });
    }
    let blocked = planned().filter(|planned| planned.drift.iter().any(|drift| !drift.repairable));
    let blocked: Vec<_> = blocked.filter(|planned| planned.kind == ResourceKind::Subscription).collect();
    if blocked.is_empty() {
        return Ok(Exit::Done);
    }
    let names: Vec<_> = blocked.iter().map(|planned| &*planned.name).collect();
    let message = format!("{} cannot be repaired: a setting that differs cannot be changed", names.join(" and "));
    let hint = "delete it and run `mediaforge provision` again; the sweeper publishes undelivered jobs again";
    let failure = names.iter().fold(Failure::new(Exit::Failed, message).hint(hint), |failure, name| {
        failure.hint(format!("gcloud pubsub subscriptions delete {name} --project={}", report.project))
    });
    Err(failure.into())
}

fn start_failure(error: CannotProvision) -> Failure {
    let failure = Failure::new(Exit::Usage, error.to_string());
    match error {
        CannotProvision::NotPubSub => failure.hint("use `--profile gcp`, or set queue.backend to \"pubsub\""),
        CannotProvision::Unset(keys) => keys
            .into_iter()
            .fold(failure, |failure, (key, what)| failure.hint(format!("{key} ({}): {what}", variable(key)))),
        CannotProvision::Backend(error) => Failure::new(exit_of(&error), error.to_string())
            .hint("sign in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"),
    }
}

fn provision_failure(error: ProvisionError) -> Failure {
    let message = error.to_string();
    match error {
        ProvisionError::Denied { role, .. } => Failure::new(Exit::NotAllowed, message).hint(format!(
            "your account needs {role} on the project, and roles/iam.serviceAccountUser on the push account"
        )),
        ProvisionError::Backend(error) => {
            let failure = Failure::new(exit_of(&error), message);
            let again = "run the command again; it continues where it stopped";
            if error.is_transient() { failure.hint(again) } else { failure }
        }
    }
}

fn exit_of(error: &BackendError) -> Exit {
    match error.kind {
        ErrorKind::Unavailable | ErrorKind::Timeout => Exit::Unavailable,
        _ => Exit::Failed,
    }
}
