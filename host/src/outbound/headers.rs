//! Headers: which belong to the host alone, and what becomes of the rest on the way out and in.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::backend::Backend;

/// Headers of the host alone, beside everything that starts with a prefix of [`RESERVED_PREFIXES`]: framing, routing,
/// credentials, identity and trace.
const RESERVED: [&str; 31] = [
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
    // Routing.
    "alt-svc",
    "forwarded",
    "host",
    "max-forwards",
    "origin-agent-cluster",
    "via",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-method-override",
    "x-http-method",
    // Credentials.
    "authentication-info",
    "authorization",
    "cookie",
    "cookie2",
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
    // Identity and trace, which the host derives.
    "baggage",
    "idempotency-key",
    "traceparent",
    "tracestate",
];
const RESERVED_PREFIXES: [&str; 3] = ["proxy-", "x-forwarded-", "sec-"];

/// Whether a header belongs to the host: a guest can neither set it nor see it.
pub fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether an operator may send a credential in it: anything that cannot change where or how a request goes.
pub(super) fn can_carry_credential(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION || *name == header::COOKIE || !(is_reserved(name) || *name == header::CONTENT_LENGTH)
}

/// What goes out: the guest's headers without the host's, and without the one that carries the backend's credential.
pub(super) fn outgoing(guest: &HeaderMap, backend: &Backend) -> HeaderMap {
    let credential = backend.exchange.credential_header();
    let is_hosts = |name: &HeaderName| is_reserved(name) || *name == header::CONTENT_LENGTH || Some(name) == credential;
    let kept = guest.iter().filter(|(name, _)| !is_hosts(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What a guest may see of a response: no credentials, and no address but its own name for the backend.
pub(super) fn incoming(mut headers: HeaderMap, name: &str, backend: &Backend) -> HeaderMap {
    let hidden: Vec<_> = headers.keys().filter(|name| is_reserved(name)).cloned().collect();
    for name in hidden {
        headers.remove(name);
    }
    if let Some(credential) = backend.exchange.credential_header() {
        // A backend that echoes what it was sent must not give it away.
        headers.remove(credential);
    }
    for location in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(value) = headers.remove(&location) else { continue };
        if let Some(value) = logical(&value, name, backend) {
            headers.insert(location, value);
        }
    }
    headers
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
        None if backend.is_origin && backend.exchange.is_public_only() => return Some(value.clone()),
        None => return None,
    };
    let rest = path.strip_prefix(&backend.base)?;
    let whole_segment = rest.is_empty() || rest.starts_with(['/', '?']);
    let scheme = if backend.is_origin { "" } else { "http://" };
    whole_segment.then(|| HeaderValue::from_str(&format!("{scheme}{name}{rest}")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::backend::BackendConfig;
    use super::*;

    fn backend() -> Backend {
        Backend::new("billing", &BackendConfig::at("https://internal.example:8443/v1")).expect("well formed")
    }

    fn location(value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, HeaderValue::from_static(value));
        let seen = incoming(headers, "billing", &backend());
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
    fn a_guest_cannot_speak_for_the_host() {
        let mut guest = HeaderMap::new();
        for name in
            ["authorization", "cookie", "idempotency-key", "traceparent", "host", "x-forwarded-for", "proxy-authorization"]
        {
            guest.insert(HeaderName::from_static(name), HeaderValue::from_static("forged"));
        }
        guest.insert(header::CONTENT_LENGTH, HeaderValue::from_static("999"));
        guest.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let sent = outgoing(&guest, &backend());
        assert_eq!(sent.keys().collect::<Vec<_>>(), [header::ACCEPT]);
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
