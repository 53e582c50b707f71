//! Vertex AI: where a publisher's model is, and who asks.

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use reqwest::Method;
use serde_json::Value;
use url::{Host, Url};

use super::{
    Access,
    exchange::{Reply, exchange},
    failure::{self, Asked},
};
use crate::domain::failure::{AttemptFailure, ErrorCode};

const WHO: &str = "Vertex AI";

/// The models of Google in a project and a region.
pub(super) struct Vertex {
    access: Access,
    /// The section of the configuration, for messages.
    section: &'static str,
    location: String,
    base: Url,
}

impl Vertex {
    /// `endpoint` stands instead of Google's own address.
    pub(super) fn new(access: &Access, section: &'static str, location: &str, endpoint: Option<&Url>) -> Self {
        let base = endpoint.cloned().unwrap_or_else(|| own_address(location));
        Self { access: access.clone(), section, location: location.to_owned(), base }
    }

    /// Has a model do something: `POST …/models/{model}:{verb}`.
    pub(super) async fn call(
        &self,
        model: &str,
        verb: &str,
        body: &Value,
        attempt: u32,
    ) -> Result<Bytes, AttemptFailure> {
        let Some(project) = self.access.project.as_deref() else {
            return Err(AttemptFailure::misconfigured(format!("[{}] needs gcp.project to be set", self.section)));
        };
        let method = format!("{model}:{verb}");
        let path = ["v1", "projects", project, "locations", &self.location, "publishers", "google", "models", &method];
        let body = Bytes::from(body.to_string());
        self.asked(&Method::POST, &self.address(&path), body, model, attempt).await
    }

    /// Asks whether the model is there.
    pub(super) async fn check(&self, model: &str) -> Result<Option<String>, AttemptFailure> {
        let address = self.address(&["v1", "publishers", "google", "models", model]);
        self.asked(&Method::GET, &address, Bytes::new(), model, 1).await.map(|_| None)
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut address = self.base.clone();
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        address
    }

    /// A token may have been withdrawn before its time: once, another one is asked for.
    async fn asked(
        &self,
        method: &Method,
        address: &Url,
        body: Bytes,
        model: &str,
        attempt: u32,
    ) -> Result<Bytes, AttemptFailure> {
        let mut is_first = true;
        loop {
            let (headers, generation) = self.authorization().await?;
            let reply = self.send(method, address, body.clone(), headers, attempt).await?;
            if reply.is_success() {
                return Ok(reply.body);
            }
            if let (401, true, Some(generation)) = (reply.status, is_first, generation) {
                self.access.tokens.refused(generation).await;
                is_first = false;
                continue;
            }
            let project = self.access.project.as_deref().unwrap_or_default();
            let asked = Asked { section: self.section, project, location: &self.location, model };
            return Err(failure::of_vertex(&reply, asked));
        }
    }

    async fn send(
        &self,
        method: &Method,
        address: &Url,
        body: Bytes,
        headers: HeaderMap,
        attempt: u32,
    ) -> Result<Reply, AttemptFailure> {
        let mut limits = self.access.limits.brief();
        let mut request = reqwest::Request::new(method.clone(), address.clone());
        *request.headers_mut() = headers;
        if *method == Method::POST {
            let json = http::HeaderValue::from_static("application/json; charset=utf-8");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = Some(body.into());
            limits = self.access.limits;
        }
        exchange(&self.access.http, request, WHO, &limits, attempt).await
    }

    /// Who asks; nobody at an address to which a token would travel in the clear.
    async fn authorization(&self) -> Result<(HeaderMap, Option<u64>), AttemptFailure> {
        if !is_private(&self.base) {
            return Ok((HeaderMap::new(), None));
        }
        let asked = self.access.tokens.authorization().await;
        let authorization = asked.map_err(|error| {
            let words = failure::bounded(&error.message);
            if error.is_transient {
                let message = format!("there is no access token for Google Cloud: {words}");
                return AttemptFailure::retry(ErrorCode::EngineUnavailable, message);
            }
            AttemptFailure::misconfigured(format!(
                "there are no usable credentials for Google Cloud; look at the service account or at \
                 GOOGLE_APPLICATION_CREDENTIALS: {words}"
            ))
        })?;
        Ok((authorization.headers, Some(authorization.generation)))
    }
}

/// Google's address for a region, or for all of them.
fn own_address(location: &str) -> Url {
    let host = match location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    let mut address = Url::parse("https://aiplatform.googleapis.com").unwrap_or_else(|_| unreachable!("a constant"));
    // A region that is no part of a host name leaves the global address, which then knows no such region.
    let _ = address.set_host(Some(&host));
    address
}

/// Whether nobody between here and there can read what is sent.
pub(super) fn is_private(address: &Url) -> bool {
    let is_loopback = match address.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    address.scheme() == "https" || is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_an_address_of_its_own() {
        assert_eq!(own_address("global").as_str(), "https://aiplatform.googleapis.com/");
        assert_eq!(own_address("us-central1").as_str(), "https://us-central1-aiplatform.googleapis.com/");
    }

    #[test]
    fn tokens_do_not_travel_in_the_clear() {
        for (address, private) in [
            ("https://vertex.example.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080", true),
            ("http://vertex.example.com", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_private(&address.parse().unwrap()), private, "{address}");
        }
    }
}
