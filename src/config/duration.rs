//! Durations as people write them: `"30s"`, `"1m 30s"`, `"250ms"`, `"90d"`; a plain number is seconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum Spelling {
    Seconds(u64),
    Fraction(f64),
    Text(String),
}

fn parse<E: Error>(spelling: &Spelling) -> Result<Duration, E> {
    let wrong =
        |text: &str| E::custom(format!("{text:?} is no duration; write it like \"30s\", \"1m 30s\" or \"250ms\""));
    match spelling {
        Spelling::Seconds(seconds) => Ok(Duration::from_secs(*seconds)),
        Spelling::Fraction(seconds) => Duration::try_from_secs_f64(*seconds).map_err(|_| wrong(&seconds.to_string())),
        Spelling::Text(text) => text
            .parse::<jiff::Span>()
            .ok()
            // Nothing here is about a calendar: a day is 24 hours, also when the clocks change.
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok())
            .and_then(|signed| Duration::try_from(signed).ok())
            .ok_or_else(|| wrong(text)),
    }
}

/// A duration as people write it.
pub fn text(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration).map_or_else(|_| format!("{}s", duration.as_secs()), |it| format!("{it:#}"))
}

/// The duration that `text` says, or why it says none.
pub fn from_text(text: &str) -> Result<Duration, String> {
    let spelling = text.parse().map_or_else(|_| Spelling::Text(text.to_owned()), Spelling::Seconds);
    parse::<serde::de::value::Error>(&spelling).map_err(|error| error.to_string())
}

/// Reads a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&Spelling::deserialize(deserializer)?)
}

/// Writes a duration as people write it.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// The same for a duration that may be absent.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, Spelling, parse, text};

    /// Reads a duration, if there is one.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<Spelling>::deserialize(deserializer)?.map(|spelling| parse(&spelling)).transpose()
    }

    /// Writes a duration as people write it, if there is one.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&text(*duration)),
            None => serializer.serialize_none(),
        }
    }
}
