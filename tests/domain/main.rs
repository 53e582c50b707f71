//! The domain's rules, mostly as properties over any sequence of commands.

mod archives;
mod brands;
mod breakers;
mod commands;
mod ids;
mod operations;
mod palettes;
mod requests;
mod retries;
mod styles;
mod waiting;
