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
/// Checks the pictures, uploads them, lets the service check them, and trains. The training costs nothing until every
/// picture is accepted. Uses the gateway at --url, or the one that runs on this machine; if none is running, the command
/// runs the whole system. After an interrupt or a timeout the training continues, and the command prints its id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge train \"Acme\" img/*.png --dry-run
  mediaforge train \"Acme\" img/*.png --color \"#ff6600\" --color \"#003366\" -o samples/
  mediaforge train \"Acme\" img/*.png --json | jq -r .brandId
  mediaforge train \"Acme\" dataset.zip
  mediaforge generate \"a lighthouse at dawn\" --style Acme

Exit codes: as in `mediaforge generate --help`; 2 also if pictures are not fit for training.")]
pub(super) struct TrainArgs {
    /// The name of the brand
    #[arg(value_name = "NAME")]
    name: String,
    /// Pictures to learn from: PNG, JPEG or WebP, or zip archives of them
    #[arg(value_name = "IMAGES", required = true, value_hint = clap::ValueHint::FilePath)]
    images: Vec<PathBuf>,
    /// A colour of the brand, for example "#ff6600"; can be repeated
    #[arg(short, long = "color", alias = "colour", value_name = "#RRGGBB", help_heading = "Training")]
    colors: Vec<Rgb>,
    /// Only check the pictures and show the price
    #[arg(long, help_heading = "Training")]
    dry_run: bool,
    /// Directory for the sample pictures, created if missing [default: do not save them]
    #[arg(short, long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Output")]
    output: Option<PathBuf>,
    /// Print one JSON object: the brand, with the paths of saved samples in "files"; for a dry run the verdicts
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Do not show progress
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(super) async fn run(args: TrainArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    // First, because most mistakes can be found without the service.
    let pictures = pictures::check_all(&args.images)?;
    if let Some(dir) = args.output.as_ref().filter(|_| !args.service.detach && !args.dry_run) {
        job::save::prepare(dir).await?;
    }
    let palette_style = show::PaletteStyle::of(&invocation.environment);
    job::with_service(&args.service, invocation, async |session| train(&args, &pictures, palette_style, session).await)
        .await
}

async fn train(
    args: &TrainArgs,
    pictures: &[Picture],
    palette_style: show::PaletteStyle,
    session: &mut Session<'_>,
) -> anyhow::Result<Exit> {
    const KIND: JobKind = JobKind::Brand;
    // Each upload gets a new id, so a repeated command must find its training before it uploads.
    let earlier = if args.dry_run { None } else { session.find_earlier_job(KIND).await? };
    let id = match earlier {
        Some(id) => {
            output::note(format!("{id} was already submitted with this key"));
            id
        }
        None => match prepare(args, pictures, session).await? {
            Some(request) => session.submit(KIND, &request).await?,
            None => return Ok(Exit::Done),
        },
    };
    if args.service.detach {
        job::print_accepted(KIND, &id, args.json)?;
        return Ok(Exit::Done);
    }
    match session.follow(KIND, &id, args.quiet).await? {
        Ok(brand) => finish(args, palette_style, session, &brand).await,
        Err(exit) => {
            job::print_accepted(KIND, &id, args.json)?;
            Ok(exit)
        }
    }
}

/// Uploads the pictures and lets the service check them. Returns the request to submit, or `None` for a dry run.
async fn prepare(args: &TrainArgs, pictures: &[Picture], session: &mut Session<'_>) -> anyhow::Result<Option<Value>> {
    let api = session.api;
    let work = async {
        let uploads = upload::upload_all(api, pictures, args.quiet).await?;
        let request = request(args, &uploads, api.user());
        let dataset: Dataset = api
            .with_retries(async || api.post(JobKind::Brand.submit_path(), &[("dryRun", "true")], &request).await)
            .await?;
        anyhow::Ok((request, uploads, dataset))
    };
    let (request, uploads, dataset) =
        session.unless_stopped(work, "nothing was trained, and the uploads expire by themselves").await?;
    let accepted = dataset.accepted;
    let report = dataset.report(pictures, &uploads);
    if args.json && (args.dry_run || !accepted) {
        output::line(report.json().to_string())?;
    } else if args.dry_run {
        output::line(report.table(show::stdout_is_terminal()))?;
    } else if !accepted || !args.quiet {
        output::note(report.table(show::stderr_is_terminal()));
    }
    if !accepted {
        let message = format!("{} of {} pictures are not fit for training", report.unfit(), report.len());
        return Err(Failure::new(Exit::Usage, message)
            .hint("nothing was charged; leave these pictures out or replace them")
            .into());
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

/// Saves the samples if `-o` is given, prints the brand and returns the exit code.
async fn finish(
    args: &TrainArgs,
    palette_style: show::PaletteStyle,
    session: &mut Session<'_>,
    brand: &Job,
) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    if let Some(dir) = args.output.as_ref().filter(|_| brand.is_completed()) {
        let saving = job::save::save_pictures(session.api, (&brand.id, &brand.sample_urls), &args.name, dir);
        files = session.save(&brand.id, saving).await?;
    }
    if args.json {
        let mut shown = brand.raw.clone();
        shown["files"] = files.iter().map(|file| file.display().to_string()).collect();
        output::line(shown.to_string())?;
    } else if brand.is_completed() {
        output::line(show::summary(&args.name, brand, &files, (session, &args.service), palette_style))?;
    }
    job::exit_of(brand)
}

#[cfg(test)]
mod tests;
