//! The `mediaforge` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mediaforge::{
    cli::{self, Cli},
    config::Environment,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::cannot_begin(&error),
    };
    let exit = runtime.block_on(cli::run(cli, Environment::of_process()));
    // Everything that matters has ended; a thread that waits for somebody at a terminal must not hold up the exit.
    runtime.shutdown_background();
    exit
}
