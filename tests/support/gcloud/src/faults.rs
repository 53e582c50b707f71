//! Failures on demand, of any method of any service, gRPC and REST alike.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tonic::{Code, Status};

use crate::status::Refusal;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this code; nothing happens.
    Refuse(Code),
    /// It happens, and the answer is this code: the reply is lost.
    LoseReply(Code),
    /// It happens twice, as when a network repeats a request; the second answer is what the caller gets.
    Twice,
    /// Nothing happens, and the answer is delayed by this time.
    Hang(Duration),
    /// It happens after this time.
    Delay(Duration),
}

/// The calls that fail, and how. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Rule>>>);

#[derive(Debug)]
struct Rule {
    method: String,
    fault: Fault,
    skip: usize,
    times: usize,
}

impl Faults {
    /// The next `times` calls of a method fail. The end of the path names the method: `Commit` for gRPC, `:publish` or
    /// `/topics/x` for REST.
    pub fn inject(&self, method: &str, fault: Fault, times: usize) {
        self.inject_after(method, 0, fault, times);
    }

    /// The same for the calls after the next `skip` ones.
    pub fn inject_after(&self, method: &str, skip: usize, fault: Fault, times: usize) {
        self.rules().push(Rule { method: method.to_owned(), fault, skip, times });
    }

    /// Removes all faults that have not happened yet.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// The number of injected failures that have not happened yet.
    pub fn pending(&self) -> usize {
        self.rules().iter().map(|rule| rule.times).sum()
    }

    fn take(&self, path: &str) -> Option<Fault> {
        let mut rules = self.rules();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && path.ends_with(&rule.method))?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault)
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layer that makes calls fail.
pub async fn apply(State(faults): State<Faults>, request: Request, next: Next) -> Response {
    let Some(fault) = faults.take(request.uri().path()) else { return next.run(request).await };
    let is_grpc = is_grpc(&request);
    match fault {
        Fault::Refuse(code) => answer(code, is_grpc),
        Fault::LoseReply(code) => {
            // Read to the end: a stream is lazy, and its effects must happen.
            let _ = to_bytes(next.run(request).await.into_body(), usize::MAX).await;
            answer(code, is_grpc)
        }
        Fault::Twice => twice(request, next).await,
        Fault::Hang(long) => {
            tokio::time::sleep(long).await;
            answer(Code::DeadlineExceeded, is_grpc)
        }
        Fault::Delay(long) => {
            tokio::time::sleep(long).await;
            next.run(request).await
        }
    }
}

async fn twice(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let first = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let _ = to_bytes(next.clone().run(first).await.into_body(), usize::MAX).await;
    next.run(Request::from_parts(parts, Body::from(body))).await
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

fn answer(code: Code, is_grpc: bool) -> Response {
    if is_grpc {
        return Status::new(code, "injected").into_http();
    }
    Refusal(Status::new(code, "injected")).into_response()
}
