//! Logs: text on a terminal, Cloud Logging's JSON otherwise. Each event is one line on standard error.

mod cloud;
mod panics;

use std::{io::IsTerminal, sync::Arc};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    fmt::{self, MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{Environment, LogFormat, TelemetryConfig},
    domain::clock::{Clock, SystemClock},
};

/// The format of log lines after [`LogFormat::Auto`] is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Text, with colours on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` or `telemetry.filter` is invalid.
    #[error("{source_name} {text:?} is not a log filter: {cause}")]
    Filter {
        /// `RUST_LOG` or `telemetry.filter`.
        source_name: &'static str,
        text: String,
        cause: tracing_subscriber::filter::ParseError,
    },
    /// The process already has a subscriber.
    #[error("logging is already set up")]
    AlreadySetUp,
}

/// Starts logging for the whole process, including panics. Returns the format of the lines.
pub fn init(config: &TelemetryConfig, environment: &Environment) -> Result<Look, TelemetryError> {
    let terminal = std::io::stderr().is_terminal();
    let look = match config.format {
        LogFormat::Text => Look::Text,
        LogFormat::Auto if terminal => Look::Text,
        LogFormat::Auto | LogFormat::Json => Look::Json,
    };
    let colours = terminal && environment.get("NO_COLOR").is_none();
    let project = environment.get("GOOGLE_CLOUD_PROJECT").map(str::to_owned);
    let output = LogOutput { look, colours, project, clock: Arc::new(SystemClock) };
    let filter = filter(config, environment)?;
    output.subscriber(filter, std::io::stderr).try_init().map_err(|_| TelemetryError::AlreadySetUp)?;
    panics::log_panics();
    Ok(look)
}

fn filter(config: &TelemetryConfig, environment: &Environment) -> Result<EnvFilter, TelemetryError> {
    let (source_name, text) = match environment.get("RUST_LOG") {
        Some(text) => ("RUST_LOG", text),
        None => ("telemetry.filter", config.filter.as_str()),
    };
    let failed = |cause| TelemetryError::Filter { source_name, text: text.to_owned(), cause };
    EnvFilter::builder().parse(text).map_err(failed)
}

struct LogOutput {
    look: Look,
    colours: bool,
    project: Option<String>,
    clock: Arc<dyn Clock>,
}

impl LogOutput {
    fn subscriber<W>(self, filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let layer = match self.look {
            Look::Json => cloud::CloudLogging::new(writer, self.project, self.clock).boxed(),
            Look::Text => fmt::layer()
                .with_ansi(self.colours)
                .with_target(false)
                .with_timer(TimeOfDay(self.clock))
                .with_writer(writer)
                .boxed(),
        };
        tracing_subscriber::registry().with(filter).with(layer)
    }
}

/// Formats times like `20:31:05.123Z`: on a terminal the date would be noise.
struct TimeOfDay(Arc<dyn Clock>);

impl FormatTime for TimeOfDay {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}Z", self.0.now().strftime("%H:%M:%S%.3f"))
    }
}

#[cfg(test)]
mod tests;
