//! Human-readable durations: `"30s"`, `"1m 30s"`, `"250ms"`, `"90d"`. A plain number is in seconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum RawDuration {
    Seconds(u64),
    Fraction(f64),
    Text(String),
}

fn parse<E: Error>(raw: &RawDuration) -> Result<Duration, E> {
    let wrong =
        |text: &str| E::custom(format!("{text:?} is not a duration; write it like \"30s\", \"1m 30s\" or \"250ms\""));
    match raw {
        RawDuration::Seconds(seconds) => Ok(Duration::from_secs(*seconds)),
        RawDuration::Fraction(seconds) => {
            Duration::try_from_secs_f64(*seconds).map_err(|_| wrong(&seconds.to_string()))
        }
        RawDuration::Text(text) => text
            .parse::<jiff::Span>()
            .ok()
            // Durations are not calendar spans: a day is always 24 hours, even when daylight saving begins or ends.
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok())
            .and_then(|signed| Duration::try_from(signed).ok())
            .ok_or_else(|| wrong(text)),
    }
}

/// Formats a duration so that [`from_text`] can read it.
pub fn text(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration).map_or_else(|_| format!("{}s", duration.as_secs()), |it| format!("{it:#}"))
}

/// Parses a duration. The error explains what is wrong with `text`.
pub fn from_text(text: &str) -> Result<Duration, String> {
    let raw = text.parse().map_or_else(|_| RawDuration::Text(text.to_owned()), RawDuration::Seconds);
    parse::<serde::de::value::Error>(&raw).map_err(|error| error.to_string())
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&RawDuration::deserialize(deserializer)?)
}

pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// The same for an optional duration.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, RawDuration, Serializer, parse, text};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<RawDuration>::deserialize(deserializer)?.map(|raw| parse(&raw)).transpose()
    }

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&text(*duration)),
            None => serializer.serialize_none(),
        }
    }
}
