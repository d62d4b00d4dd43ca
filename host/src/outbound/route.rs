//! From `http://billing/invoices/7` to the operator's URL, without a way around the path it starts with, and from the URL of a
//! literal origin to itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::uri::{PathAndQuery, Scheme};
use http::{Method, Uri};

use super::backend::Backend;
use crate::model::{Origin, OriginError};

/// Times a path may be percent-encoded; a guest that hides more has no honest reason to.
const MAX_ENCODINGS: usize = 4;
/// The longest path and query, in bytes.
const MAX_LENGTH: usize = 8 << 10;

/// What a call may reach: logical backends by name, and literal origins as the manifest spells them.
pub(super) type Reachable = BTreeMap<String, Arc<Backend>>;

/// The logical backend or literal origin a guest's request names, as its own name, and what is known of it.
pub(super) fn target(uri: &Uri, reachable: &Reachable) -> Result<(String, Arc<Backend>), &'static str> {
    let authority = uri.authority().ok_or("it names no backend")?.as_str();
    // The authority whole: with a port or a user name it is not a logical name.
    let logical = reachable.get_key_value(authority).filter(|_| uri.scheme() == Some(&Scheme::HTTP));
    if let Some((name, backend)) = logical {
        return Ok((name.clone(), Arc::clone(backend)));
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    let origin: Origin = format!("{scheme}://{authority}").parse().map_err(|error: OriginError| error.problem)?;
    if origin.is_wildcard() {
        return Err("it names no single origin");
    }
    let name = origin.to_string();
    let backend = find(&name, reachable).ok_or("it is neither a backend nor an origin of this plugin")?;
    Ok((name, Arc::clone(backend)))
}

/// What goes by this name.
pub(super) fn find<'r>(name: &str, reachable: &'r Reachable) -> Option<&'r Arc<Backend>> {
    reachable.get(name).or_else(|| {
        let origin: Origin = name.parse().ok()?;
        let origins = reachable.iter().filter_map(|(text, backend)| Some((text.parse::<Origin>().ok()?, backend)));
        let covering = origins.filter(|(allowed, _)| allowed.covers(&origin));
        // What is said of few counts before what is said of all.
        covering.reduce(|few, next| if few.0.covers(&next.0) { next } else { few }).map(|(_, backend)| backend)
    })
}

/// Methods a guest may use: no tunnels, no tracing of what the host added.
pub(super) fn check_method(method: &Method) -> Result<(), &'static str> {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    if known.contains(method) { Ok(()) } else { Err("the method is not one that backends are sent") }
}

/// The operator's URL for the guest's path and query, or the origin's own.
pub(super) fn real_uri(name: &str, backend: &Backend, uri: &Uri) -> Result<Uri, &'static str> {
    let wanted = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if wanted.len() > MAX_LENGTH {
        return Err("the path is too long");
    }
    check_path(uri.path())?;
    let slash = if wanted.starts_with('/') { "" } else { "/" };
    let real = match backend.is_origin {
        true => format!("{name}{slash}{wanted}"),
        false => format!("{}{}{slash}{wanted}", backend.prefix(), backend.base),
    };
    real.parse().map_err(|_| "the path is not valid")
}

/// Refuses paths that could mean another one to the backend: it may decode and normalize more than once.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.starts_with("//") {
        return Err("the path starts with an empty segment");
    }
    let mut path = path.as_bytes().to_vec();
    for _ in 0..MAX_ENCODINGS {
        if path.iter().any(u8::is_ascii_control) {
            return Err("the path holds control characters");
        }
        // What follows a `;` in a segment is a parameter to some servers, and dropped before normalizing.
        let mut segments = path.split(|byte| matches!(byte, b'/' | b'\\'));
        if segments.any(|segment| matches!(segment.split(|&byte| byte == b';').next(), Some(b"." | b".."))) {
            return Err("the path leads out of the backend's own");
        }
        match decoded(&path) {
            Some(once_more) => path = once_more,
            None => return Ok(()),
        }
    }
    Err("the path is encoded too many times")
}

/// The path with one layer of percent-encoding removed; `None` if there was none.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    let mut found = false;
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match tail {
            [high, low, after @ ..] if byte == b'%' && hex(*high).is_some() && hex(*low).is_some() => {
                plain.push(hex(*high)? << 4 | hex(*low)?);
                (rest, found) = (after, true);
            }
            _ => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    found.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::super::backend::BackendConfig;
    use super::*;

    fn real(path: &str) -> Result<String, &'static str> {
        let backend = Backend::new("billing", &BackendConfig::at("http://10.0.0.7:8080/v1/")).expect("well formed");
        let uri: Uri = format!("http://billing{path}").parse().map_err(|_| "not a URL")?;
        real_uri("billing", &backend, &uri).map(|uri| uri.to_string())
    }

    #[test]
    fn a_path_is_joined_to_the_backends_own() {
        assert_eq!(real("/invoices/7?full=1").as_deref(), Ok("http://10.0.0.7:8080/v1/invoices/7?full=1"));
        assert_eq!(real("").as_deref(), Ok("http://10.0.0.7:8080/v1/"));
        assert_eq!(real("?q=1").as_deref(), Ok("http://10.0.0.7:8080/v1/?q=1"));
        assert_eq!(real("/files/a%2Fb..c/...").as_deref(), Ok("http://10.0.0.7:8080/v1/files/a%2Fb..c/..."));
    }

    #[test]
    fn no_spelling_of_dot_dot_leaves_the_backends_path() {
        for path in [
            "/../admin",
            "/a/../../admin",
            "/..",
            "/%2e%2e/admin",
            "/%2E./admin",
            "/a/..%2fadmin",
            "/a%2f..%2fadmin",
            "/..%5cadmin",
            "/%252e%252e/admin",
            "/%25252e%25252e/admin",
            "/..;x=1/admin",
            "/./admin",
            "//evil.example/",
            "/a%00b",
            "/a%0d%0aHost: evil",
        ] {
            assert!(real(path).is_err(), "{path}");
        }
    }

    fn reachable(names: &[&str]) -> Reachable {
        let config = BackendConfig::at("http://10.0.0.7:8080/v1/");
        let backend = Arc::new(Backend::new("billing", &config).expect("well formed"));
        names.iter().map(|name| ((*name).to_owned(), Arc::clone(&backend))).collect()
    }

    #[test]
    fn only_a_bare_name_is_a_backend() {
        let reachable = reachable(&["billing"]);
        let name = |text: &str| {
            text.parse::<Uri>().map_err(|_| "not a URL").and_then(|uri| target(&uri, &reachable).map(|found| found.0))
        };
        assert_eq!(name("http://billing/x").as_deref(), Ok("billing"));
        for text in
            ["https://billing/", "http://billing:80/", "http://u@billing/", "http://[::1]/", "/billing", "http://BILLING/"]
        {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_reached_in_any_spelling_of_its_own_and_no_other() {
        let reachable = reachable(&["https://api.example.com", "https://*.cdn.example:8443"]);
        let name = |text: &str| {
            text.parse::<Uri>().map_err(|_| "not a URL").and_then(|uri| target(&uri, &reachable).map(|found| found.0))
        };
        for (text, origin) in [
            ("https://api.example.com/v1", "https://api.example.com"),
            ("https://API.example.com:443/", "https://api.example.com"),
            ("https://a.b.cdn.example:8443/x", "https://a.b.cdn.example:8443"),
        ] {
            assert_eq!(name(text).as_deref(), Ok(origin), "{text}");
        }
        for text in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com./",
            "https://api.example.com@evil.example/",
            "https://user@api.example.com/",
            "https://evil.example/?https://api.example.com",
            "https://sub.api.example.com/",
            "https://cdn.example:8443/",
            "https://a.cdn.example/",
            "https://*.cdn.example:8443/",
            "https://2130706433/",
        ] {
            assert!(name(text).is_err(), "{text}: {:?}", name(text));
        }
    }
}
