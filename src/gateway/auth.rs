//! Who asks. The seam for tokens: every route learns its caller here and nowhere else.
//!
//! A verifier of tokens becomes another [`Auth`] and another [`Credentials`]: the extractor verifies the token (it may
//! await), and [`Credentials::user`] then refuses a body that names somebody else.

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{
    Auth, GatewayState,
    params::Params,
    problem::{Problem, WrongField},
};
use crate::domain::{ids::UserId, request::FieldError};

/// The query parameter and the field of a body that name the caller.
const USER_ID: &str = "userId";
/// The caller who names nobody.
const LOCAL: &str = "local";

/// What a request says of its caller, before its body is read.
#[derive(Debug)]
pub(super) enum Credentials {
    /// Whatever is claimed is believed.
    Believed {
        /// `?userId=`
        query: Option<String>,
    },
}

impl Credentials {
    /// The caller, for a request whose body may name one.
    pub fn user(&self, in_body: Option<&str>) -> Result<UserId, WrongField> {
        match (self, in_body) {
            (Self::Believed { .. }, Some(id)) => {
                id.parse().map_err(|error| FieldError::new(USER_ID, format!("{error}")).into())
            }
            (Self::Believed { query }, None) => {
                let id = query.as_deref().unwrap_or(LOCAL);
                id.parse().map_err(|error| WrongField::query(USER_ID, format!("{error}")))
            }
        }
    }
}

impl FromRequestParts<GatewayState> for Credentials {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        match gateway.0.auth {
            Auth::None => {
                let query = Params::of(&parts.uri).one(USER_ID).map_err(|wrong| Problem::invalid(vec![wrong]))?;
                Ok(Self::Believed { query: query.map(String::from) })
            }
        }
    }
}

/// The caller of a route without a body.
#[derive(Debug)]
pub(super) struct Caller(pub UserId);

impl FromRequestParts<GatewayState> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        let credentials = Credentials::from_request_parts(parts, gateway).await?;
        let user = credentials.user(None).map_err(|wrong| Problem::invalid(vec![wrong]))?;
        gateway.admit(&user, &parts.extensions)?;
        Ok(Self(user))
    }
}
