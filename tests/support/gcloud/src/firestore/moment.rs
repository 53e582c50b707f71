//! Points in time in microseconds, as in Firestore.

use prost_types::Timestamp;

use super::refusal::{Outcome, Refusal};

const MICROS: i64 = 1_000_000;

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(i64);

impl Moment {
    /// The machine's current time.
    #[expect(clippy::disallowed_methods, reason = "a server of its own has its own clock")]
    pub fn of_clock() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }

    /// The next microsecond.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The moment this much earlier.
    pub fn before(self, long: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(long.as_micros()).unwrap_or(i64::MAX)))
    }

    /// As `REQUEST_TIME` gives it: in whole milliseconds.
    pub fn in_millis(self) -> Timestamp {
        Self(self.0 - self.0.rem_euclid(1000)).timestamp()
    }

    /// As the API spells it.
    #[expect(clippy::cast_possible_truncation, reason = "less than a second of nanoseconds")]
    pub fn timestamp(self) -> Timestamp {
        Timestamp { seconds: self.0.div_euclid(MICROS), nanos: (self.0.rem_euclid(MICROS) * 1000) as i32 }
    }

    /// From the API; it must be in whole microseconds.
    pub fn aligned(timestamp: &Timestamp) -> Outcome<Self> {
        if timestamp.nanos % 1000 != 0 {
            return Err(Refusal::invalid("timestamp must be microsecond aligned"));
        }
        Ok(Self(timestamp.seconds * MICROS + i64::from(timestamp.nanos) / 1000))
    }

    /// As the resume token of a listener.
    pub fn token(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    /// From a resume token.
    pub fn from_token(token: &[u8]) -> Outcome<Self> {
        let bytes = token.try_into().map_err(|_| Refusal::invalid("invalid resume token"))?;
        Ok(Self(i64::from_be_bytes(bytes)))
    }
}
