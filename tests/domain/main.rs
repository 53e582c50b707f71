//! The rulebook under any sequence of commands.

mod brands;
mod commands;
mod ids;
mod operations;
mod palettes;
mod requests;
mod retries;
