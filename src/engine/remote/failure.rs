//! What a provider's refusal means: whether and when to try again, and what only an operator can repair.

use std::time::Duration;

use serde_json::Value;

use super::safety;
use crate::{
    domain::failure::{AttemptFailure, Disposition, ErrorCode},
    google::rest::ApiError,
    http::{HttpResponse, excerpt, retry_after},
};

pub(super) const VERTEX_AI: &str = "Vertex AI";

/// A call of Vertex AI, so that an error can name what to change.
#[derive(Clone, Copy)]
pub(super) struct VertexCall<'a> {
    /// The section of the configuration that it comes from.
    pub(super) section: &'a str,
    pub(super) project: &'a str,
    pub(super) location: &'a str,
    pub(super) model: &'a str,
}

/// What a refusal of Vertex AI means.
pub(super) fn of_vertex(response: &HttpResponse, call: VertexCall<'_>) -> AttemptFailure {
    let error = ApiError::read(&response.body);
    let refusal = Refusal { after: error.retry_after(response), code: String::new(), message: error.message.clone() };
    let VertexCall { section, project, location, model } = call;
    let detail = refusal.detail();
    let misconfigured = AttemptFailure::misconfigured;
    match response.status {
        400 if error.status == "FAILED_PRECONDITION" || refusal.mentions("constraints/") => misconfigured(format!(
            "Vertex AI does not serve {model} to project {project} in {location}; look at its billing, its region \
             ({section}.location) and its policies{detail}"
        )),
        400 if refusal.is_policy_block() => blocked(VERTEX_AI, &refusal),
        401 => misconfigured(format!("Vertex AI refuses the credentials of this process{detail}")),
        403 => misconfigured(match error.reason() {
            Some("SERVICE_DISABLED") => {
                format!("the API aiplatform.googleapis.com is off in project {project}; enable it{detail}")
            }
            Some("BILLING_DISABLED") => format!("project {project} has no billing; enable it{detail}"),
            Some("ACCESS_TOKEN_SCOPE_INSUFFICIENT") => {
                format!("the credentials lack the scope cloud-platform{detail}")
            }
            _ => format!(
                "the service account may not use {model} in project {project}; grant it roles/aiplatform.user{detail}"
            ),
        }),
        404 => misconfigured(format!(
            "Vertex AI has no model {model} in {location} for project {project}; choose another {section}.model or \
             {section}.location{detail}"
        )),
        429 => AttemptFailure::throttled(format!("Vertex AI has too many requests{detail}"), refusal.after),
        status => by_status(VERTEX_AI, status, &refusal, section),
    }
}

/// What a refusal of a server that implements `OpenAI`'s API means. `section` is where it is configured.
pub(super) fn of_openai(response: &HttpResponse, server: &str, section: &str, model: &str) -> AttemptFailure {
    let refusal = Refusal::read(response);
    let detail = refusal.detail();
    let misconfigured = AttemptFailure::misconfigured;
    match (response.status, refusal.code.as_str()) {
        (400 | 402 | 403 | 429, "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active")
        | (402, _) => misconfigured(format!("{server} wants its bill paid first{detail}")),
        (400 | 403 | 422, code) if is_moderation(code) || refusal.is_policy_block() => blocked(server, &refusal),
        (400 | 404, "model_not_found") => {
            misconfigured(format!("{server} has no model {model}; choose another {section}.model{detail}"))
        }
        (401, _) => misconfigured(format!("{server} refuses the key; look at {section}.key{detail}")),
        (403, _) => misconfigured(format!("{server} does not let this key use {model}; look at {section}.key{detail}")),
        (404, _) => {
            misconfigured(format!("{server} knows neither its address nor {model}; look at [{section}]{detail}"))
        }
        (429, _) => AttemptFailure::throttled(format!("{server} has too many requests{detail}"), refusal.after),
        (status, _) => by_status(server, status, &refusal, section),
    }
}

/// Whether the refusal says that the model does not exist, and not the address.
pub(super) fn is_unknown_model(response: &HttpResponse) -> bool {
    Refusal::read(response).code == "model_not_found"
}

/// What a status means, whichever the provider.
fn by_status(server: &str, status: u16, refusal: &Refusal, section: &str) -> AttemptFailure {
    let detail = refusal.detail();
    match status {
        400 | 413 | 422 => {
            AttemptFailure::fail(ErrorCode::InvalidRequest, format!("{server} cannot draw this{detail}"))
        }
        408 | 499 | 504 => {
            retry_later(ErrorCode::EngineTimeout, format!("{server} took too long ({status}){detail}"), refusal.after)
        }
        409 | 425 | 500..=599 => {
            let message = format!("{server} does not work for now ({status}){detail}");
            retry_later(ErrorCode::EngineUnavailable, message, refusal.after)
        }
        // The client follows no redirects, and these APIs have no other status: another server answers.
        _ => AttemptFailure::misconfigured(format!(
            "{server} answers {status}; look at the address in [{section}]{detail}"
        )),
    }
}

fn retry_later(code: ErrorCode, message: String, after: Option<Duration>) -> AttemptFailure {
    AttemptFailure { disposition: Disposition::Retry { after }, ..AttemptFailure::retry(code, message) }
}

fn blocked(server: &str, refusal: &Refusal) -> AttemptFailure {
    let categories = safety::categories(&refusal.message);
    let detail = if categories.is_empty() { refusal.detail() } else { format!(": {categories}") };
    AttemptFailure::fail(ErrorCode::ContentFiltered, format!("{server} refuses the prompt for its content{detail}"))
}

fn is_moderation(code: &str) -> bool {
    matches!(code, "content_policy_violation" | "moderation_blocked" | "content_filter" | "contentFilter")
}

/// A provider's refusal.
struct Refusal {
    message: String,
    /// `OpenAI`'s `code`; empty for Google.
    code: String,
    after: Option<Duration>,
}

impl Refusal {
    /// Reads a refusal in `OpenAI`'s shape, or in those of servers that resemble it.
    fn read(response: &HttpResponse) -> Self {
        let mut body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if let Some(first) = body.as_array_mut().and_then(|answers| answers.first_mut()) {
            body = first.take();
        }
        let error = &body["error"];
        let messages = [&error["message"], error, &body["message"], &body["detail"]];
        let message = messages.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned();
        let code = error["code"].as_str().unwrap_or_default().to_owned();
        Self { message, code, after: retry_after(&response.headers) }
    }

    /// The message, fit for one line, after a colon; empty when there is none.
    fn detail(&self) -> String {
        let message = excerpt(&self.message);
        if message.is_empty() { message } else { format!(": {message}") }
    }

    fn mentions(&self, words: &str) -> bool {
        self.message.to_ascii_lowercase().contains(words)
    }

    fn is_policy_block(&self) -> bool {
        const PHRASES: [&str; 6] = [
            "responsible ai",
            "sensitive words",
            "content policy",
            "usage guidelines",
            "safety system",
            "safety filter",
        ];
        safety::has_codes(&self.message) || PHRASES.iter().any(|words| self.mentions(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_wherever_a_server_puts_it() {
        for body in [
            r#"{"error":{"message":"no"}}"#,
            r#"{"error":"no"}"#,
            r#"{"message":"no"}"#,
            r#"{"detail":"no"}"#,
            r#"[{"error":{"message":"no"}}]"#,
        ] {
            let response = HttpResponse { status: 400, headers: http::HeaderMap::new(), body: body.into() };
            assert_eq!(Refusal::read(&response).detail(), ": no", "{body}");
        }
    }
}
