//! The HTTP front's configuration: where it listens, whom it answers, and every limit it keeps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Uri;
use serde::Deserialize;

use super::hosts::{Hosts, HostsError};
use super::http::MCP_PATH;
use super::json::JsonLimits;
use super::listen::ConnectionLimits;
use super::pending::CALLS_PATH;
use crate::model::{Bytes, Span};

/// `[server]`: MCP over Streamable HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The address to listen on. Anything but loopback needs `public_url` or `allowed_hosts`.
    pub address: IpAddr,
    /// The port to listen on; 0 picks one.
    pub port: u16,
    /// The URL clients reach this server's MCP endpoint under, when it is not the one listened on: behind a proxy, or by name.
    pub public_url: Option<String>,
    /// Host names this server answers to, with or without a port, besides loopback and `public_url`.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call this server, besides loopback and `public_url`.
    pub allowed_origins: Vec<String>,
    /// Issuers that clients get tokens for this server from, as its protected resource metadata (RFC 9728) names them; those of
    /// `[auth.issuers]` by default. Without any, there is no such metadata.
    pub authorization_servers: Vec<String>,
    /// The largest request body.
    pub max_body: Bytes,
    /// The most memory that request bodies above 64 KiB take up at once, until they are answered; further ones wait for theirs.
    pub max_bodies: Bytes,
    /// The largest request head.
    pub max_head: Bytes,
    /// The most header fields of one request.
    pub max_fields: usize,
    /// The most connections at once; fewer if the limit on open files wants it so. For a further one the connection that has done
    /// nothing for longest is closed; while all are busy, it waits.
    pub max_connections: usize,
    /// The most `subscriptions/listen` streams at once; further ones are refused.
    pub max_streams: usize,
    /// How much JSON one message may hold.
    pub json: JsonLimits,
    /// How long a connection may take to deliver a request head, idle time before it included.
    pub idle_timeout: Span,
    /// How long a request body may take.
    pub body_timeout: Span,
    /// How long a client may refuse to read what it asked for.
    pub stall_timeout: Span,
    /// How often a silent event stream shows that it lives.
    pub stream_keep_alive: Span,
    /// How long requests under way may take to end once the host is told to stop.
    pub drain: Span,
    /// How long clients may take a tool list for fresh.
    pub list_ttl: Span,
    /// Whether to advertise prompts and resources although there are none. Not for configs: the conformance profile needs it,
    /// because the official suite asks for the cache hints of every list in one go.
    #[serde(skip)]
    pub empty_catalogues: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 7300,
            public_url: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            authorization_servers: Vec::new(),
            max_body: Bytes::mib(4),
            max_bodies: Bytes::mib(128),
            max_head: Bytes::kib(64),
            max_fields: 100,
            max_connections: 16_384,
            max_streams: 1024,
            json: JsonLimits::default(),
            idle_timeout: Span::seconds(60),
            body_timeout: Span::seconds(30),
            stall_timeout: Span::seconds(30),
            stream_keep_alive: Span::seconds(15),
            drain: Span::seconds(15),
            list_ttl: Span::seconds(30),
            empty_catalogues: false,
        }
    }
}

/// A configuration that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpConfigError {
    /// A host or origin is none.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// `public_url` is not a URL.
    #[error("`public_url` is `{0}`, which is not an http or https URL; write for example \"https://mcp.example.com/mcp\"")]
    PublicUrl(String),
    /// Listening beyond loopback without saying under which name.
    #[error(
        "the server would listen on {0}, beyond this machine; set `public_url` or `allowed_hosts` to the names clients use, \
         so that no other page's DNS name can reach it"
    )]
    Unnamed(IpAddr),
    /// A limit that cannot be kept.
    #[error("`{key}` is {value}; it must be {range}")]
    Limit {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: &'static str,
    },
}

impl HttpConfig {
    /// The URL under which clients find this server, if one is configured.
    ///
    /// # Errors
    /// It is not an HTTP URL.
    pub fn public_uri(&self) -> Result<Option<Uri>, HttpConfigError> {
        let Some(text) = &self.public_url else { return Ok(None) };
        // `Uri` forgets fragments, but a resource has none (RFC 8707 §2).
        let uri: Option<Uri> = text.parse().ok().filter(|_| !text.contains('#'));
        let is_http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
        uri.filter(is_http).map(Some).ok_or_else(|| HttpConfigError::PublicUrl(text.clone()))
    }

    /// The URL of the MCP endpoint as clients know it: the resource that tokens are for (RFC 8707).
    ///
    /// # Errors
    /// `public_url` is not an HTTP URL.
    pub fn resource(&self) -> Result<String, HttpConfigError> {
        let local = || format!("http://{}{MCP_PATH}", SocketAddr::new(self.address, self.port));
        // As configured, to the letter: tokens are compared with it.
        Ok(self.public_uri()?.and(self.public_url.clone()).unwrap_or_else(local))
    }

    /// Where programs ask for the answers of calls, up to the call's id: beside the MCP endpoint if that has a public URL, else a
    /// path on this server.
    ///
    /// # Errors
    /// `public_url` is not an HTTP URL.
    pub fn calls_at(&self) -> Result<String, HttpConfigError> {
        let beside = |url: &String| {
            let url = url.trim_end_matches('/');
            url.strip_suffix(MCP_PATH).unwrap_or(url).to_owned()
        };
        Ok(self.public_uri()?.and(self.public_url.as_ref()).map(beside).unwrap_or_default() + CALLS_PATH)
    }

    /// Whom this server answers.
    ///
    /// # Errors
    /// A name cannot be read, or there is none although the server listens beyond loopback.
    pub fn hosts(&self) -> Result<Hosts, HttpConfigError> {
        let public = self.public_uri()?;
        if !self.address.is_loopback() && public.is_none() && self.allowed_hosts.is_empty() {
            return Err(HttpConfigError::Unnamed(self.address));
        }
        let hosts = Hosts::new(&self.allowed_hosts, &self.allowed_origins)?;
        Ok(match public {
            Some(public) => hosts.with_public(&public),
            None => hosts,
        })
    }

    /// Checks the limits that code below cannot keep at every value.
    ///
    /// # Errors
    /// The first one out of range.
    pub fn check_limits(&self) -> Result<(), HttpConfigError> {
        let refuse = |key, value: String, range| Err(HttpConfigError::Limit { key, value, range });
        if !(1..=JsonLimits::MAX_DEPTH).contains(&self.json.depth) {
            return refuse("json.depth", self.json.depth.to_string(), "1 to 100");
        }
        if self.max_body.0 == 0 || self.max_body > self.max_bodies {
            return refuse("max_body", self.max_body.to_string(), "above zero and at most `max_bodies`");
        }
        if self.max_bodies > Bytes::mib(1 << 20) {
            return refuse("max_bodies", self.max_bodies.to_string(), "at most \"1TiB\"");
        }
        if self.max_connections == 0 || self.max_connections > 1_000_000 {
            return refuse("max_connections", self.max_connections.to_string(), "1 to 1000000");
        }
        if self.max_head < Bytes::kib(1) || self.max_head > Bytes::mib(1) {
            return refuse("max_head", self.max_head.to_string(), "\"1KiB\" to \"1MiB\"");
        }
        Ok(())
    }

    /// The limits of the listener.
    pub fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            connections: self.max_connections,
            head: self.max_head.as_usize(),
            fields: self.max_fields,
            idle: self.idle_timeout.duration(),
            stall: self.stall_timeout.duration(),
            drain: self.drain.duration(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_beyond_loopback_demands_a_name() {
        let open = HttpConfig { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..HttpConfig::default() };
        assert_eq!(open.hosts().expect_err("no name"), HttpConfigError::Unnamed(open.address));
        let named = HttpConfig { allowed_hosts: vec!["mcp.example.com".into()], ..open };
        assert!(named.hosts().is_ok());
    }

    #[test]
    fn the_defaults_can_be_served() {
        let config: HttpConfig = toml::from_str("").expect("everything has a default");
        assert_eq!((config.check_limits(), config.hosts().is_ok()), (Ok(()), true));
    }

    #[test]
    fn the_answers_of_calls_stand_beside_the_public_endpoint() {
        let at = |url: Option<&str>| {
            let config = HttpConfig { public_url: url.map(str::to_owned), ..HttpConfig::default() };
            config.calls_at().expect("a URL")
        };
        assert_eq!(at(None), "/v1/calls/");
        assert_eq!(at(Some("https://tools.example.com/team/mcp")), "https://tools.example.com/team/v1/calls/");
        assert_eq!(at(Some("https://tools.example.com/")), "https://tools.example.com/v1/calls/");
        assert_eq!(at(Some("https://tools.example.com/mcp/mcp")), "https://tools.example.com/mcp/v1/calls/");
    }

    #[test]
    fn limits_carry_their_units() {
        let config: HttpConfig = toml::from_str("max_body = \"1MiB\"\nidle_timeout = \"5s\"").expect("both fit");
        assert_eq!((config.max_body, config.idle_timeout), (Bytes::mib(1), Span::seconds(5)));
        assert!(toml::from_str::<HttpConfig>("max_body = 1024").is_err());
    }
}
