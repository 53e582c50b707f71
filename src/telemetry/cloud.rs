//! Cloud Logging's structured logs: one JSON object per line, with the keys that become fields of the log entry.
//! <https://cloud.google.com/logging/docs/structured-logging>

use std::{error::Error, fmt, io::Write as _, sync::Arc};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, Scope},
};

use crate::domain::clock::Clock;

/// Writes each event together with the fields of its spans.
///
/// The fields `trace_id` and `span_id` become the entry's trace and span. `severity` overrides the level.
pub(super) struct CloudLogging<W> {
    writer: W,
    project: Option<String>,
    clock: Arc<dyn Clock>,
}

impl<W> CloudLogging<W> {
    pub(super) fn new(writer: W, project: Option<String>, clock: Arc<dyn Clock>) -> Self {
        Self { writer, project, clock }
    }

    fn line(&self, event: &Event<'_>, mut fields: Map<String, Value>) -> Vec<u8> {
        let metadata = event.metadata();
        let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
        let severity = take("severity").unwrap_or_else(|| severity(*metadata.level()).into());
        let message = take("message").unwrap_or_else(|| "".into());
        let trace = take("trace_id").map(|id| self.trace(&id));
        let span_id = take("span_id");
        // Records of the `log` crate carry their location in fields.
        let (target, file, line) = (take("log.target"), take("log.file"), take("log.line"));
        fields.remove("log.module_path");

        let target = target.unwrap_or_else(|| metadata.target().into());
        let file = file.or_else(|| metadata.file().map(Value::from));
        let line = line.or_else(|| metadata.line().map(Value::from));
        let location = file.map(|file| {
            let line = line.map(|line| line.to_string()).unwrap_or_default();
            json!({ "file": file, "line": line, "function": target })
        });
        // A field must not replace one of the entry's own keys.
        fields.remove("time");
        let head = [
            ("severity", Some(severity)),
            ("time", Some(self.clock.now().to_string().into())),
            ("message", Some(message)),
            ("target", Some(target)),
            ("logging.googleapis.com/trace", trace),
            ("logging.googleapis.com/spanId", span_id),
            ("logging.googleapis.com/sourceLocation", location),
        ];
        let head = head.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        object(head.chain(fields))
    }

    fn trace(&self, id: &Value) -> Value {
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        // Without the project Cloud Logging keeps the id, but does not link the entry to its trace.
        match &self.project {
            Some(project) => format!("projects/{project}/traces/{id}").into(),
            None => id.into(),
        }
    }
}

/// One JSON object on one line. The keys keep their order, so that the message is near the start of a raw line.
fn object(entries: impl Iterator<Item = (String, Value)>) -> Vec<u8> {
    let mut line = String::from("{");
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            line.push(',');
        }
        line.push_str(&Value::from(key).to_string());
        line.push(':');
        line.push_str(&value.to_string());
    }
    line.push_str("}\n");
    line.into_bytes()
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        // Cloud Logging has no TRACE.
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

impl<S, W> Layer<S> for CloudLogging<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        // Outermost first, so that the span nearest to the event wins.
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        let line = self.line(event, fields.0);
        // One write for the whole line, so that lines of several threads do not mix. A failure to write to standard error
        // cannot be reported anywhere.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(&line);
    }
}

/// The fields of a span or an event as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        self.0.insert(name.strip_prefix("r#").unwrap_or(name).to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set(field, crate::error::chain(value));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}
