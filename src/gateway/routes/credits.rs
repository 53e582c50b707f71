//! `GET /credits`: the balance of the caller.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::credits::{Account, Credits},
    gateway::{GatewayState, auth::Caller, openapi::UserIdParam, problem::Problem},
};

/// A balance: `available + held + spent` always equals `granted`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::gateway) struct Balance {
    /// The account: `users/{userId}` or `teams/{teamId}`.
    #[schema(example = "users/local")]
    account: String,
    /// Free for new jobs.
    #[schema(value_type = u64, example = 997)]
    available: Credits,
    /// Reserved for unfinished jobs.
    #[schema(value_type = u64, example = 1)]
    held: Credits,
    /// Paid for delivered results.
    #[schema(value_type = u64, example = 2)]
    spent: Credits,
    /// All credits ever granted.
    #[schema(value_type = u64, example = 1000)]
    granted: Credits,
}

/// Get the credits of the caller
///
/// Returns the account that pays for the caller's jobs: that of the user, or that of the user's team.
#[utoipa::path(
    get,
    operation_id = "getCredits",
    path = "/credits",
    tag = "account",
    params(UserIdParam),
    responses((status = 200, description = "The balance.", body = Balance))
)]
pub(in crate::gateway) async fn get(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
) -> Result<Json<Balance>, Problem> {
    let (account, Account { available, held, spent, granted }) = gateway.queries().account(&user).await?;
    Ok(Json(Balance { account: account.to_string(), available, held, spent, granted }))
}
