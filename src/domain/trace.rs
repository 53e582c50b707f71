//! W3C trace context: one id links a request's log lines to those of its job, through the queue and every retry.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::clock::Random;

/// `00-<32 hex trace id>-<16 hex span id>-<2 hex flags>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// The root of a new trace.
    pub fn root(random: &dyn Random) -> Self {
        let trace_id = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        Self { trace_id: trace_id.max(1), span_id: random.next_u64().max(1), flags: 1 }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(&self, random: &dyn Random) -> Self {
        Self { span_id: random.next_u64().max(1), ..self.clone() }
    }

    /// 32 hex digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// 16 hex digits.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }
}

/// The header is not a usable trace context; the caller starts a new trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of version 00 with non-zero ids")]
pub struct InvalidTrace;

impl FromStr for TraceContext {
    type Err = InvalidTrace;
    fn from_str(text: &str) -> Result<Self, InvalidTrace> {
        let hex = |part: &str, len: usize| {
            (part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
                .then(|| u128::from_str_radix(part, 16).ok())
                .flatten()
                .ok_or(InvalidTrace)
        };
        let mut parts = text.split('-');
        let (Some("00"), Some(trace), Some(span), Some(flags), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidTrace);
        };
        let trace_id = hex(trace, 32)?;
        let span_id = u64::try_from(hex(span, 16)?).map_err(|_| InvalidTrace)?;
        let flags = u8::try_from(hex(flags, 2)?).map_err(|_| InvalidTrace)?;
        if trace_id == 0 || span_id == 0 {
            return Err(InvalidTrace);
        }
        Ok(Self { trace_id, span_id, flags })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl TryFrom<String> for TraceContext {
    type Error = InvalidTrace;
    fn try_from(text: String) -> Result<Self, InvalidTrace> {
        text.parse()
    }
}

impl From<TraceContext> for String {
    fn from(trace: TraceContext) -> String {
        trace.to_string()
    }
}
