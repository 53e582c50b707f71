//! Why a request is refused. Smaller than a `Status`, into which it is converted at the boundary.

use tonic::{Code, Status};

/// The code and the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

/// The result of a step, or the refusal.
pub type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub fn contention() -> Self {
        Self::new(Code::Aborted, "Too much contention on these documents. Please try again.")
    }

    pub fn lock_timeout() -> Self {
        Self::new(Code::Aborted, "Transaction lock timeout.")
    }

    pub fn ended_transaction() -> Self {
        Self::invalid("The referenced transaction has expired or is no longer valid.")
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}
