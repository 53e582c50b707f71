//! The `mediaforge` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mediaforge::{
    cli::{self, Cli},
    config::Environment,
};

// Jobs are many small pieces of memory, made on one thread and freed on another: the system's allocator spends a sixth of
// the processor's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::report_start_failure(&error),
    };
    let exit = runtime.block_on(cli::run(cli, Environment::of_process()));
    // Everything that matters has ended; a thread that waits for somebody at a terminal must not hold up the exit.
    runtime.shutdown_background();
    exit
}
