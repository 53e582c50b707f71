//! `mediaforge train`

mod dataset;
mod pictures;
mod show;
mod upload;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use self::{dataset::Dataset, pictures::Picture};
use super::{
    Exit, Failure, Invocation,
    job::{self, Job, ServiceArgs, Session},
    output,
};
use crate::domain::{kind::JobKind, palette::Rgb};

/// Train a brand from your pictures, to draw in its style
///
/// Looks at the pictures here, uploads them, has the service judge them and trains. Nothing is paid before every
/// picture is found fit. Asks the gateway at --url, or else the one that runs on this machine; when none runs, the
/// whole system runs inside this command. Interrupted or timed out, the training goes on: the command prints its id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge train \"Acme\" img/*.png --dry-run
  mediaforge train \"Acme\" img/*.png --color \"#ff6600\" --color \"#003366\" -o samples/
  mediaforge train \"Acme\" img/*.png --json | jq -r .brandId
  mediaforge train \"Acme\" dataset.zip
  mediaforge generate \"a lighthouse at dawn\" --style Acme

Exit codes: as `mediaforge generate --help` lists them; 2 also for pictures that are not fit.")]
pub(super) struct TrainArgs {
    /// What to call the brand
    #[arg(value_name = "NAME")]
    name: String,
    /// Pictures to learn from: PNG, JPEG or WebP, or zip archives of them
    #[arg(value_name = "IMAGES", required = true, value_hint = clap::ValueHint::FilePath)]
    images: Vec<PathBuf>,
    /// A colour the brand must have, such as "#ff6600"; again for more
    #[arg(short, long = "color", alias = "colour", value_name = "#RRGGBB", help_heading = "Training")]
    colors: Vec<Rgb>,
    /// Only say what the service thinks of the pictures, and the price
    #[arg(long, help_heading = "Training")]
    dry_run: bool,
    /// Where to save the sample pictures; created when missing [default: they stay with the service]
    #[arg(short, long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Output")]
    output: Option<PathBuf>,
    /// Print one JSON object: the brand, and "files" with the paths of saved samples; of a dry run the verdicts
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Do not show progress
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(super) async fn run(args: TrainArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    // Before anything else runs or is asked: most mistakes are visible from here.
    let pictures = pictures::checked(&args.images)?;
    if let Some(dir) = args.output.as_ref().filter(|_| !args.service.detach && !args.dry_run) {
        job::save::prepare(dir).await?;
    }
    let look = show::Look::of(&invocation.environment);
    job::with_service(&args.service, invocation, async |session| train(&args, &pictures, look, session).await).await
}

async fn train(
    args: &TrainArgs,
    pictures: &[Picture],
    look: show::Look,
    session: &mut Session<'_>,
) -> anyhow::Result<Exit> {
    const KIND: JobKind = JobKind::Brand;
    // Uploads have new names each time, so a repeated command must find its training before it uploads.
    let earlier = if args.dry_run { None } else { session.earlier(KIND).await? };
    let id = match earlier {
        Some(id) => {
            output::note(format!("{id} was asked for before under this key"));
            id
        }
        None => match prepared(args, pictures, session).await? {
            Some(request) => session.submit(KIND, &request).await?,
            None => return Ok(Exit::Done),
        },
    };
    if args.service.detach {
        job::print_accepted(KIND, &id, args.json)?;
        return Ok(Exit::Done);
    }
    match session.follow(KIND, &id, args.quiet).await? {
        Ok(brand) => finish(args, look, session, &brand).await,
        Err(exit) => {
            job::print_accepted(KIND, &id, args.json)?;
            Ok(exit)
        }
    }
}

/// Uploads the pictures and has them judged; the request to send, unless that was all.
async fn prepared(args: &TrainArgs, pictures: &[Picture], session: &mut Session<'_>) -> anyhow::Result<Option<Value>> {
    let api = session.api;
    let work = async {
        let uploads = upload::all(api, pictures, args.quiet).await?;
        let request = request(args, &uploads, api.user());
        let dataset: Dataset = api
            .repeated(async || api.post(JobKind::Brand.submit_path(), &[("dryRun", "true")], &request).await)
            .await?;
        anyhow::Ok((request, uploads, dataset))
    };
    let (request, uploads, dataset) =
        session.unless_given_up(work, "nothing was trained, and the uploads expire by themselves").await?;
    let accepted = dataset.accepted;
    let shown = dataset.shown(pictures, &uploads);
    if args.json && (args.dry_run || !accepted) {
        output::line(shown.json().to_string())?;
    } else if args.dry_run {
        output::line(shown.table(show::stdout_is_terminal()))?;
    } else if !accepted || !args.quiet {
        output::note(shown.table(show::stderr_is_terminal()));
    }
    if !accepted {
        let message = format!("{} of {} pictures are not fit for training", shown.unfit(), shown.len());
        return Err(Failure::new(Exit::Usage, message).hint("nothing was paid; leave them out or replace them").into());
    }
    Ok((!args.dry_run).then_some(request))
}

fn request(args: &TrainArgs, uploads: &[String], user: Option<&str>) -> Value {
    let mut request = json!({ "brandName": args.name, "trainingImages": uploads });
    if !args.colors.is_empty() {
        request["brandColors"] = json!(args.colors);
    }
    if let Some(user) = user {
        request["userId"] = user.into();
    }
    request
}

/// Saves the samples where that is wanted, and says how the training ended.
async fn finish(args: &TrainArgs, look: show::Look, session: &mut Session<'_>, brand: &Job) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    if let Some(dir) = args.output.as_ref().filter(|_| brand.is_completed()) {
        let saving = job::save::all(session.api, (&brand.id, &brand.sample_urls), &args.name, dir);
        files = session.save(&brand.id, saving).await?;
    }
    if args.json {
        let mut shown = brand.raw.clone();
        shown["files"] = files.iter().map(|file| file.display().to_string()).collect();
        output::line(shown.to_string())?;
    } else if brand.is_completed() {
        output::line(show::trained(&args.name, brand, &files, (session, &args.service), look))?;
    }
    job::ended(brand)
}

#[cfg(test)]
mod tests;
