//! Reads the output of a training from its bucket, by the JSON API of Cloud Storage.

use serde::Deserialize;
use url::Url;

use super::api::Api;
use crate::{
    domain::{
        Timestamp,
        failure::{AttemptFailure, ErrorCode},
    },
    engine::artifact::{self, InvalidModel, PREFIX},
    http::HttpResponse,
};

/// Bytes of a page of a list, at most.
const MAX_LIST_BYTES: usize = 4 << 20;

/// Pages of a list that are read.
const MAX_PAGES: usize = 10;

/// Bytes of `progress.json`, at most.
const MAX_PROGRESS_BYTES: usize = 64 << 10;

/// Bytes of a model's header, at most.
const MAX_HEADER_BYTES: usize = (16 << 20) + 8;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    items: Vec<Object>,
    next_page_token: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Object {
    name: String,
    /// A number as text, as Google's JSON has 64-bit numbers.
    size: String,
    #[serde(default)]
    updated: Option<Timestamp>,
}

/// The training's output has no usable model, or the check failed.
#[derive(Debug)]
pub(super) enum NoModel {
    /// There is no such file, or it is not a model; the reason is for operators.
    Invalid(String),
    /// The check itself failed; there may be a model.
    CheckFailed(AttemptFailure),
}

/// The bucket of a training.
pub(super) struct Bucket<'a> {
    pub(super) api: Api<'a>,
    /// The address of Cloud Storage.
    pub(super) endpoint: &'a Url,
    pub(super) name: &'a str,
    /// The prefix of all objects of the training.
    pub(super) prefix: &'a str,
}

impl Bucket<'_> {
    /// The progress that the training reports; `None` while it reports none.
    pub(super) async fn progress(&self) -> Result<Option<bytes::Bytes>, AttemptFailure> {
        let url = self.url(Some(&format!("{}progress.json", self.prefix)))?;
        let response =
            self.api.send(MAX_PROGRESS_BYTES, |client| client.get(url.clone()).query(&[("alt", "media")])).await?;
        match response.status {
            200 => Ok(Some(response.body)),
            404 => Ok(None),
            _ => Err(self.refusal(&response)),
        }
    }

    /// The address (`gs://...`) of the model, checked by its header.
    pub(super) async fn model(&self) -> Result<String, NoModel> {
        let objects = self.list().await.map_err(NoModel::CheckFailed)?;
        let below = |object: &Object| object.name.strip_prefix(self.prefix).unwrap_or_default().to_owned();
        // A checkpoint is not a model, even if there is no other file.
        let is_model = |object: &Object| object.name.ends_with(".safetensors") && !below(object).contains("checkpoint");
        let models = objects.into_iter().filter(is_model);
        // In the folder that the container's environment names, or else beside it.
        let rank = |object: &Object| (below(object).starts_with("model/"), object.updated, object.name.clone());
        let Some(model) = models.max_by_key(rank) else {
            return Err(NoModel::Invalid(format!("no *.safetensors below gs://{}/{}", self.name, self.prefix)));
        };
        let uri = format!("gs://{}/{}", self.name, model.name);
        match self.check(&model).await? {
            Ok(()) => Ok(uri),
            Err(error) => Err(NoModel::Invalid(format!("{uri}: {error}"))),
        }
    }

    async fn check(&self, model: &Object) -> Result<Result<(), InvalidModel>, NoModel> {
        let size = model.size.parse().unwrap_or(0);
        if size <= PREFIX {
            return Ok(Err(InvalidModel::TooSmall(size)));
        }
        let prefix = self.read(&model.name, 0, PREFIX).await?;
        let Ok(prefix) = prefix.as_ref().try_into() else {
            return Ok(Err(InvalidModel::TooSmall(prefix.len() as u64)));
        };
        let length = match artifact::header_length(prefix, size) {
            Ok(length) => length,
            Err(error) => return Ok(Err(error)),
        };
        let header = self.read(&model.name, PREFIX, length).await?;
        Ok(artifact::check(&header, size))
    }

    async fn list(&self) -> Result<Vec<Object>, AttemptFailure> {
        let url = self.url(None)?;
        let (mut objects, mut token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let fields = "items(name,size,updated),nextPageToken";
            let query = [("prefix", self.prefix), ("fields", fields), ("pageToken", token.as_str())];
            let query = if token.is_empty() { &query[..2] } else { &query[..] };
            let response = self.api.send(MAX_LIST_BYTES, |client| client.get(url.clone()).query(query)).await?;
            if response.status != 200 {
                return Err(self.refusal(&response));
            }
            let page: Page = self.api.parse(&response)?;
            objects.extend(page.items);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(objects);
            }
        }
        tracing::warn!(bucket = self.name, prefix = self.prefix, "a training wrote too many objects to list");
        Ok(objects)
    }

    /// A part of an object.
    async fn read(&self, name: &str, from: u64, length: u64) -> Result<bytes::Bytes, NoModel> {
        let url = self.url(Some(name)).map_err(NoModel::CheckFailed)?;
        let range = format!("bytes={from}-{}", from + length - 1);
        let request = |client: &reqwest::Client| {
            client.get(url.clone()).query(&[("alt", "media")]).header(http::header::RANGE, &range)
        };
        let response = self.api.send(MAX_HEADER_BYTES, request).await.map_err(NoModel::CheckFailed)?;
        match response.status {
            206 => Ok(response.body),
            // It was replaced or deleted after it was listed.
            404 | 416 => Err(NoModel::Invalid(format!("gs://{}/{name} changed while it was read", self.name))),
            _ => Err(NoModel::CheckFailed(self.refusal(&response))),
        }
    }

    fn refusal(&self, response: &HttpResponse) -> AttemptFailure {
        let help = format!(
            "this process needs roles/storage.objectViewer on the bucket {} of trainer.vertex.output",
            self.name
        );
        self.api.refusal(response, &help)
    }

    /// `/storage/v1/b/{bucket}/o`, or an object below it, whose name is one segment.
    fn url(&self, object: Option<&str>) -> Result<Url, AttemptFailure> {
        let mut url = self.endpoint.clone();
        let unusable = || AttemptFailure::misconfigured("trainer.vertex.storage_endpoint is not a valid address");
        url.path_segments_mut()
            .map_err(|()| unusable())?
            .pop_if_empty()
            .extend(["storage", "v1", "b", self.name, "o"])
            .extend(object);
        Ok(url)
    }
}

/// The failure of a training without a usable model.
pub(super) fn without_model(detail: &str) -> AttemptFailure {
    tracing::error!(detail, "the training succeeded, but left no model");
    AttemptFailure::fail(ErrorCode::EngineError, "the training succeeded, but left no model")
}
