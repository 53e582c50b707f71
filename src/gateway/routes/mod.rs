//! The routes, one file per noun.

pub(super) mod brands;
pub(super) mod credits;
pub(super) mod docs;
pub(super) mod events;
pub(super) mod generate;
pub(super) mod health;
pub(super) mod illustrations;
pub(super) mod media;
mod shared;
pub(super) mod stream_tokens;
pub(super) mod styles;
pub(super) mod train;
pub(super) mod uploads;
