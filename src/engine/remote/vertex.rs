//! A publisher's models on Vertex AI: their addresses, and calls of them.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use url::Url;

use super::{
    super::failures,
    Access, brief,
    failure::{self, VERTEX_AI, VertexCall},
};
use crate::{config::Config, domain::failure::AttemptFailure, google::rest::RestClient, http::Limits};

/// Google's models in a project and a region.
pub(super) struct Vertex {
    rest: RestClient,
    project: Option<String>,
    limits: Limits,
    /// The section of the configuration, for messages.
    section: &'static str,
    location: String,
    base: Url,
}

impl Vertex {
    /// `endpoint` replaces Google's own address.
    pub(super) fn new(access: &Access, section: &'static str, location: &str, endpoint: Option<&Url>) -> Self {
        Self {
            rest: RestClient::new(access.http.clone(), Some(access.tokens.clone())),
            project: access.project.clone(),
            limits: access.limits,
            section,
            location: location.to_owned(),
            base: endpoint.cloned().unwrap_or_else(|| google_address(location)),
        }
    }

    /// `POST …/models/{model}:{verb}`; the body of the response.
    pub(super) async fn call(
        &self,
        model: &str,
        verb: &str,
        body: &Value,
        attempt: u32,
    ) -> Result<Bytes, AttemptFailure> {
        let Some(project) = self.project.as_deref() else {
            return Err(AttemptFailure::misconfigured(format!("[{}] needs gcp.project to be set", self.section)));
        };
        let method = format!("{model}:{verb}");
        let path = ["v1", "projects", project, "locations", &self.location, "publishers", "google", "models", &method];
        let (address, body) = (self.address(&path), Bytes::from(body.to_string()));
        let request = |client: &Client| {
            let request = client.post(address.clone()).header(CONTENT_TYPE, "application/json; charset=utf-8");
            request.body(body.clone())
        };
        self.send(model, self.limits, attempt, request).await
    }

    /// Fails when the model is not published.
    pub(super) async fn check(&self, model: &str) -> Result<Option<String>, AttemptFailure> {
        let address = self.address(&["v1", "publishers", "google", "models", model]);
        self.send(model, brief(self.limits), 1, |client| client.get(address.clone())).await.map(|_| None)
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut address = self.base.clone();
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        address
    }

    async fn send(
        &self,
        model: &str,
        limits: Limits,
        attempt: u32,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Bytes, AttemptFailure> {
        let sent = self.rest.send(limits, request).await;
        let response = sent.map_err(|error| failures::of_rest(VERTEX_AI, &error, attempt))?;
        if response.is_success() {
            return Ok(response.body);
        }
        let project = self.project.as_deref().unwrap_or_default();
        let call = VertexCall { section: self.section, project, location: &self.location, model };
        Err(failure::of_vertex(&response, call))
    }
}

/// Where a section's models are, for operators.
pub(super) fn location(config: &Config, location: &str, endpoint: Option<&Url>) -> Vec<(&'static str, String)> {
    let project = config.gcp.project.clone().unwrap_or_else(|| "not set (gcp.project)".to_owned());
    let mut lines = vec![("project", project), ("location", location.to_owned())];
    lines.extend(endpoint.map(|endpoint| ("address", endpoint.to_string())));
    lines
}

/// Google's address for a region, or for `global`.
fn google_address(location: &str) -> Url {
    let host = match location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    let mut address = Url::parse("https://aiplatform.googleapis.com").unwrap_or_else(|_| unreachable!("a constant"));
    // A region that cannot be part of a host name leaves the global address, which then reports an unknown region.
    let _ = address.set_host(Some(&host));
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_an_address_of_its_own() {
        assert_eq!(google_address("global").as_str(), "https://aiplatform.googleapis.com/");
        assert_eq!(google_address("us-central1").as_str(), "https://us-central1-aiplatform.googleapis.com/");
    }
}
