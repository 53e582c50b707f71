//! Jobs as clients see them: camelCase fields, RFC 3339 times, absent fields instead of null.

mod brand;
mod common;
mod illustration;

use std::{fmt::Write as _, str::FromStr as _, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{request::Parts, uri::Authority},
};
use futures::future::try_join_all;
use serde::Serialize;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};

use super::{GatewayState, problem::Problem};
use crate::{
    domain::{
        Timestamp,
        job::{Job, Status, Work},
        kind::JobKind,
    },
    error::{BackendError, ErrorKind},
    media::{MediaKey, MediaUrl},
    store::Versioned,
};
pub(super) use brand::BrandView;
pub(super) use illustration::IllustrationView;

/// The base of links in responses: the public URL, or the address that the client has used. If neither is known, it is
/// empty, and links are relative.
///
/// `X-Forwarded-*` is ignored, because any client can send it. Behind a proxy, configure the public URL.
#[derive(Debug, Clone)]
pub(super) struct BaseUrl(Arc<str>);

impl FromRequestParts<GatewayState> for BaseUrl {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        if let Some(public) = &gateway.0.public_url {
            return Ok(Self(Arc::clone(public)));
        }
        let mut hosts = parts.headers.get_all(axum::http::header::HOST).iter();
        let host = match (parts.uri.authority(), hosts.next(), hosts.next()) {
            (Some(authority), _, _) => Some(authority.as_str()),
            (None, Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let base = host.filter(|host| is_host(host)).map(|host| format!("http://{host}"));
        Ok(Self(base.unwrap_or_default().into()))
    }
}

fn is_host(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    text.len() <= 255 && text.bytes().all(legal) && Authority::from_str(text).is_ok_and(|host| !host.host().is_empty())
}

impl BaseUrl {
    /// The link to a path of this gateway.
    pub fn link(&self, path: &str) -> String {
        let mut url = String::with_capacity(self.0.len() + path.len());
        let _ = write!(url, "{}{path}", self.0); // writing to a String cannot fail
        url
    }
}

/// Presents jobs for one request or stream.
#[derive(Clone)]
pub(super) struct Presenter {
    gateway: GatewayState,
    base: BaseUrl,
}

struct Link {
    url: String,
    expires_at: Option<Timestamp>,
}

/// The URLs of pictures.
pub(super) struct Links {
    pub urls: Vec<String>,
    /// When the first of them expires, if any does.
    pub expires_at: Option<Timestamp>,
}

/// A job of either kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum JobView<'a> {
    Illustration(Box<IllustrationView<'a>>),
    Brand(Box<BrandView<'a>>),
}

/// The status names of this kind of job.
pub(super) fn statuses(kind: JobKind) -> [&'static str; Status::ALL.len()] {
    Status::ALL.map(|status| status.shown_as(kind))
}

fn status_schema(kind: JobKind) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(statuses(kind)));
    RefOr::T(Schema::Object(object.build()))
}

impl Presenter {
    pub fn new(gateway: GatewayState, base: BaseUrl) -> Self {
        Self { gateway, base }
    }

    pub async fn job<'a>(&self, job: &'a Versioned<Job>) -> Result<JobView<'a>, BackendError> {
        Ok(match &job.value.work {
            Work::Illustration(spec) => JobView::Illustration(Box::new(self.illustration(job, spec).await?)),
            Work::Brand(spec) => JobView::Brand(Box::new(self.brand(job, spec).await?)),
        })
    }

    /// The URLs of the pictures with these media keys, in order.
    pub async fn links<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Result<Links, BackendError> {
        // Signing a URL may be a remote call.
        let links = try_join_all(keys.into_iter().map(|key| self.link(key))).await?;
        let expires_at = links.iter().filter_map(|link| link.expires_at).min();
        Ok(Links { urls: links.into_iter().map(|link| link.url).collect(), expires_at })
    }

    async fn link(&self, key: &str) -> Result<Link, BackendError> {
        // Only the worker writes keys, so an invalid key means a defect or a damaged store.
        let key = MediaKey::from_str(key)
            .map_err(|error| BackendError::new(ErrorKind::Internal, "gateway.link").because(error))?;
        Ok(match self.gateway.queries().media_url(&key).await? {
            MediaUrl::Absolute { url, expires_at } => Link { url, expires_at },
            MediaUrl::Gateway(path) => {
                let (query, expires_at) = self.gateway.picture_query(&path).unzip();
                Link { url: self.base.link(&(path + &query.unwrap_or_default())), expires_at }
            }
        })
    }
}
