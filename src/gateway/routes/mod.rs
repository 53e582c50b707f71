//! The routes, one file per noun.

pub(super) mod credits;
pub(super) mod docs;
pub(super) mod events;
pub(super) mod generate;
pub(super) mod health;
pub(super) mod jobs;
pub(super) mod media;
pub(super) mod stream_tokens;
pub(super) mod styles;
mod submit;
pub(super) mod train;
pub(super) mod uploads;
