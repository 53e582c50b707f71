//! The real binary, used over HTTP, events, command line and signals.

#[path = "../support/mod.rs"]
mod support;

mod abuse;
#[path = "../support/archives.rs"]
mod archives;
mod backstage;
mod bench;
mod cli;
mod crashes;
mod delivery;
mod engines;
mod flow;
mod google_cloud;
mod log;
mod operator;
#[path = "../support/output.rs"]
mod output;
mod provision;
mod shutdown;
mod startup;
mod storage;
mod train_cli;
#[cfg(unix)]
mod trainers;
mod training;
mod uploads;
