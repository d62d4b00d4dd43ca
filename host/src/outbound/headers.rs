//! Headers: which belong to the host alone, and what becomes of the rest on the way out and in.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::backend::Backend;

/// Headers of the host alone, beside everything that starts with a prefix of [`RESERVED_PREFIXES`]: framing, routing,
/// credentials, identity and trace.
const RESERVED: [&str; 42] = [
    // Framing and connection (RFC 9110 §7.6.1), decided by the client library. `content-length` is not among them: a
    // guest may state it, and it is dropped on the way out.
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // Routing, and what overrides it.
    "alt-svc",
    "forwarded",
    "host",
    "max-forwards",
    "origin-agent-cluster",
    "via",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    // Where a request comes from, as proxies tell it.
    "cf-connecting-ip",
    "client-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
    // Credentials.
    "authentication-info",
    "authorization",
    "cookie",
    "cookie2",
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
    // Identity and trace, which the host derives; also in the forms that came before W3C's.
    "b3",
    "baggage",
    "idempotency-key",
    "remote-user",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "x-remote-user",
];
const RESERVED_PREFIXES: [&str; 4] = ["proxy-", "x-forwarded", "sec-", "x-b3-"];

/// Headers of a response that hold addresses among other things, and are not worth rewriting.
const ADDRESSING: [&str; 2] = ["link", "refresh"];

/// Whether a header belongs to the host: a guest can neither set it nor see it.
pub fn is_reserved(name: &HeaderName) -> bool {
    let is_listed = |name: &str| RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let name = name.as_str();
    // Where headers become variables, as in CGI and what descends from it, `_` and `-` are the same.
    is_listed(name) || (name.contains('_') && is_listed(&name.replace('_', "-")))
}

/// Whether an operator may send a credential in it: anything that cannot change where or how a request goes.
pub(super) fn can_carry_credential(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION || *name == header::COOKIE || !(is_reserved(name) || *name == header::CONTENT_LENGTH)
}

/// What goes out: the guest's headers without the host's, and without the one that carries the backend's credential.
pub(super) fn outgoing(guest: &HeaderMap, backend: &Backend) -> HeaderMap {
    let is_hosts = |name: &HeaderName| is_reserved(name) || *name == header::CONTENT_LENGTH || is_credential(name, backend);
    let kept = guest.iter().filter(|(name, _)| !is_hosts(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What a guest may see of a response: no credentials, and no address but its own name for the backend.
pub(super) fn incoming(mut headers: HeaderMap, name: &str, backend: &Backend) -> HeaderMap {
    // What a server of the public internet names tells nothing of the operator's network.
    let tells =
        |name: &HeaderName| ADDRESSING.contains(&name.as_str()) && !(backend.is_origin && backend.service.is_public_only());
    // A backend that echoes what it was sent must not give the credential away.
    let is_hidden = |name: &&HeaderName| is_reserved(name) || is_credential(name, backend) || tells(name);
    let hidden: Vec<_> = headers.keys().filter(is_hidden).cloned().collect();
    for name in hidden {
        headers.remove(name);
    }
    for location in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(value) = headers.remove(&location) else { continue };
        if let Some(value) = logical(&value, name, backend) {
            headers.insert(location, value);
        }
    }
    headers
}

/// Whether it carries the backend's credential, in any spelling that is the same to those for whom `_` and `-` are.
fn is_credential(name: &HeaderName, backend: &Backend) -> bool {
    let plain = |name: &HeaderName| name.as_str().replace('_', "-");
    backend.service.credential_header().is_some_and(|credential| plain(credential) == plain(name))
}

/// A location in the guest's terms; `None` if it has none there.
fn logical(value: &HeaderValue, name: &str, backend: &Backend) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let own = if backend.is_origin { name.to_owned() } else { backend.prefix() };
    let path = match text.strip_prefix(&own) {
        Some(path) => path,
        // A path on the same host.
        None if text.starts_with('/') && !text.starts_with("//") => text,
        // A path relative to the request's own says nothing about the host.
        None if !text.contains(':') && !text.starts_with("//") => return Some(value.clone()),
        // A server of the public internet may name another one: that tells nothing of the operator's network.
        None if backend.is_origin && backend.service.is_public_only() => return Some(value.clone()),
        None => return None,
    };
    let rest = path.strip_prefix(&backend.base)?;
    let whole_segment = rest.is_empty() || rest.starts_with(['/', '?']);
    let scheme = if backend.is_origin { "" } else { "http://" };
    whole_segment.then(|| HeaderValue::from_str(&format!("{scheme}{name}{rest}")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::config::BackendConfig;
    use super::super::{OriginsConfig, resolve};
    use super::*;

    fn backend() -> Backend {
        Backend::new("billing", &BackendConfig::at("https://internal.example:8443/v1")).expect("well formed")
    }

    fn origin(private: bool) -> Backend {
        let toml = format!("allow = [{{ origin = \"https://*.example.com\", private = {private} }}]");
        let config: OriginsConfig = toml::from_str(&toml).expect("well formed");
        config.allow[0].backend(resolve::system()).expect("no files are needed")
    }

    fn location(value: &'static str) -> Option<String> {
        location_from("billing", &backend(), value)
    }

    fn location_from(name: &str, backend: &Backend, value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, HeaderValue::from_static(value));
        let seen = incoming(headers, name, backend);
        seen.get(header::LOCATION).map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn a_location_names_the_logical_backend_or_nothing() {
        assert_eq!(location("https://internal.example:8443/v1/invoices/7").as_deref(), Some("http://billing/invoices/7"));
        assert_eq!(location("/v1/invoices/7").as_deref(), Some("http://billing/invoices/7"));
        assert_eq!(location("7?full=1").as_deref(), Some("7?full=1"));
        assert_eq!(location("https://elsewhere.example/"), None);
        assert_eq!(location("//elsewhere.example/"), None);
        assert_eq!(location("/v10/admin"), None);
    }

    #[test]
    fn a_location_of_an_origin_tells_of_other_servers_only_if_all_are_public() {
        let name = "https://api.example.com";
        for (value, public, private) in [
            ("https://api.example.com/v2", Some("https://api.example.com/v2"), Some("https://api.example.com/v2")),
            ("/v2", Some("https://api.example.com/v2"), Some("https://api.example.com/v2")),
            ("https://other.example/", Some("https://other.example/"), None),
        ] {
            assert_eq!(location_from(name, &origin(false), value).as_deref(), public, "{value}");
            assert_eq!(location_from(name, &origin(true), value).as_deref(), private, "{value}");
        }
    }

    #[test]
    fn a_guest_cannot_speak_for_the_host() {
        let mut guest = HeaderMap::new();
        let hosts = RESERVED.iter().copied().chain([
            "x-forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "proxy-authorization",
            "proxy-connection",
            "sec-fetch-site",
            "x-b3-traceid",
            "x_forwarded_for",
            "idempotency_key",
            "proxy_authorization",
            "content-length",
        ]);
        for name in hosts {
            guest.insert(HeaderName::from_static(name), HeaderValue::from_static("forged"));
        }
        let own = ["accept", "accept-encoding", "content-type", "user-agent", "if-none-match", "range", "x-api-version", "x_own"];
        for name in own {
            guest.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let sent = outgoing(&guest, &backend());
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let mut expected = own;
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_header_that_carries_the_credential_is_the_hosts_in_both_directions() {
        let mut config = BackendConfig::at("https://internal.example");
        config.credential = toml::from_str("header = \"X-Api-Key\"\nenv = \"PATH\"").expect("well formed");
        let backend = Backend::new("billing", &config).expect("the variable is set everywhere");
        config.credential = toml::from_str("header = \"x_api_key\"\nenv = \"PATH\"").expect("well formed");
        let underscored = Backend::new("billing", &config).expect("the variable is set everywhere");
        for backend in [&backend, &underscored] {
            let mut headers = HeaderMap::new();
            for name in ["x-api-key", "x_api_key", "x-api_key"] {
                headers.append(name, HeaderValue::from_static("forged"));
            }
            assert!(outgoing(&headers, backend).is_empty());
            assert!(incoming(headers, "billing", backend).is_empty());
        }
    }

    #[test]
    fn links_and_refreshes_tell_nothing_of_the_operators_network() {
        let mut headers = HeaderMap::new();
        headers.append(header::LINK, HeaderValue::from_static("</v1/items?page=2>; rel=next"));
        headers.append(header::LINK, HeaderValue::from_static("<https://internal.example:8443/v1/items?page=9>; rel=last"));
        headers.insert(header::REFRESH, HeaderValue::from_static("5; url=https://internal.example:8443/v1"));
        assert!(incoming(headers.clone(), "billing", &backend()).is_empty());
        assert!(incoming(headers.clone(), "https://api.example.com", &origin(true)).is_empty());
        assert_eq!(incoming(headers.clone(), "https://api.example.com", &origin(false)), headers);
    }

    #[test]
    fn a_guest_sees_no_credentials_in_a_response() {
        let mut headers = HeaderMap::new();
        for name in ["set-cookie", "www-authenticate", "proxy-authenticate", "content-type"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        assert_eq!(incoming(headers, "billing", &backend()).keys().collect::<Vec<_>>(), [header::CONTENT_TYPE]);
    }
}
