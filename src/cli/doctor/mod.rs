//! `mediaforge doctor`

mod credentials;
mod engine;
mod findings;

use clap::{Args, Subcommand};

use super::{Exit, Invocation};

/// Test a part of the system
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct DoctorArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Engine(engine::EngineArgs),
}

pub(super) async fn run(args: DoctorArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    match args.command {
        Command::Engine(args) => engine::run(args, invocation).await,
    }
}
