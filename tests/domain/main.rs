//! The rulebook under any sequence of commands.

mod commands;
mod ids;
mod requests;
mod retries;
