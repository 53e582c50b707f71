use std::sync::Mutex;

use serde_json::Value;
use tracing::{debug, error, info, info_span, warn};

use super::*;
use crate::domain::Timestamp;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2026-03-01T12:00:00.25Z".parse().unwrap()
    }
}

fn lines(look: Look, project: Option<&str>, filter: &str, log: impl FnOnce()) -> Vec<String> {
    let captured = Captured::default();
    let writer = captured.clone();
    let output = LogOutput { look, colours: false, project: project.map(str::to_owned), clock: Arc::new(Noon) };
    let filter = EnvFilter::builder().parse(filter).unwrap();
    tracing::subscriber::with_default(output.subscriber(filter, move || writer.clone()), log);
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

fn json(project: Option<&str>, log: impl FnOnce()) -> Vec<Value> {
    lines(Look::Json, project, "info", log).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_event_carries_the_fields_of_its_spans() {
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let seen = json(Some("my-project"), || {
        let job = info_span!("job", job.id = "ill_1", trace_id, attempt = 1_u64, note = tracing::field::Empty);
        let _job = job.enter();
        let attempt = info_span!("attempt", attempt = 2_u64, span_id = "00f067aa0ba902b7");
        job.record("note", "late");
        attempt.in_scope(|| info!(seconds = 1.5, ok = true, "drawn"));
        info!("outside the inner span");
    });
    let first = &seen[0];
    assert_eq!(first["severity"], "INFO");
    assert_eq!(first["message"], "drawn");
    assert_eq!(first["time"], "2026-03-01T12:00:00.25Z");
    assert_eq!(first["job.id"], "ill_1");
    assert_eq!(first["attempt"], 2, "the inner span wins");
    assert_eq!(first["note"], "late");
    assert_eq!((&first["seconds"], &first["ok"]), (&Value::from(1.5), &Value::from(true)));
    assert_eq!(first["logging.googleapis.com/trace"], format!("projects/my-project/traces/{trace_id}"));
    assert_eq!(first["logging.googleapis.com/spanId"], "00f067aa0ba902b7");
    assert!(first["logging.googleapis.com/sourceLocation"]["file"].as_str().unwrap().ends_with("telemetry/tests.rs"));
    assert!(first["logging.googleapis.com/sourceLocation"]["line"].is_string());
    assert!(first.get("trace_id").is_none());
    assert_eq!(seen[1]["attempt"], 1);
}

#[test]
fn levels_become_severities_of_cloud_logging() {
    let seen = lines(Look::Json, None, "trace", || {
        error!("a");
        warn!("b");
        debug!("c");
        tracing::trace!("d");
        error!(severity = "CRITICAL", "e");
    });
    let severities: Vec<String> = seen
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["severity"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(severities, ["ERROR", "WARNING", "DEBUG", "DEBUG", "CRITICAL"]);
}

#[test]
fn without_a_project_the_trace_is_the_bare_id() {
    let seen = json(None, || info!(trace_id = "ab", "x"));
    assert_eq!(seen[0]["logging.googleapis.com/trace"], "ab");
}

#[test]
fn an_event_is_one_line_and_cannot_replace_the_entrys_keys() {
    let seen = json(None, || info!(time = "1970", text = "two\nlines \u{1b}[31m", "also\ntwo"));
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["message"], "also\ntwo");
    assert_eq!(seen[0]["time"], "2026-03-01T12:00:00.25Z");
}

#[test]
fn an_error_is_written_with_its_causes() {
    let cause = std::io::Error::other("disk full");
    let error = crate::config::ConfigError { problems: Vec::new() };
    let seen = json(None, || {
        error!(error = &cause as &dyn std::error::Error, "a");
        error!(error = &error as &dyn std::error::Error, "b");
    });
    assert_eq!(seen[0]["error"], "disk full");
    assert!(seen[1]["error"].as_str().unwrap().starts_with("invalid configuration"));
}

#[test]
fn disabled_lines_do_not_evaluate_their_fields() {
    let evaluated = std::cell::Cell::new(0);
    let costly = || evaluated.replace(evaluated.get() + 1);
    let written = lines(Look::Json, None, "info", || {
        debug!(costly = costly(), "never");
        info!(costly = costly(), "once");
    });
    assert_eq!((written.len(), evaluated.get()), (1, 1));
}

#[test]
fn text_is_short_and_without_colours_unless_asked() {
    let seen = lines(Look::Text, None, "info", || info!(job.id = "ill_1", "job completed"));
    assert_eq!(seen, ["12:00:00.250Z  INFO job completed job.id=\"ill_1\""]);
}

#[test]
fn rust_log_overrides_the_configuration_and_is_checked() {
    let config = TelemetryConfig { format: LogFormat::Auto, filter: "info".into() };
    let of = |variables: &[(&str, &str)]| filter(&config, &Environment::of(variables.iter().copied()));
    assert_eq!(of(&[]).unwrap().to_string(), "info");
    assert_eq!(of(&[("RUST_LOG", "warn")]).unwrap().to_string(), "warn");
    let error = of(&[("RUST_LOG", "mediaforge=loud")]).unwrap_err().to_string();
    assert!(error.starts_with("RUST_LOG \"mediaforge=loud\" is not a log filter"), "{error}");
}

#[test]
fn a_panic_is_one_critical_line() {
    let seen = json(None, || {
        panics::log_panics();
        let _ = std::panic::catch_unwind(|| panic!("out of\npaint"));
        let _ = std::panic::take_hook();
    });
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["severity"], "CRITICAL");
    assert_eq!(seen[0]["message"], "panicked: out of\npaint");
    assert!(seen[0]["location"].as_str().unwrap().contains("telemetry/tests.rs"));
}
