//! Fail points: places at which a test ends the process as a crash would.
//!
//! `CRASH_AT=name` ends it the first time it comes by, `CRASH_AT=name:3` the third time. A release build has none of it.

/// Ends the process here, without destructors and without a flush, when the environment says so.
#[cfg(debug_assertions)]
pub fn failpoint(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };
    static PLAN: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("CRASH_AT").ok()?;
        let (name, times) = plan.split_once(':').unwrap_or((&plan, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().unwrap_or(1))))
    });
    if let Some((at, left)) = plan
        && at == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn failpoint(_name: &str) {}
