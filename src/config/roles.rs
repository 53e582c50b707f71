//! The roles that one process takes.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Accepts jobs over HTTP.
    pub gateway: bool,
    /// Runs jobs.
    pub worker: bool,
}

impl Roles {
    /// Both roles in one process.
    pub const ALL: Self = Self { gateway: true, worker: true };
    /// The HTTP API alone.
    pub const GATEWAY: Self = Self { gateway: true, worker: false };
    /// The worker alone.
    pub const WORKER: Self = Self { gateway: false, worker: true };
}
