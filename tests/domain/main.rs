//! The rulebook under any sequence of commands.

mod commands;
mod ids;
mod palettes;
mod requests;
mod retries;
