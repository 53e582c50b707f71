//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header-07): a quoted string, also accepted without
//! quotes.

use axum::http::{HeaderMap, HeaderName};

use super::problem::{Code, Problem};

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks the response to a repeated request.
pub(super) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const MAX_CHARS: usize = 255;

/// The key without its quotes; `None` if the request has no such header.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid());
    }
    let text = value.to_str().map_err(|_| invalid())?.trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => (!text.contains('"')).then(|| text.to_owned()),
    };
    let printable = |key: &String| key.bytes().all(|b| (b' '..=b'~').contains(&b));
    key.filter(|key| !key.trim().is_empty() && key.len() <= MAX_CHARS && printable(key)).map(Some).ok_or_else(invalid)
}

/// The content of a structured-field string, given without its opening quote.
fn unquoted(text: &str) -> Option<String> {
    let mut key = String::with_capacity(text.len());
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => key.push(c),
        }
    }
}

fn invalid() -> Problem {
    Problem::new(
        Code::IdempotencyKeyInvalid,
        "Idempotency-Key must be given once, as 1 to 255 printable ASCII characters, preferably in double quotes",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key, or `None` if the header is invalid.
    fn parsed(text: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, axum::http::HeaderValue::from_bytes(text).unwrap());
        key(&headers).ok().map(|key| key.expect("there is a header"))
    }

    #[test]
    fn quoted_and_unquoted_keys_are_equal() {
        let key = Some("8e03978e-40d5".to_owned());
        assert_eq!(parsed(b"\"8e03978e-40d5\""), key);
        assert_eq!(parsed(b"8e03978e-40d5"), key);
        assert_eq!(parsed(br#""a\"b\\c""#), Some(r#"a"b\c"#.to_owned()));
        assert!(matches!(super::key(&HeaderMap::new()), Ok(None)));
    }

    #[test]
    fn invalid_keys_are_rejected() {
        let long = vec![b'k'; 256];
        for bad in [
            &b""[..],
            b"\"\"",
            b"\"  \"",
            b"\"open",
            b"\"a\"b",
            b"a\"b",
            br#""\n""#,
            "schl\u{fc}ssel".as_bytes(),
            &long,
        ] {
            assert_eq!(parsed(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        assert!(parsed(&long[..255]).is_some());
        assert!(parsed(&[b"\"", &long[..255], b"\""].concat()).is_some());
    }
}
