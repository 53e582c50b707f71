//! `MediaForge`: slow AI image work as jobs that are accepted in milliseconds, never lost, never charged twice, never
//! stuck, and watched live.
//!
//! Imports point one way: `cli → app → {gateway, worker} → jobs → {store, queue, media, engine} → domain`.
#![forbid(unsafe_code)]

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod embedded;
pub mod engine;
pub mod error;
pub mod failpoint;
pub mod gateway;
pub mod google;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod lifecycle;
pub mod media;
pub mod net;
pub mod queue;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod worker;
