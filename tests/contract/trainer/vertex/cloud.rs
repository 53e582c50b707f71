//! A small Vertex AI and Cloud Storage, as documented.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use mediaforge::engine::OperationId;
use serde_json::{Value, json};
use url::Url;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use crate::support::at;

#[derive(Default)]
struct State {
    /// The bodies of the requests that created jobs.
    created: Vec<Value>,
    jobs: Vec<Value>,
    objects: BTreeMap<String, Vec<u8>>,
    cancelled: Vec<String>,
    asked: Vec<String>,
    /// The response to the next request whose path has this end.
    refused: Option<(String, ResponseTemplate)>,
    token: Option<String>,
    loses_created: bool,
    ignores_cancel: bool,
}

pub struct Cloud {
    server: MockServer,
    state: Arc<Mutex<State>>,
}

struct Answers(Arc<Mutex<State>>);

/// A refusal as Google writes it.
pub fn refusal(code: u16, status: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(code).set_body_json(json!({"error": {"code": code, "message": message, "status": status}}))
}

impl Cloud {
    pub async fn start() -> Self {
        let (server, state) = (MockServer::start().await, Arc::<Mutex<State>>::default());
        Mock::given(any()).respond_with(Answers(Arc::clone(&state))).mount(&server).await;
        Self { server, state }
    }

    pub fn url(&self) -> Url {
        self.server.uri().parse().unwrap()
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap())
    }

    pub fn created(&self) -> Vec<Value> {
        self.with(|state| state.created.clone())
    }

    pub fn asked(&self) -> Vec<String> {
        self.with(|state| state.asked.clone())
    }

    pub fn cancelled(&self) -> Vec<String> {
        self.with(|state| state.cancelled.clone())
    }

    pub fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.with(|state| state.objects.insert(name.to_owned(), bytes.into()));
    }

    /// Changes fields of a job.
    pub fn set(&self, operation: &OperationId, fields: &Value) {
        self.with(|state| merge(state.job(&operation.0).unwrap(), fields));
    }

    pub fn set_all(&self, fields: &Value) {
        self.with(|state| state.jobs.iter_mut().for_each(|job| merge(job, fields)));
    }

    /// The prefix of a job's output within the bucket.
    pub fn prefix(&self, operation: &OperationId) -> String {
        let uri = self.with(|state| {
            state.job(&operation.0).unwrap()["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"].clone()
        });
        uri.as_str().unwrap().strip_prefix("gs://models/").unwrap().to_owned()
    }

    pub fn refuse(&self, path_end: &str, with: ResponseTemplate) {
        self.with(|state| state.refused = Some((path_end.to_owned(), with)));
    }

    pub fn accept_only(&self, token: &str) {
        self.with(|state| state.token = Some(token.to_owned()));
    }

    /// The next job is created, but the response is lost.
    pub fn lose_next_created(&self) {
        self.with(|state| state.loses_created = true);
    }

    pub fn ignore_cancel(&self) {
        self.with(|state| state.ignores_cancel = true);
    }
}

fn merge(job: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().unwrap() {
        job[name] = value.clone();
    }
}

impl State {
    fn job(&mut self, name: &str) -> Option<&mut Value> {
        self.jobs.iter_mut().find(|job| job["name"] == name)
    }

    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        let (method, path) = (request.method.as_str(), request.url.path().to_owned());
        let query = request.url.query().map_or(String::new(), |query| format!("?{query}"));
        self.asked.push(format!("{method} {path}{query}"));
        if let Some((_, refusal)) = self.refused.take_if(|(end, _)| path.ends_with(end.as_str())) {
            return refusal;
        }
        let token = request.headers.get("authorization").and_then(|token| token.to_str().ok());
        if self.token.is_some() && token != self.token.as_deref() {
            return refusal(401, "UNAUTHENTICATED", "the token is not valid");
        }
        let parameter =
            |name: &str| request.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        if let Some(object) = path.strip_prefix("/storage/v1/b/models/o") {
            return match object.strip_prefix('/') {
                Some(name) => self.object(&name.replace("%2F", "/"), request),
                None => self.list_objects(&parameter("prefix").unwrap()),
            };
        }
        let collection = "/v1/projects/acme/locations/us-central1/customJobs";
        match (method, path.as_str()) {
            ("POST", path) if path == collection => self.create(&request.body_json().unwrap()),
            ("GET", path) if path == collection => self.list_jobs(&parameter("filter").unwrap()),
            ("POST", path) => {
                self.cancel(path.strip_prefix("/v1/").and_then(|path| path.strip_suffix(":cancel")).unwrap())
            }
            (_, path) => match self.job(path.strip_prefix("/v1/").unwrap()) {
                Some(job) => ResponseTemplate::new(200).set_body_json(&*job),
                None => refusal(404, "NOT_FOUND", "no such job"),
            },
        }
    }

    fn create(&mut self, body: &Value) -> ResponseTemplate {
        let mut job = body.clone();
        let number = 1000 + self.jobs.len();
        let name = format!("projects/123/locations/us-central1/customJobs/{number}");
        merge(&mut job, &json!({"name": name, "state": "JOB_STATE_PENDING", "createTime": at(0), "updateTime": at(0)}));
        self.created.push(body.clone());
        self.jobs.push(job.clone());
        if std::mem::take(&mut self.loses_created) {
            return refusal(504, "DEADLINE_EXCEEDED", "lost");
        }
        ResponseTemplate::new(200).set_body_json(job)
    }

    fn list_jobs(&self, filter: &str) -> ResponseTemplate {
        let label = filter.strip_prefix("labels.mf_job=\"").and_then(|rest| rest.strip_suffix('"')).unwrap();
        let found: Vec<&Value> = self.jobs.iter().filter(|job| job["labels"]["mf_job"] == label).collect();
        // Google's JSON omits an empty list.
        ResponseTemplate::new(200).set_body_json(if found.is_empty() {
            json!({})
        } else {
            json!({ "customJobs": found })
        })
    }

    fn cancel(&mut self, name: &str) -> ResponseTemplate {
        let ignores = self.ignores_cancel;
        let Some(job) = self.job(name) else { return refusal(404, "NOT_FOUND", "no such job") };
        if ["SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"]
            .iter()
            .any(|state| job["state"] == format!("JOB_STATE_{state}"))
        {
            return refusal(400, "FAILED_PRECONDITION", "it has ended");
        }
        if !ignores {
            job["state"] = "JOB_STATE_CANCELLING".into();
        }
        self.cancelled.push(name.to_owned());
        ResponseTemplate::new(200).set_body_json(json!({}))
    }

    fn list_objects(&self, prefix: &str) -> ResponseTemplate {
        let found = self.objects.iter().filter(|(name, _)| name.starts_with(prefix));
        let item = |(name, bytes): (&String, &Vec<u8>)| json!({"name": name, "size": bytes.len().to_string(), "updated": at(0)});
        ResponseTemplate::new(200).set_body_json(json!({"items": found.map(item).collect::<Vec<_>>()}))
    }

    fn object(&self, name: &str, request: &Request) -> ResponseTemplate {
        let Some(bytes) = self.objects.get(name) else { return refusal(404, "notFound", "no such object") };
        let range = request.headers.get("range").map(|range| range.to_str().unwrap().strip_prefix("bytes=").unwrap());
        let Some((from, to)) = range.and_then(|range| range.split_once('-')) else {
            return ResponseTemplate::new(200).set_body_bytes(bytes.clone());
        };
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        if from >= bytes.len() {
            return ResponseTemplate::new(416);
        }
        ResponseTemplate::new(206).set_body_bytes(&bytes[from..bytes.len().min(to + 1)])
    }
}

impl Respond for Answers {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        self.0.lock().unwrap().answer(request)
    }
}
