//! What a refusal means: what is tried again and when, what never, and what only an operator can help.

use std::time::Duration;

use serde_json::Value;

use super::{exchange::Reply, safety};
use crate::domain::failure::{AttemptFailure, Disposition, ErrorCode};

/// Characters of a provider's own words, at most.
const WORDS: usize = 300;

/// Longer waits than this are not a provider's to ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What was asked of Vertex AI, so that an error can name what to change.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The section of the configuration that it comes from.
    pub(super) section: &'a str,
    pub(super) project: &'a str,
    pub(super) location: &'a str,
    pub(super) model: &'a str,
}

/// What a refusal of Vertex AI means.
pub(super) fn of_vertex(reply: &Reply, asked: Asked<'_>) -> AttemptFailure {
    let error = Refusal::read(reply);
    let Asked { section, project, location, model } = asked;
    let said = error.said();
    let misconfigured = AttemptFailure::misconfigured;
    match reply.status {
        400 if error.status == "FAILED_PRECONDITION" || error.names("constraints/") => misconfigured(format!(
            "Vertex AI does not serve {model} to project {project} in {location}; look at its billing, its region \
             ({section}.location) and its policies{said}"
        )),
        400 if error.is_policy_block() => blocked("Vertex AI", &error),
        401 => misconfigured(format!("Vertex AI refuses the credentials of this process{said}")),
        403 => misconfigured(match error.reason() {
            Some("SERVICE_DISABLED") => {
                format!("the API aiplatform.googleapis.com is off in project {project}; enable it{said}")
            }
            Some("BILLING_DISABLED") => format!("project {project} has no billing; enable it{said}"),
            Some("ACCESS_TOKEN_SCOPE_INSUFFICIENT") => {
                format!("the credentials lack the scope cloud-platform{said}")
            }
            _ => format!(
                "the service account may not use {model} in project {project}; grant it roles/aiplatform.user{said}"
            ),
        }),
        404 => misconfigured(format!(
            "Vertex AI has no model {model} in {location} for project {project}; choose another {section}.model or \
             {section}.location{said}"
        )),
        429 => AttemptFailure::throttled(format!("Vertex AI has too many requests{said}"), error.after),
        status => by_status("Vertex AI", status, &error, section),
    }
}

/// What a refusal of a server means that speaks as `OpenAI` does. `section` is where it is configured.
pub(super) fn of_openai(reply: &Reply, who: &str, section: &str, model: &str) -> AttemptFailure {
    let error = Refusal::read(reply);
    let said = error.said();
    let misconfigured = AttemptFailure::misconfigured;
    match (reply.status, error.code.as_str()) {
        (400 | 402 | 403 | 429, "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active")
        | (402, _) => misconfigured(format!("{who} wants its bill paid first{said}")),
        (400 | 403 | 422, code) if is_moderation(code) || error.is_policy_block() => blocked(who, &error),
        (400 | 404, "model_not_found") => {
            misconfigured(format!("{who} has no model {model}; choose another {section}.model{said}"))
        }
        (401, _) => misconfigured(format!("{who} refuses the key; look at {section}.key{said}")),
        (403, _) => misconfigured(format!("{who} does not let this key use {model}; look at {section}.key{said}")),
        (404, _) => misconfigured(format!("{who} knows neither its address nor {model}; look at [{section}]{said}")),
        (429, _) => AttemptFailure::throttled(format!("{who} has too many requests{said}"), error.after),
        (status, _) => by_status(who, status, &error, section),
    }
}

/// Whether it is the model that is missing, and not what was asked about it.
pub(super) fn names_model(reply: &Reply) -> bool {
    Refusal::read(reply).code == "model_not_found"
}

/// What is the same for everybody.
fn by_status(who: &str, status: u16, error: &Refusal, section: &str) -> AttemptFailure {
    let said = error.said();
    match status {
        400 | 413 | 422 => AttemptFailure::fail(ErrorCode::InvalidRequest, format!("{who} cannot draw this{said}")),
        408 | 499 | 504 => {
            later(ErrorCode::EngineTimeout, format!("{who} took too long ({status}){said}"), error.after)
        }
        409 | 425 | 500..=599 => {
            later(ErrorCode::EngineUnavailable, format!("{who} does not work for now ({status}){said}"), error.after)
        }
        // Nothing here follows redirects, and nothing else is an answer to these requests: another server answers.
        _ => AttemptFailure::misconfigured(format!("{who} answers {status}; look at the address in [{section}]{said}")),
    }
}

fn later(code: ErrorCode, message: String, after: Option<Duration>) -> AttemptFailure {
    AttemptFailure { disposition: Disposition::Retry { after }, ..AttemptFailure::retry(code, message) }
}

fn blocked(who: &str, error: &Refusal) -> AttemptFailure {
    let categories = safety::categories(&error.message);
    let detail = if categories.is_empty() { error.said() } else { format!(": {categories}") };
    AttemptFailure::fail(ErrorCode::ContentFiltered, format!("{who} refuses the prompt for its content{detail}"))
}

fn is_moderation(code: &str) -> bool {
    matches!(code, "content_policy_violation" | "moderation_blocked" | "content_filter" | "contentFilter")
}

/// A refusal in the words of whoever refuses.
struct Refusal {
    message: String,
    /// Google's `status`.
    status: String,
    /// `OpenAI`'s `code`.
    code: String,
    details: Vec<Value>,
    after: Option<Duration>,
}

impl Refusal {
    fn read(reply: &Reply) -> Self {
        let mut body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        // A stream of answers is an array.
        if let Some(first) = body.as_array_mut().and_then(|answers| answers.first_mut()) {
            body = first.take();
        }
        let error = &body["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let message = [&error["message"], error, &body["message"], &body["detail"]]
            .into_iter()
            .find_map(Value::as_str)
            .unwrap_or_default();
        let details = error["details"].as_array().cloned().unwrap_or_default();
        let after = retry_after(reply).max(retry_delay(&details)).map(|after| after.min(LONGEST_WAIT));
        Self { message: message.to_owned(), status: text(&error["status"]), code: text(&error["code"]), details, after }
    }

    /// The message behind a colon, made fit for one line and bounded; nothing when there is none.
    fn said(&self) -> String {
        let words = bounded(&self.message);
        if words.is_empty() { words } else { format!(": {words}") }
    }

    fn reason(&self) -> Option<&str> {
        let info = self.details.iter().find(|detail| is_a(detail, "google.rpc.ErrorInfo"))?;
        info["reason"].as_str()
    }

    fn names(&self, what: &str) -> bool {
        self.message.to_ascii_lowercase().contains(what)
    }

    fn is_policy_block(&self) -> bool {
        const SAYS_SO: [&str; 6] = [
            "responsible ai",
            "sensitive words",
            "content policy",
            "usage guidelines",
            "safety system",
            "safety filter",
        ];
        safety::has_codes(&self.message) || SAYS_SO.iter().any(|words| self.names(words))
    }
}

/// Words of a provider for a message of ours: one line, no control characters, not too many.
pub(super) fn bounded(words: &str) -> String {
    let is_gap = |c: char| c.is_whitespace() || c.is_control();
    let line = words.split(is_gap).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let mut bounded: String = line.chars().take(WORDS).collect();
    if bounded.len() < line.len() {
        bounded.push('…');
    }
    bounded.trim_end_matches('.').to_owned()
}

fn is_a(detail: &Value, name: &str) -> bool {
    detail["@type"].as_str().is_some_and(|kind| kind.ends_with(name))
}

/// `RetryInfo.retryDelay` as `12s` or `0.5s`.
fn retry_delay(details: &[Value]) -> Option<Duration> {
    let info = details.iter().find(|detail| is_a(detail, "google.rpc.RetryInfo"))?;
    let seconds: f64 = info["retryDelay"].as_str()?.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// `Retry-After` in seconds or as a date, which is taken from the server's own `Date`, so that no clock need be right.
fn retry_after(reply: &Reply) -> Option<Duration> {
    let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let after = header("retry-after")?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let (until, now) = (moment(after)?, moment(header("date")?)?);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers = [(&'static str, &'static str)];

    fn reply(status: u16, headers: &Headers, body: &str) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        Reply { status, headers, body: body.to_owned().into() }
    }

    #[test]
    fn a_provider_says_when_to_come_back_in_three_ways() {
        let details =
            r#"{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12.5s"}]}}"#;
        let now = ("date", "Tue, 24 Nov 2026 10:00:00 GMT");
        let cases: [(&Headers, &str, Option<u64>); 8] = [
            (&[], "", None),
            (&[("retry-after", "7")], "not json", Some(7_000)),
            (&[("retry-after", "Tue, 24 Nov 2026 10:00:30 GMT"), now], "", Some(30_000)),
            (&[("retry-after", "Tue, 24 Nov 2026 09:00:30 GMT"), now], "", Some(0)),
            (&[("retry-after", "soon")], "", None),
            (&[], details, Some(12_500)),
            (&[("retry-after", "60")], details, Some(60_000)),
            (&[("retry-after", "99999999999")], "", Some(3_600_000)),
        ];
        for (headers, body, millis) in cases {
            let after = Refusal::read(&reply(429, headers, body)).after;
            assert_eq!(after, millis.map(Duration::from_millis), "{headers:?} {body}");
        }
    }

    #[test]
    fn words_are_one_line_and_bounded() {
        assert_eq!(bounded("Two\n lines.\u{7}"), "Two lines");
        assert_eq!(bounded(&"ä".repeat(1000)).chars().count(), WORDS + 1);
        assert_eq!(bounded(""), "");
    }

    #[test]
    fn a_message_is_found_wherever_a_server_puts_it() {
        for body in [
            r#"{"error":{"message":"no"}}"#,
            r#"{"error":"no"}"#,
            r#"{"message":"no"}"#,
            r#"{"detail":"no"}"#,
            r#"[{"error":{"message":"no"}}]"#,
        ] {
            assert_eq!(Refusal::read(&reply(400, &[], body)).said(), ": no", "{body}");
        }
    }
}
