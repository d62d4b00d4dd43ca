//! Redirects: which the host follows itself. Only those that stay with the backend, below its own path, and change nothing.

use http::{HeaderMap, Method, StatusCode, Uri, header};
use url::Url;

use super::route;

/// Redirects that one request follows.
pub(super) const MAX_HOPS: usize = 3;

/// Where a response sends a request on to, if the host may follow: another path on the same scheme, host and port, below `base`.
/// Whatever it may not follow, the guest is told of.
pub(super) fn next(method: &Method, from: &Uri, base: &str, status: StatusCode, headers: &HeaderMap) -> Option<Uri> {
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !is_redirect || !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut locations = headers.get_all(header::LOCATION).iter();
    let (Some(location), None) = (locations.next(), locations.next()) else { return None };
    let from = Url::parse(&from.to_string()).ok()?;
    let next = from.join(location.to_str().ok()?).ok()?;
    let is_same = next.origin() == from.origin() && next.username().is_empty() && next.password().is_none();
    let is_below = next.path().strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // The same rules as for a guest's own path: no spelling of it may mean another one to the backend.
    if !is_same || !is_below || route::check_path(next.path()).is_err() {
        return None;
    }
    next[..url::Position::AfterQuery].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(method: &Method, status: u16, location: &str) -> Option<String> {
        let from = Uri::from_static("https://internal.example:8443/v1/invoices?page=1");
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, location.parse().expect("a header's value"));
        let status = StatusCode::from_u16(status).expect("a status");
        next(method, &from, "/v1", status, &headers).map(|uri| uri.to_string())
    }

    #[test]
    fn a_redirect_within_the_backend_is_followed() {
        for (location, leads) in [
            ("/v1/bills", "https://internal.example:8443/v1/bills"),
            ("bills?page=2#top", "https://internal.example:8443/v1/bills?page=2"),
            ("?page=2", "https://internal.example:8443/v1/invoices?page=2"),
            ("https://internal.example:8443/v1", "https://internal.example:8443/v1"),
            ("HTTPS://INTERNAL.example:8443/v1/x", "https://internal.example:8443/v1/x"),
            ("/v1/a/../bills", "https://internal.example:8443/v1/bills"),
        ] {
            for status in [301, 302, 303, 307, 308] {
                assert_eq!(followed(&Method::GET, status, location).as_deref(), Some(leads), "{status} {location}");
            }
        }
    }

    #[test]
    fn no_redirect_leads_elsewhere_or_repeats_what_may_change_something() {
        for location in [
            "http://internal.example:8443/v1/bills",
            "https://internal.example/v1/bills",
            "https://internal.example:8444/v1/bills",
            "https://elsewhere.example/v1/bills",
            "//elsewhere.example:8443/v1/bills",
            "\\\\elsewhere.example:8443\\v1",
            "https://user:secret@internal.example:8443/v1/bills",
            "https://internal.example:8443@elsewhere.example/v1/bills",
            "http://127.0.0.1/",
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "/admin",
            "/v10/bills",
            "/v1/../admin",
            "../admin",
            "/v1/%2e%2e/admin",
            "/v1/%252e%252e/admin",
            "/v1/..%2fadmin",
            "/v1/..;/admin",
        ] {
            assert_eq!(followed(&Method::GET, 302, location), None, "{location}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(followed(&method, 307, "/v1/bills"), None, "{method}");
        }
        for status in [200, 201, 300, 304, 305, 306, 404] {
            assert_eq!(followed(&Method::GET, status, "/v1/bills"), None, "{status}");
        }
    }

    #[test]
    fn two_locations_are_none() {
        let mut headers = HeaderMap::new();
        for location in ["/v1/a", "/v1/b"] {
            headers.append(header::LOCATION, location.parse().expect("a header's value"));
        }
        assert_eq!(next(&Method::GET, &Uri::from_static("http://b/v1/x"), "/v1", StatusCode::FOUND, &headers), None);
    }
}
