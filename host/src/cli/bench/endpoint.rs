//! Where requests go: an address, and what HTTP calls it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use http::{HeaderValue, Uri};

/// A place that is spoken to over HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is called.
    pub host: HeaderValue,
    /// The path and the query.
    pub path: Uri,
}

impl Endpoint {
    /// The endpoint that `url` names. Its name is looked up now, once.
    ///
    /// # Errors
    /// It is no `http` URL, or its host is not known.
    pub fn of(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => bail!(
                "`{url}` wants TLS, whose cost this load generator would measure with the server's; name the server's plain address"
            ),
            _ => bail!("`{url}` is not a URL; write for example `http://127.0.0.1:7300/mcp`"),
        }
        let authority = uri.authority().with_context(|| format!("`{url}` names no host"))?;
        let host = HeaderValue::from_str(authority.as_str()).with_context(|| format!("`{url}` names no host"))?;
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let found = std::net::ToSocketAddrs::to_socket_addrs(&(name, authority.port_u16().unwrap_or(80)));
        let mut addresses = found.with_context(|| format!("`{name}` is not known"))?;
        let address = addresses.next().with_context(|| format!("`{name}` has no address"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse().expect("a part of a URL");
        Ok(Self { address, host, path })
    }

    /// Another path at the same address.
    pub fn at(&self, path: &'static str) -> Self {
        Self { path: Uri::from_static(path), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_urls_are_taken_apart_and_others_are_refused_in_words() {
        let endpoint = Endpoint::of("http://127.0.0.1:7300/mcp?x=1").expect("a URL");
        assert_eq!((endpoint.address.to_string().as_str(), endpoint.path.to_string().as_str()), ("127.0.0.1:7300", "/mcp?x=1"));
        assert_eq!(Endpoint::of("http://[::1]").expect("a URL").address.to_string(), "[::1]:80");
        assert_eq!(endpoint.at("/dev/token").path, "/dev/token");
        for (url, problem) in [("https://127.0.0.1/mcp", "TLS"), ("127.0.0.1:7300", "not a URL"), ("http:///", "not a URL")] {
            let refused = format!("{:#}", Endpoint::of(url).expect_err(url));
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
