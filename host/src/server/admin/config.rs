//! The operator's listener's configuration: where it listens, whom it answers, and what the admin API asks for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::Uri;
use serde::Deserialize;

use crate::auth::is_loopback;
use crate::server::hosts::{Hosts, HostsError};

/// `[admin]`: health, readiness, metrics and the admin API, on a listener of their own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The address to listen on. Anything but loopback needs names, and for the API a way that nobody can listen in on.
    pub address: IpAddr,
    /// The port to listen on; 0 picks one.
    pub port: u16,
    /// The `https` URL of this listener as others reach it, through a proxy with TLS.
    pub public_url: Option<String>,
    /// Host names this listener answers to, with or without a port, besides loopback and `public_url`.
    pub allowed_hosts: Vec<String>,
    /// Whether the admin API is served at all. The admin socket in the data folder always is.
    pub api: bool,
    /// The file with the admin token; one in the data folder's `keys` by default, made at the first start.
    pub token_file: Option<PathBuf>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 7301,
            public_url: None,
            allowed_hosts: Vec::new(),
            api: true,
            token_file: None,
        }
    }
}

/// Whom the operator's listener answers.
#[derive(Clone, Debug)]
pub struct AdminHosts {
    /// By which names it is asked for health and metrics.
    pub all: Hosts,
    /// By which of them it is asked by who shows the token. Beyond this machine, that is only the name with TLS in front.
    pub api: Hosts,
}

/// A configuration that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminConfigError {
    /// A host is none.
    #[error("`admin.allowed_hosts`: {0}")]
    Hosts(#[from] HostsError),
    /// `public_url` is not a URL that a token may travel to.
    #[error("`admin.public_url` is `{0}`, which is not an https URL; write for example \"https://tools.example.com:7301\"")]
    PublicUrl(String),
    /// Listening beyond loopback without saying under which name.
    #[error(
        "`admin.address` is {0}, beyond this machine; set `admin.public_url` or `admin.allowed_hosts` to the names it is reached by, so \
         that no other page's DNS name can reach it"
    )]
    Unnamed(IpAddr),
    /// Listening beyond loopback without TLS.
    #[error(
        "`admin.address` is {0}, beyond this machine, but the admin token must not travel without TLS; put a proxy with TLS in front and \
         set `admin.public_url` to its `https` URL, or, if only `/metrics` and the like are wanted, `admin.api` to false"
    )]
    Clear(IpAddr),
}

impl AdminConfig {
    /// Where to listen.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Whom this listener answers.
    ///
    /// # Errors
    /// A name or URL cannot be read, or what is needed beyond loopback is not there.
    pub fn hosts(&self) -> Result<AdminHosts, AdminConfigError> {
        let public = self.public_uri()?;
        let is_open = !self.address.is_loopback();
        if is_open && public.is_none() && self.allowed_hosts.is_empty() {
            return Err(AdminConfigError::Unnamed(self.address));
        }
        if is_open && public.is_none() && self.api {
            return Err(AdminConfigError::Clear(self.address));
        }
        let with_public = |hosts: Hosts| match &public {
            Some(public) => hosts.with_public(public),
            None => hosts,
        };
        let all = with_public(Hosts::new(&self.allowed_hosts, &[])?);
        let api = if is_open { with_public(Hosts::loopback()) } else { all.clone() };
        Ok(AdminHosts { all, api })
    }

    fn public_uri(&self) -> Result<Option<Uri>, AdminConfigError> {
        let Some(text) = &self.public_url else { return Ok(None) };
        let uri: Option<Uri> = text.parse().ok().filter(|_| !text.contains(['#', '?', '@']));
        let is_safe = |uri: &Uri| match uri.scheme_str() {
            Some("https") => true,
            // Nobody listens in on what stays on this machine.
            Some("http") => is_loopback(uri) && self.address.is_loopback(),
            _ => false,
        };
        uri.filter(is_safe).map(Some).ok_or_else(|| AdminConfigError::PublicUrl(text.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> AdminConfig {
        toml::from_str(toml).expect("it can be read")
    }

    #[test]
    fn beyond_loopback_it_wants_a_name_and_for_the_api_tls() {
        let refused = |toml: &str| config(toml).hosts().err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(refused(""), "");
        assert!(refused("address = \"0.0.0.0\"").contains("to the names"));
        assert!(refused("address = \"::\"\nallowed_hosts = [\"tools\"]").contains("without TLS"));
        assert_eq!(refused("address = \"0.0.0.0\"\nallowed_hosts = [\"10.0.0.5\"]\napi = false"), "");
        assert_eq!(refused("address = \"0.0.0.0\"\npublic_url = \"https://tools.example.com:7301\""), "");
        for url in ["http://tools.example.com", "tools.example.com", "https://u:p@tools.example.com", "http://127.0.0.1"] {
            let config = AdminConfig { public_url: Some(url.to_owned()), ..config("address = \"0.0.0.0\"") };
            assert!(matches!(config.hosts(), Err(AdminConfigError::PublicUrl(_))), "{url}");
        }
    }
}
