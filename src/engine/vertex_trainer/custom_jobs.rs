//! The custom jobs of a project: find, read, create and cancel them.

use reqwest::Client;
use serde_json::{Value, json};
use url::Url;

use super::{
    api::Api,
    job::{CustomJob, Page, State},
};
use crate::{
    config::VertexTrainerConfig, domain::failure::AttemptFailure, google::rest::RestClient, http::HttpResponse,
};

/// Bytes of a response, at most.
const MAX_RESPONSE_BYTES: usize = 4 << 20;

/// Pages of the list of jobs that are searched for a label.
const MAX_PAGES: usize = 5;

/// A client of Vertex AI's custom jobs in one project and region.
pub(super) struct CustomJobs {
    rest: RestClient,
    /// `{endpoint}/v1`.
    base: String,
    project: String,
    location: String,
    service_account: Option<String>,
}

impl CustomJobs {
    pub(super) fn new(config: &VertexTrainerConfig, project: String, endpoint: &Url, rest: RestClient) -> Self {
        Self {
            rest,
            base: format!("{}/v1", endpoint.as_str().trim_end_matches('/')),
            project,
            location: config.location.clone(),
            service_account: config.service_account.clone(),
        }
    }

    /// The jobs with this label.
    pub(super) async fn find(&self, label: &str) -> Result<Vec<CustomJob>, AttemptFailure> {
        let url = self.collection();
        let filter = format!("labels.mf_job=\"{label}\"");
        let (mut jobs, mut token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let query = [("filter", filter.as_str()), ("pageSize", "100"), ("pageToken", token.as_str())];
            let query = if token.is_empty() { &query[..2] } else { &query[..] };
            let response = self.api().send(MAX_RESPONSE_BYTES, |client| client.get(&url).query(query)).await?;
            if response.status != 200 {
                return Err(self.refusal(&response));
            }
            let page: Page = self.api().parse(&response)?;
            // An emulator may ignore the filter; another training's job must not be taken.
            jobs.extend(
                page.custom_jobs.into_iter().filter(|job| job.labels.get("mf_job").is_some_and(|l| l == label)),
            );
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(jobs)
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<CustomJob>, AttemptFailure> {
        let url = self.url(name);
        let response = self.api().send(MAX_RESPONSE_BYTES, |client| client.get(&url)).await?;
        match response.status {
            200 => self.api().parse(&response).map(Some),
            404 => Ok(None),
            _ => Err(self.refusal(&response)),
        }
    }

    pub(super) async fn create(&self, body: &Value) -> Result<CustomJob, AttemptFailure> {
        let url = self.collection();
        let response = self.api().send(MAX_RESPONSE_BYTES, |client: &Client| client.post(&url).json(body)).await?;
        match response.status {
            200 => self.api().parse(&response),
            _ => Err(self.refusal(&response)),
        }
    }

    /// Cancels a job; `Ok` also for a job that has ended or does not exist.
    pub(super) async fn cancel(&self, name: &str) -> Result<(), AttemptFailure> {
        let url = self.url(&format!("{name}:cancel"));
        let response = self.api().send(MAX_RESPONSE_BYTES, |client| client.post(&url).json(&json!({}))).await?;
        match response.status {
            200 | 404 => Ok(()),
            // Vertex AI refuses to cancel a job that has ended, as a failed precondition.
            400 | 409 => match self.get(name).await? {
                Some(job) if !job.state.is_final() && job.state != State::Cancelling => Err(self.refusal(&response)),
                _ => Ok(()),
            },
            _ => Err(self.refusal(&response)),
        }
    }

    fn api(&self) -> Api<'_> {
        Api { rest: &self.rest, service: "Vertex AI" }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    fn collection(&self) -> String {
        self.url(&format!("projects/{}/locations/{}/customJobs", self.project, self.location))
    }

    fn refusal(&self, response: &HttpResponse) -> AttemptFailure {
        let project = &self.project;
        let account = self.service_account.as_ref().map_or(String::new(), |account| {
            format!(" and roles/iam.serviceAccountUser on {account} (trainer.vertex.service_account)")
        });
        let help = match response.status {
            403 => format!("this process needs roles/aiplatform.user in the project {project}{account}"),
            _ => "check trainer.vertex (location, image, machine, accelerator, output) and gcp.project".to_owned(),
        };
        self.api().refusal(response, &help)
    }
}
