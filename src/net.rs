//! Checks of addresses that the configuration, the gateway and clients share.

use url::{Host, Url};

/// Whether the URL points to this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether paths can be appended to this URL to make links: http or https, without user, query or fragment.
pub fn is_http_base(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

/// Whether the text is an http(s) origin exactly as browsers send it, so that origins can be compared as text.
pub fn is_http_origin(text: &str) -> bool {
    Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognized_by_address_and_name() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:8080", true),
            ("https://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
            ("unix:/run/socket", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn bases_and_origins_are_plain() {
        let base = |url: &str| is_http_base(&url.parse().unwrap());
        assert!(base("https://api.example/forge/") && base("http://127.0.0.1:8080"));
        for url in ["ftp://x.example", "https://user:pw@x.example", "https://x.example/?a=1", "https://x.example/#a"] {
            assert!(!base(url), "{url}");
        }
        assert!(is_http_origin("https://app.example") && is_http_origin("http://localhost:3000"));
        for text in ["*", "", "app.example", "https://app.example/", "HTTPS://app.example", "ftp://app.example"] {
            assert!(!is_http_origin(text), "{text}");
        }
    }
}
