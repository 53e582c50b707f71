//! Fail points: places where a test can make the process crash.
//!
//! `CRASH_AT=name` aborts the process when it first reaches the fail point `name`, `CRASH_AT=name:3` the third time. A
//! release build has no fail points.

/// Aborts the process here, without destructors and without a flush, if `CRASH_AT` names this fail point.
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

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn failpoint(_name: &str) {}
