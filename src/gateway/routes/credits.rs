//! `GET /credits`: the balance.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::credits::{Account, Credits},
    gateway::{GatewayState, auth::Caller, problem::Problem},
};

/// A balance: `available + held + spent = granted`, always.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub(in crate::gateway) struct Balance {
    /// Whose: `users/{userId}` or `teams/{teamId}`.
    #[schema(example = "users/local")]
    account: String,
    /// Free to be used.
    #[schema(value_type = u64, example = 997)]
    available: Credits,
    /// Set aside for what is not finished.
    #[schema(value_type = u64, example = 1)]
    held: Credits,
    /// Paid for what was delivered.
    #[schema(value_type = u64, example = 2)]
    spent: Credits,
    /// Everything ever granted.
    #[schema(value_type = u64, example = 1000)]
    granted: Credits,
}

/// The caller's credits
#[utoipa::path(
    get,
    operation_id = "getCredits",
    path = "/credits",
    tag = "account",
    params(("userId" = Option<String>, Query, description = "The caller; `local` when absent.")),
    responses(
        (status = 200, description = "The account that pays for the caller's work.", body = Balance),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn get(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
) -> Result<Json<Balance>, Problem> {
    let (account, Account { available, held, spent, granted }) = gateway.queries().account(&user).await?;
    Ok(Json(Balance { account: account.to_string(), available, held, spent, granted }))
}
