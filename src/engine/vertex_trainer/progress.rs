//! The container's `progress.json`.

use serde::Deserialize;
use serde_json::Value;

/// The progress of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Report {
    pub(super) step: u32,
    pub(super) total: u32,
    /// The loss is NaN or infinite.
    pub(super) diverged: bool,
}

#[derive(Deserialize)]
struct ProgressFile {
    attempt: u32,
    step: u32,
    total: u32,
    #[serde(default)]
    loss: Value,
}

/// Reads the progress of an attempt; `None` for an unreadable file, and for one of another attempt.
pub(super) fn read(text: &[u8], attempt: u32) -> Option<Report> {
    let text = String::from_utf8_lossy(text);
    let written: ProgressFile = match serde_json::from_str(&text).or_else(|_| serde_json::from_str(&quoted(&text))) {
        Ok(written) => written,
        Err(error) => {
            tracing::debug!(%error, "progress.json cannot be parsed");
            return None;
        }
    };
    if written.attempt != attempt || written.total == 0 || written.step > written.total {
        tracing::debug!(written.attempt, written.step, written.total, attempt, "progress.json is not usable");
        return None;
    }
    let loss = match &written.loss {
        Value::Number(loss) => loss.as_f64(),
        Value::String(loss) => loss.parse().ok(),
        _ => None,
    };
    let diverged = loss.is_some_and(|loss| !loss.is_finite());
    Some(Report { step: written.step, total: written.total, diverged })
}

/// Python writes `NaN` and `Infinity`, which JSON does not have.
fn quoted(text: &str) -> String {
    let mut out = text.to_owned();
    for word in ["-Infinity", "Infinity", "NaN"] {
        out = out
            .replace(&format!(": {word}"), &format!(": \"{word}\""))
            .replace(&format!(":{word}"), &format!(":\"{word}\""));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_or_ignored() {
        let report = |step, diverged| Some(Report { step, total: 1000, diverged });
        let whole = br#"{"v":1,"job":"j","attempt":2,"step":120,"total":1000,"loss":0.087,"phase":"train","at":"x"}"#;
        assert_eq!(read(whole, 2), report(120, false));
        assert_eq!(read(whole, 3), None, "of an attempt before");
        assert_eq!(read(br#"{"attempt":2,"step":1,"total":1000}"#, 2), report(1, false), "no loss yet");
        for loss in ["NaN", "-Infinity", "\"nan\""] {
            let text = format!(r#"{{"attempt": 2, "step": 3, "total": 1000, "loss": {loss}}}"#);
            assert_eq!(read(text.as_bytes(), 2), report(3, true), "{loss}");
        }
        let unusable = [
            "",
            "{",
            "[]",
            "null",
            "NaN",
            r#"{"attempt":2,"step":3}"#,
            r#"{"attempt":2,"step":-3,"total":10}"#,
            r#"{"attempt":2,"step":11,"total":10}"#,
            r#"{"attempt":2,"step":0,"total":0}"#,
        ];
        for text in unusable {
            assert_eq!(read(text.as_bytes(), 2), None, "{text}");
        }
        assert_eq!(read(b"\xff\xfe", 2), None);
    }
}
