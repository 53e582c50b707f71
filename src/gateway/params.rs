//! Path and query parameters.

use std::{borrow::Cow, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path},
    http::{Uri, request::Parts},
};
use url::form_urlencoded;

use super::problem::{Code, Problem, WrongField};
use crate::{
    domain::{ids::JobId, job::JobKind},
    media::MediaKey,
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
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Problem::no_such_job())?;
        match JobId::from_str(&text) {
            Ok(id) if id.kind() == JobKind::Illustration => Ok(Self(id)),
            _ => Err(Problem::no_such_job()),
        }
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
        MediaKey::from_str(&text).map(Self).map_err(|_| Self::missing())
    }
}
