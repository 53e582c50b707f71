//! The command line: one file or folder per command. The only module that prints.
#![expect(clippy::doc_markdown, reason = "these doc comments are help texts")]

mod bench;
mod completions;
mod config;
mod credits;
mod doctor;
mod exit;
mod generate;
mod job;
mod output;
#[cfg(feature = "google-cloud")]
mod provision;
mod serve;
mod team;
mod train;

use std::{path::PathBuf, process::ExitCode};

use clap::{
    Args, Parser, Subcommand,
    builder::{Styles, styling::AnsiColor},
};

pub use exit::{Exit, Failure};

use crate::config::{ConfigError, Environment, Flag, Loaded, Roles, Sources, load};
use crate::error::BackendError;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  mediaforge serve                                  run the whole system on this machine
  mediaforge generate \"a lighthouse at dawn\"        save a picture in the current directory
  mediaforge train \"Acme\" img/*.png                 train a style from your pictures
  mediaforge doctor engine                          test the engine and show its price
  mediaforge config                                 show every setting and where it came from

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration. `generate --help` lists more.";

/// Turn prompts into pictures, as jobs that are never lost and never charged twice
#[derive(Debug, Parser)]
#[command(name = "mediaforge", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 100)]
#[command(propagate_version = false, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Configuration")]
struct GlobalArgs {
    /// The directory of jobs and pictures [env: MEDIAFORGE_DATA_DIR] [default: the user's data directory]
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
    /// The set of defaults: local, gcp or test [env: MEDIAFORGE_PROFILE] [default: local]
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// A TOML file that overrides the defaults [env: MEDIAFORGE_CONFIG]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Generate(generate::GenerateArgs),
    Train(train::TrainArgs),
    Credits(credits::CreditsArgs),
    Team(team::TeamArgs),
    Doctor(doctor::DoctorArgs),
    #[cfg(feature = "google-cloud")]
    Provision(provision::ProvisionArgs),
    Bench(bench::BenchArgs),
    Config(config::ConfigArgs),
    Completions(completions::CompletionsArgs),
}

/// Runs the command, prints its error and returns the exit code.
pub async fn run(cli: Cli, environment: Environment) -> ExitCode {
    let invocation = Invocation { global: cli.global, environment };
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(args, &invocation).await,
        Command::Generate(args) => generate::run(args, &invocation).await,
        Command::Train(args) => train::run(args, &invocation).await,
        Command::Credits(args) => credits::run(args, &invocation).await,
        Command::Team(args) => team::run(args, &invocation).await,
        Command::Doctor(args) => doctor::run(args, &invocation).await,
        #[cfg(feature = "google-cloud")]
        Command::Provision(args) => provision::run(&args, &invocation).await,
        Command::Bench(args) => bench::run(args, &invocation).await,
        Command::Config(args) => config::run(&args, &invocation),
        Command::Completions(args) => completions::run(&args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::error(&error);
            exit_of(&error).into()
        }
    }
}

/// Reports that the runtime cannot start.
pub fn report_start_failure(error: &std::io::Error) -> ExitCode {
    output::error(&anyhow::anyhow!("cannot start threads: {error}"));
    Exit::Failed.into()
}

fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        failure.exit
    } else if error.is::<ConfigError>() {
        Exit::Usage
    } else if error.downcast_ref::<BackendError>().is_some_and(BackendError::is_transient) {
        Exit::Unavailable
    } else {
        Exit::Failed
    }
}

/// What every command gets besides its own arguments.
struct Invocation {
    global: GlobalArgs,
    environment: Environment,
}

impl Invocation {
    /// Loads the configuration for `roles`; `flags` are the settings that the command itself has as flags.
    fn load(&self, roles: Option<Roles>, mut flags: Vec<Flag>) -> Result<Loaded, ConfigError> {
        if let Some(dir) = &self.global.data_dir {
            // Invalid Unicode becomes U+FFFD, which no setting accepts.
            let value = dir.to_string_lossy().into_owned();
            flags.push(Flag { name: "--data-dir", key: "data_dir", value });
        }
        load(&Sources {
            environment: self.environment.clone(),
            profile: self.global.profile.clone(),
            file: self.global.config.clone(),
            flags,
            roles,
        })
    }
}

#[cfg(test)]
mod tests;
