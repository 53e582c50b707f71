//! Path and query parameters.

use std::{borrow::Cow, marker::PhantomData, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path},
    http::{Uri, request::Parts},
};
use url::form_urlencoded;

use super::{
    problem::{Code, InvalidField, Problem},
    resource::JobResource,
};
use crate::{
    domain::{ids::JobId, upload::UploadId},
    media::{MediaFormat, MediaKey},
};

/// The query of a request. Unknown parameters are ignored, as is usual on the web.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryParams<'a>(&'a str);

impl<'a> QueryParams<'a> {
    pub fn of(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// All parameters, decoded.
    pub fn pairs(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        form_urlencoded::parse(self.0.as_bytes())
    }

    /// A parameter that may occur at most once.
    pub fn one(self, name: &str) -> Result<Option<Cow<'a, str>>, InvalidField> {
        let mut values = self.pairs().filter(|(key, _)| key == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(InvalidField::query(name, "must not be given twice")),
            (value, None) => Ok(value),
        }
    }
}

/// The text of a path's only parameter.
async fn path_text<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<String> {
    Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(text)| text)
}

/// The `{id}` of a job of one kind. Malformed text identifies no job, so the answer is 404 and not 422.
#[derive(Debug)]
pub(super) struct JobPath<R> {
    pub id: JobId,
    resource: PhantomData<R>,
}

impl<S: Send + Sync, R: JobResource> FromRequestParts<S> for JobPath<R> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_text(parts, state).await.and_then(|text| JobId::from_str(&text).ok());
        let id = id.filter(|id| id.kind() == R::KIND).ok_or_else(|| Problem::job_not_found(R::KIND))?;
        Ok(Self { id, resource: PhantomData })
    }
}

/// The `{id}` of an upload.
#[derive(Debug)]
pub(super) struct UploadPath(pub UploadId);

impl<S: Send + Sync> FromRequestParts<S> for UploadPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_text(parts, state).await.and_then(|text| UploadId::from_str(&text).ok());
        id.map(Self).ok_or_else(|| Problem::new(Code::NotFound, "no such upload; POST /uploads makes one"))
    }
}

/// The `{*key}` of a picture. Text that is not a valid key never becomes a file path.
#[derive(Debug)]
pub(super) struct PictureKey(pub MediaKey);

impl PictureKey {
    pub fn not_found() -> Problem {
        Problem::new(Code::NotFound, "no such picture")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PictureKey {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = path_text(parts, state).await.ok_or_else(Self::not_found)?;
        let key = MediaKey::from_str(&text).map_err(|_| Self::not_found())?;
        match MediaFormat::of_key(&key) {
            Some(MediaFormat::Png | MediaFormat::Jpeg | MediaFormat::Webp) => Ok(Self(key)),
            // The notes that the gateway keeps beside a picture are internal, and a file without a known format has not
            // been checked.
            Some(MediaFormat::Json) | None => Err(Self::not_found()),
        }
    }
}
