//! The `Prefer` header (RFC 7240): respond at once, or wait for the result.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The preferences that a response honours.
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest wait in seconds. Proxies, and Cloud Run as deployed here, end a request after a silent minute, and the submit
/// before the wait also takes time.
const MAX_WAIT: u64 = 50;

/// The preferences that this API can honour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Prefer {
    respond_async: bool,
    wait_seconds: Option<u64>,
}

impl Prefer {
    /// The preferences of a request. Unknown and unusable ones are ignored, as RFC 7240 requires; if a preference is
    /// repeated, the first one counts.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let lines = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        for preference in lines.flat_map(|line| line.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && prefer.wait_seconds.is_none() {
                prefer.wait_seconds = value.parse().ok().map(|seconds: u64| seconds.min(MAX_WAIT));
            }
        }
        prefer
    }

    /// How long to delay the response.
    pub fn wait(self) -> Option<Duration> {
        self.wait_seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// The value of `Preference-Applied`.
    pub fn applied(self) -> Option<HeaderValue> {
        match (self.respond_async, self.wait_seconds) {
            (false, None) => None,
            (true, None) => Some(HeaderValue::from_static("respond-async")),
            (false, Some(seconds)) => HeaderValue::try_from(format!("wait={seconds}")).ok(),
            (true, Some(seconds)) => HeaderValue::try_from(format!("respond-async, wait={seconds}")).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str) -> (Option<u64>, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(PREFER, HeaderValue::from_static(text));
        let prefer = Prefer::of(&headers);
        let applied = prefer.applied().map(|value| value.to_str().unwrap().to_owned());
        (prefer.wait().map(|wait| wait.as_secs()), applied)
    }

    #[test]
    fn preferences_are_read_leniently_and_bounded() {
        assert_eq!(parsed("wait=30"), (Some(30), Some("wait=30".to_owned())));
        assert_eq!(parsed("Respond-Async, WAIT = \"5\"; x=y"), (Some(5), Some("respond-async, wait=5".to_owned())));
        assert_eq!(parsed("wait=600"), (Some(50), Some("wait=50".to_owned())));
        assert_eq!(parsed("wait=0"), (None, Some("wait=0".to_owned())));
        assert_eq!(parsed("wait=3, wait=9"), (Some(3), Some("wait=3".to_owned())));
        for ignored in ["wait=-1", "wait=soon", "wait", "return=minimal", ""] {
            assert_eq!(parsed(ignored), (None, None), "{ignored}");
        }
    }
}
