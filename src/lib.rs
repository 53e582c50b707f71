//! `MediaForge` turns slow AI image work into jobs that are accepted in milliseconds, never lost, never charged twice,
//! never stuck, and watched live.
//!
//! Public items of the domain and of the ports are documented; elsewhere only what a name does not say.
//!
//! Imports point one way: `cli → app → {gateway, worker} → jobs → {store, queue, media, engine} → domain`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

pub mod app;
pub mod cli;
pub mod config;
#[warn(missing_docs)]
pub mod domain;
pub mod embedded;
#[warn(missing_docs)]
pub mod engine;
#[warn(missing_docs)]
pub mod error;
pub mod failpoint;
pub mod gateway;
pub mod google;
pub mod http;
pub mod identity;
pub mod intercept;
pub mod jobs;
pub mod lifecycle;
#[warn(missing_docs)]
pub mod media;
pub mod net;
#[cfg(feature = "google-cloud")]
pub mod provision;
#[warn(missing_docs)]
pub mod queue;
pub mod server;
#[warn(missing_docs)]
pub mod store;
pub mod telemetry;
pub mod worker;

/// Runs the `mediaforge` command to its end.
///
/// The binary calls only this: a crate that polls a future compiles that future and everything it awaits again.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::report_start_failure(&error),
    };
    let exit = runtime.block_on(cli::run(cli, config::Environment::of_process()));
    // All work has ended by now. A thread that still reads from a terminal must not delay the exit.
    runtime.shutdown_background();
    exit
}
