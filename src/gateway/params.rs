//! Path and query parameters.

use std::{borrow::Cow, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path},
    http::{Uri, request::Parts},
};
use url::form_urlencoded;

use super::problem::{Code, Problem, WrongField};
use crate::{
    domain::{ids::JobId, kind::JobKind, upload::UploadId},
    media::{MediaFormat, MediaKey},
};

/// The query of a request. Unknown parameters are ignored, as the web expects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// The query of this URI.
    pub fn of(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// All of them, decoded.
    pub fn pairs(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        form_urlencoded::parse(self.0.as_bytes())
    }

    /// A parameter that may stand there once.
    pub fn one(self, name: &str) -> Result<Option<Cow<'a, str>>, WrongField> {
        let mut found = self.pairs().filter(|(key, _)| key == name).map(|(_, value)| value);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(WrongField::query(name, "must not be given twice")),
            (value, None) => Ok(value),
        }
    }
}

/// The `{id}` of an illustration. What cannot be one names none, so it is not found rather than invalid.
#[derive(Debug)]
pub(super) struct IllustrationId(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for IllustrationId {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        job_id(parts, state, JobKind::Illustration).await.map(Self)
    }
}

/// The `{id}` of a brand.
#[derive(Debug)]
pub(super) struct BrandId(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for BrandId {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        job_id(parts, state, JobKind::Brand).await.map(Self)
    }
}

async fn job_id<S: Send + Sync>(parts: &mut Parts, state: &S, kind: JobKind) -> Result<JobId, Problem> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    let id = path.ok().and_then(|Path(text)| JobId::from_str(&text).ok());
    id.filter(|id| id.kind() == kind).ok_or_else(|| Problem::no_such(kind))
}

/// The `{id}` of an upload.
#[derive(Debug)]
pub(super) struct UploadPath(pub UploadId);

impl<S: Send + Sync> FromRequestParts<S> for UploadPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(text)| UploadId::from_str(&text).ok());
        id.map(Self).ok_or_else(|| Problem::new(Code::NotFound, "no such upload; POST /uploads makes one"))
    }
}

/// The `{*key}` of a picture. What cannot be a key names no picture, and never becomes a path.
#[derive(Debug)]
pub(super) struct PictureKey(pub MediaKey);

impl PictureKey {
    /// There is nothing under that key.
    pub fn missing() -> Problem {
        Problem::new(Code::NotFound, "no such picture")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PictureKey {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Self::missing())?;
        let key = MediaKey::from_str(&text).map_err(|_| Self::missing())?;
        match MediaFormat::of_key(&key) {
            Some(MediaFormat::Png | MediaFormat::Jpeg | MediaFormat::Webp) => Ok(Self(key)),
            // What the gateway notes beside a picture is its own business, and what nobody has looked at is no picture.
            Some(MediaFormat::Json) | None => Err(Self::missing()),
        }
    }
}
