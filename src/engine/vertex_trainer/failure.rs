//! Why a custom job failed.

use super::job::CustomJob;
use crate::domain::failure::{AttemptFailure, ErrorCode};

/// Why a job failed. Codes are those of `google.rpc.Code`.
pub(super) fn failed(job: &CustomJob) -> AttemptFailure {
    let error = job.error.clone().unwrap_or_default();
    tracing::warn!(operation = job.name, code = error.code, message = error.message, "the training failed");
    let fail = |message: &str| AttemptFailure::fail(ErrorCode::EngineError, message);
    if error.message.contains("CUDA out of memory") || error.message.contains("OutOfMemoryError") {
        return fail("the graphics card has too little memory for this training");
    }
    // A container that ends with an error is reported under a code that says little.
    if let Some(exit) = exit_status(&error.message) {
        return match exit {
            65 => fail("the trainer cannot learn from these pictures"),
            137 => {
                AttemptFailure::retry(ErrorCode::EngineError, "the trainer was killed, most likely for want of memory")
            }
            exit => AttemptFailure::retry(ErrorCode::EngineError, format!("the trainer failed with exit code {exit}")),
        };
    }
    match error.code {
        1 => fail("the training was cancelled at Vertex AI"),
        4 => AttemptFailure::fail(ErrorCode::EngineTimeout, "the training took longer than it may"),
        5 | 7 | 9 | 16 => {
            let said: String = error.message.chars().take(300).collect();
            AttemptFailure::misconfigured(format!(
                "Vertex AI cannot run the training: check trainer.vertex.image and what its service account may. It says: {said}"
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
