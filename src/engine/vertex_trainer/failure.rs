//! What the failure of a custom job means.

use super::job::CustomJob;
use crate::{
    domain::failure::{AttemptFailure, ErrorCode},
    http::excerpt,
};

/// The failure of a job. The codes are those of `google.rpc.Code`.
pub(super) fn failed(job: &CustomJob) -> AttemptFailure {
    let error = job.error.clone().unwrap_or_default();
    tracing::warn!(operation = job.name, code = error.code, message = error.message, "the training failed");
    let fail = |message: &str| AttemptFailure::fail(ErrorCode::EngineError, message);
    if error.message.contains("CUDA out of memory") || error.message.contains("OutOfMemoryError") {
        return fail("the graphics card has too little memory for this training");
    }
    // Vertex AI reports a container's exit under an unspecific code.
    if let Some(exit) = exit_status(&error.message) {
        return match exit {
            65 => fail("the trainer cannot learn from these pictures"),
            137 => AttemptFailure::retry(
                ErrorCode::EngineError,
                "the trainer was killed, most likely because memory ran out",
            ),
            exit => AttemptFailure::retry(ErrorCode::EngineError, format!("the trainer failed with exit code {exit}")),
        };
    }
    match error.code {
        1 => fail("the training was cancelled at Vertex AI"),
        4 => AttemptFailure::fail(ErrorCode::EngineTimeout, "the training exceeded its time limit"),
        5 | 7 | 9 | 16 => {
            let detail = excerpt(&error.message);
            AttemptFailure::misconfigured(format!(
                "Vertex AI cannot run the training: check trainer.vertex.image and the permissions of its service account. It says: {detail}"
            ))
        }
        8 | 10 | 13 | 14 => AttemptFailure::retry(ErrorCode::EngineUnavailable, "Vertex AI could not run the training"),
        _ => AttemptFailure::retry(ErrorCode::EngineError, "the training failed at Vertex AI"),
    }
}

/// `... exited with a non-zero status of 137 ...`
fn exit_status(message: &str) -> Option<u32> {
    let (_, rest) = message.split_once("non-zero status of ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
