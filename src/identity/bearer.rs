//! The bearer token of a request (RFC 6750).

use http::{HeaderMap, header};

use super::TokenError;

/// The token in `Authorization: Bearer TOKEN`. The scheme is case-insensitive. Repeated headers are refused, because a proxy
/// may have checked either of them.
pub fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    if values.next().is_some() {
        return Err(TokenError::Repeated);
    }
    let text = value.to_str().map_err(|_| TokenError::NotBearer)?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenError::NotBearer)?;
    let token = token.trim_start_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains([' ', ',']) {
        return Err(TokenError::NotBearer);
    }
    Ok(token)
}
