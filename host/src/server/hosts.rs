//! Who may be addressed, and from which pages: `Host` and `Origin` checks against DNS rebinding (MCP 2026-07-28, transports,
//! "Security Warning").

use http::header::{HOST, ORIGIN};
use http::uri::{Authority, Uri};
use http::{HeaderMap, StatusCode};

use super::rpc::RpcError;

/// The hosts and origins a listener answers. Loopback names always count, at any port.
#[derive(Clone, Debug)]
pub struct Hosts {
    hosts: Vec<Site>,
    origins: Vec<Origin>,
}

/// A host name, and a port unless any will do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    host: String,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    site: Site,
}

/// A configured host or origin that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// Not a host.
    #[error("`{0}` is not a host; write for example \"mcp.example.com\" or \"mcp.example.com:8443\"")]
    Host(String),
    /// Not an origin.
    #[error("`{0}` is not an origin; write for example \"https://app.example.com\" or \"http://localhost:*\"")]
    Origin(String),
}

impl Hosts {
    /// The loopback names alone.
    pub fn loopback() -> Self {
        Self { hosts: Vec::new(), origins: Vec::new() }
    }

    /// Loopback, and what the operator allows: hosts with or without a port, origins with a port, the scheme's own port, or
    /// `:*` for any.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn new(hosts: &[String], origins: &[String]) -> Result<Self, HostsError> {
        let hosts = hosts.iter().map(|text| Site::configured(text)).collect::<Result<_, _>>()?;
        let origins = origins.iter().map(|text| Origin::configured(text)).collect::<Result<_, _>>()?;
        Ok(Self { hosts, origins })
    }

    /// The same, with a server's own public address, which browsers may also come from.
    #[must_use]
    pub fn with_public(mut self, url: &Uri) -> Self {
        if let Some(origin) = Origin::of_uri(url) {
            self.hosts.push(Site { port: None, ..origin.site.clone() });
            self.origins.push(origin);
        }
        self
    }

    /// Checks where a request wants to go and which page sent it.
    ///
    /// # Errors
    /// A `Host` that is missing, doubled or malformed (400), or one that is not ours; an `Origin` that is not allowed (403).
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), RpcError> {
        self.check_host(uri, headers)?;
        for origin in headers.get_all(ORIGIN) {
            if !origin.to_str().ok().and_then(Origin::parse).is_some_and(|origin| self.allows_origin(&origin)) {
                return Err(RpcError::http(
                    StatusCode::FORBIDDEN,
                    "pages from the `Origin` of this request may not call this server; an operator can add it to `allowed_origins`",
                ));
            }
        }
        Ok(())
    }

    /// Checks where a request wants to go, whichever page sent it: for what is public anyway.
    ///
    /// # Errors
    /// A `Host` that is missing, doubled or malformed (400), or one that is not ours (403).
    pub fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), RpcError> {
        let mut values = headers.get_all(HOST).iter();
        let (Some(host), None) = (values.next(), values.next()) else {
            return Err(RpcError::http(StatusCode::BAD_REQUEST, "a request has exactly one `Host` header"));
        };
        let host = host.to_str().ok().and_then(Site::parse);
        let host = host.ok_or_else(|| RpcError::http(StatusCode::BAD_REQUEST, "the header `Host` is malformed"))?;
        let absolute = uri.authority().map(Site::of_authority);
        if !self.allows_host(&host) || absolute.is_some_and(|site| !self.allows_host(&site)) {
            return Err(RpcError::http(
                StatusCode::FORBIDDEN,
                "this server does not answer to the name in the header `Host`; an operator can add it to `allowed_hosts`",
            ));
        }
        Ok(())
    }

    fn allows_host(&self, site: &Site) -> bool {
        site.is_loopback() || self.hosts.iter().any(|allowed| allowed.covers(site))
    }

    fn allows_origin(&self, origin: &Origin) -> bool {
        let is_web = matches!(origin.scheme.as_str(), "http" | "https");
        (is_web && origin.site.is_loopback())
            || self.origins.iter().any(|allowed| allowed.scheme == origin.scheme && allowed.site.covers(&origin.site))
    }
}

impl Site {
    fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        // User information in a host is a disguise, never a need.
        (!text.contains('@')).then(|| Self::of_authority(&authority))
    }

    fn of_authority(authority: &Authority) -> Self {
        Self { host: authority.host().trim_end_matches('.').to_ascii_lowercase(), port: authority.port_u16() }
    }

    fn configured(text: &str) -> Result<Self, HostsError> {
        Self::parse(text).filter(|site| !site.host.is_empty()).ok_or_else(|| HostsError::Host(text.to_owned()))
    }

    fn is_loopback(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "[::1]")
    }

    fn covers(&self, other: &Self) -> bool {
        self.host == other.host && self.port.is_none_or(|port| other.port == Some(port))
    }
}

impl Origin {
    /// An origin as browsers write it; a missing port is the scheme's own (RFC 6454 §6.2).
    fn parse(text: &str) -> Option<Self> {
        Self::of_uri(&text.parse().ok()?)
    }

    fn of_uri(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let mut site = Site::of_authority(uri.authority()?);
        site.port = site.port.or(match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        });
        Some(Self { scheme, site })
    }

    fn configured(text: &str) -> Result<Self, HostsError> {
        let (base, any_port) = text.strip_suffix(":*").map_or((text, false), |base| (base, true));
        let mut origin = Self::parse(base).ok_or_else(|| HostsError::Origin(text.to_owned()))?;
        if any_port {
            origin.site.port = None;
        }
        Ok(origin)
    }
}

#[cfg(test)]
mod tests;
