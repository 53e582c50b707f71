//! A panic as one log line: the default hook prints several, which Cloud Logging takes for unrelated entries.

use std::panic::PanicHookInfo;

/// Logs every panic of this process from now on. Where errors are not logged at all, the hook before stays in charge.
pub(super) fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(
        move |info| {
            if tracing::enabled!(tracing::Level::ERROR) { log(info) } else { before(info) }
        },
    ));
}

fn log(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!(severity = "CRITICAL", location, thread, "panicked: {message}");
}
