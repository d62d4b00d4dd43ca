//! Hosts and origins that are let in, and those that are not.

use http::HeaderValue;

use super::*;

fn check(hosts: &Hosts, host: &str, origin: Option<&str>) -> u16 {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(host).expect("a header value"));
    if let Some(origin) = origin {
        headers.insert(ORIGIN, HeaderValue::from_str(origin).expect("a header value"));
    }
    hosts.check(&Uri::from_static("/mcp"), &headers).map_or_else(|error| error.status.as_u16(), |()| 200)
}

#[test]
fn loopback_names_are_answered_at_any_port() {
    let hosts = Hosts::loopback();
    for host in ["localhost", "localhost:7300", "LOCALHOST.", "127.0.0.1:1", "[::1]:7300"] {
        assert_eq!(check(&hosts, host, None), 200, "{host}");
    }
    for host in ["evil.example.com", "localhost.evil.com", "127.0.0.1.nip.io", "127.0.0.2", "0.0.0.0"] {
        assert_eq!(check(&hosts, host, None), 403, "{host}");
    }
}

#[test]
fn a_host_that_is_missing_doubled_or_disguised_is_malformed() {
    let hosts = Hosts::loopback();
    let mut headers = HeaderMap::new();
    let status = |headers: &HeaderMap| hosts.check(&Uri::from_static("/"), headers).map_err(|error| error.status.as_u16());
    assert_eq!(status(&headers), Err(400));
    headers.append(HOST, HeaderValue::from_static("localhost"));
    headers.append(HOST, HeaderValue::from_static("localhost"));
    assert_eq!(status(&headers), Err(400));
    assert_eq!(check(&hosts, "evil@localhost", None), 400);
    assert_eq!(check(&hosts, "a b", None), 400);
}

#[test]
fn an_absolute_request_line_does_not_get_around_the_check() {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    let uri = Uri::from_static("http://evil.example.com/mcp");
    assert!(Hosts::loopback().check(&uri, &headers).is_err());
}

#[test]
fn pages_from_elsewhere_may_not_call() {
    let hosts = Hosts::loopback();
    for origin in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"] {
        assert_eq!(check(&hosts, "localhost", Some(origin)), 200, "{origin}");
    }
    for origin in ["https://evil.example.com", "null", "file://", "http://localhost.evil.com", "chrome-extension://abc", ""] {
        assert_eq!(check(&hosts, "localhost", Some(origin)), 403, "{origin}");
    }
}

#[test]
fn configured_hosts_and_origins_count_with_the_port_they_name() {
    let hosts = Hosts::new(
        &["mcp.example.com".into(), "other.example.com:8443".into()],
        &["https://app.example.com".into(), "http://dev.example.com:*".into()],
    )
    .expect("all can be read");
    assert_eq!(check(&hosts, "mcp.example.com:9999", None), 200);
    assert_eq!(check(&hosts, "other.example.com:8443", None), 200);
    assert_eq!(check(&hosts, "other.example.com", None), 403);
    assert_eq!(check(&hosts, "localhost", Some("https://app.example.com")), 200);
    assert_eq!(check(&hosts, "localhost", Some("https://app.example.com:443")), 200);
    assert_eq!(check(&hosts, "localhost", Some("https://app.example.com:444")), 403);
    assert_eq!(check(&hosts, "localhost", Some("http://app.example.com")), 403);
    assert_eq!(check(&hosts, "localhost", Some("http://dev.example.com:5173")), 200);
}

#[test]
fn the_public_url_is_answered_and_may_call() {
    let hosts = Hosts::loopback().with_public(&Uri::from_static("https://tools.example.com/mcp"));
    assert_eq!(check(&hosts, "tools.example.com", Some("https://tools.example.com")), 200);
    assert_eq!(check(&hosts, "tools.example.com", Some("https://tools.example.com:8443")), 403);
}

#[test]
fn what_is_no_host_or_origin_is_named() {
    assert_eq!(Hosts::new(&["https://x".into()], &[]).expect_err("a URL"), HostsError::Host("https://x".into()));
    assert_eq!(
        Hosts::new(&[], &["app.example.com".into()]).expect_err("no scheme"),
        HostsError::Origin("app.example.com".into())
    );
}
