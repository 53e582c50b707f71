//! Parameters that several routes share, described once.
#![expect(dead_code, reason = "the fields only describe what the extractors read")]

use utoipa::IntoParams;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::gateway) struct UserIdParam {
    /// The calling user; `local` by default. A `userId` in the body takes precedence.
    #[param(rename = "userId")]
    user_id: Option<String>,
}

/// Where to resume an event stream, as a query parameter for clients that cannot set headers.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::gateway) struct LastEventIdParam {
    /// The same as the header `Last-Event-ID`.
    last_event_id: Option<u64>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::gateway) struct LastEventIdHeader {
    /// The `id` of the last event that the client has received.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<u64>,
}

/// The headers of a request that creates a job.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::gateway) struct SubmitHeaders {
    /// 1 to 255 printable ASCII characters, preferably in double quotes, different for each new request:
    /// `"8e03978e-40d5-43e8-bc93-6894a57f9324"`. It is valid for as long as its job exists.
    #[param(rename = "Idempotency-Key")]
    idempotency_key: Option<String>,
    /// `respond-async` (the default) or `wait=N`: delay the response until the job is finished or N seconds have passed
    /// (at most 50).
    #[param(rename = "Prefer")]
    prefer: Option<String>,
}
