//! The rulebook under any sequence of commands.

mod brands;
mod commands;
mod ids;
mod palettes;
mod requests;
mod retries;
