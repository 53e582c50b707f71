//! What one process does.

/// The roles of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Accepts jobs over HTTP.
    pub gateway: bool,
    /// Works on them.
    pub worker: bool,
}

impl Roles {
    /// Everything in one process.
    pub const ALL: Self = Self { gateway: true, worker: true };
    /// The HTTP API alone.
    pub const GATEWAY: Self = Self { gateway: true, worker: false };
    /// The worker alone.
    pub const WORKER: Self = Self { gateway: false, worker: true };
}
