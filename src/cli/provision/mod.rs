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

/// Make the topics and subscriptions of Pub/Sub as they should be
///
/// Makes what is missing, shows what differs and repairs what can be changed; run again, it finds nothing to do. What
/// belongs to IAM is printed as commands.
#[derive(Debug, Args)]
#[command(after_help = "\
What it makes, in gcp.project:
  topics         image-generation-jobs, brand-training-jobs, job-dlq
  subscriptions  image-generation-workers, brand-training-workers: pushed to queue.pubsub.push_url in the name of
                   queue.pubsub.push_service_account, with tokens for worker.oidc.audience; ack deadline 600 s,
                   retention 1 h, retries after 10 s to 600 s, dead letters to job-dlq after 5 attempts, no expiry
                 job-dlq-sub: pulled by operators; retention 31 d, no expiry

Needs roles/pubsub.editor on the project and roles/iam.serviceAccountUser on the push account.

Examples:
  mediaforge provision --profile gcp --dry-run       what would change
  mediaforge provision --profile gcp                 change it

Exit codes: 0 everything is as it should be, 8 --dry-run found something to do, 1 something cannot be repaired or
failed, 2 wrong usage or a setting is missing, 4 Pub/Sub cannot be reached, 7 permission denied.")]
pub(super) struct ProvisionArgs {
    /// Change nothing; exit with 8 when there is something to do
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object: {project, dryRun, resources: [{kind, name, action, drift, done}], iamCommands}
    #[arg(long)]
    json: bool,
}

/// What was found, and what has been done about it.
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
    let provisioner = open_provisioner(&config).await.map_err(cannot_begin)?;
    let account = &provisioner.push_target().service_account;
    let known = &config.worker.oidc.service_accounts;
    if !known.is_empty() && !known.contains(account) {
        output::note(format!("warning: {account} is not in worker.oidc.service_accounts: workers refuse its pushes"));
    }
    let lines = provisioner.plan().await.map_err(failed)?.into_iter().map(|planned| Line { planned, done: false });
    let iam_commands = iam_commands(provisioner.project(), account);
    let resources = lines.collect();
    let mut report = Report { project: provisioner.project(), dry_run: args.dry_run, resources, iam_commands };
    // What was done until something failed is shown, too.
    let applied = if args.dry_run { Ok(()) } else { apply(&provisioner, &mut report.resources).await };
    if args.json {
        output::line(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::line(table::text(&report))?;
    }
    applied.map_err(failed)?;
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
    let message = format!("what differs in {} cannot be changed", names.join(" and "));
    let hint = "delete it and run `mediaforge provision` again; the sweeper publishes anew what it has not delivered";
    let failure = names.iter().fold(Failure::new(Exit::Failed, message).hint(hint), |failure, name| {
        failure.hint(format!("gcloud pubsub subscriptions delete {name} --project={}", report.project))
    });
    Err(failure.into())
}

fn cannot_begin(error: CannotProvision) -> Failure {
    let failure = Failure::new(Exit::Usage, error.to_string());
    match error {
        CannotProvision::NotPubSub => failure.hint("`--profile gcp` is the one that uses Pub/Sub"),
        CannotProvision::Unset(keys) => keys
            .into_iter()
            .fold(failure, |failure, (key, what)| failure.hint(format!("{key} ({}): {what}", variable(key)))),
        CannotProvision::Backend(error) => Failure::new(exit_of(&error), error.to_string()).hint(
            "`gcloud auth application-default login` or GOOGLE_APPLICATION_CREDENTIALS says who you are on this machine",
        ),
    }
}

fn failed(error: ProvisionError) -> Failure {
    let message = error.to_string();
    match error {
        ProvisionError::Denied { role, .. } => Failure::new(Exit::NotAllowed, message).hint(format!(
            "the account that runs this needs {role} on the project, and roles/iam.serviceAccountUser on the push account"
        )),
        ProvisionError::Backend(error) => {
            let failure = Failure::new(exit_of(&error), message);
            let again = "run it again: what was done stays done, and it goes on from there";
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
