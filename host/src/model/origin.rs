//! Origins: scheme, host and port of a server that is named literally, rather than as a logical backend.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// The longest name of a host (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
/// The longest part of it between dots.
const MAX_LABEL: usize = 63;

/// `https://api.example.com`, or `https://*.example.com` for all that lies below `example.com`, or `https://*` for all that speaks
/// TLS. Spelled in one way only: in lower case, an address as itself, and no port that the scheme implies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    is_https: bool,
    hosts: Hosts,
}

/// Whom an origin stands for. An IPv6 address is in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hosts {
    /// This one, at this port.
    One(String, u16),
    /// All names below this one, at this port, and not itself.
    Below(String, u16),
    /// Every one, at every port.
    All,
}

/// What is wrong with an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an origin: {problem}; write for example \"https://api.example.com\" or \"https://*.example.com\"")]
pub struct OriginError {
    /// What was written, without what might be a password in it.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Origin {
    /// Whether it speaks TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether it stands for many.
    pub fn is_wildcard(&self) -> bool {
        !matches!(self.hosts, Hosts::One(..))
    }

    /// Whether it stands for every host: `https://*`. In a manifest that is no more than an upper bound: a plugin that names it
    /// reaches what the operator allows.
    pub fn is_everything(&self) -> bool {
        self.hosts == Hosts::All
    }

    /// Whether all that `other` stands for is part of this one.
    pub fn covers(&self, other: &Self) -> bool {
        let is_covered = match (&self.hosts, &other.hosts) {
            (Hosts::All, _) => true,
            (Hosts::Below(above, port), Hosts::One(host, at) | Hosts::Below(host, at)) => {
                let is_below = host.strip_suffix(above).is_some_and(|rest| rest.ends_with('.'));
                port == at && (is_below || self.hosts == other.hosts)
            }
            _ => self.hosts == other.hosts,
        };
        self.is_https == other.is_https && is_covered
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("it starts neither with `https://` nor with `http://`"),
        };
        if rest.contains('@') {
            return Err("it holds a user name");
        }
        if rest.contains(['/', '?', '#', '\\']) {
            return Err("it goes on after the port; an origin has no path");
        }
        if rest == "*" {
            return Ok(Self { is_https, hosts: Hosts::All });
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some(("*", _)) => return Err("a lone `*` stands for every port, too; leave the port out"),
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let port = match port {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().map_err(|_| "its port is none")?,
            Some(_) => return Err("its port is none"),
            None => default_port(is_https),
        };
        if port == 0 {
            return Err("its port is none");
        }
        let (host, is_wildcard) = host.strip_prefix("*.").map_or((host, false), |host| (host, true));
        let host = canonical_host(host)?;
        if is_wildcard && !host.trim_matches('.').contains('.') {
            return Err("it stands for a whole top-level domain");
        }
        if is_wildcard && (host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok()) {
            return Err("nothing lies below an address");
        }
        let hosts = if is_wildcard { Hosts::Below(host, port) } else { Hosts::One(host, port) };
        Ok(Self { is_https, hosts })
    }
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// The host in its one spelling. What some resolvers take for an address in disguise (`2130706433`, `0x7f.1`, `0177.0.0.1`) is none.
fn canonical_host(host: &str) -> Result<String, &'static str> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr =
            address.strip_suffix(']').and_then(|address| address.parse().ok()).ok_or("its host is no IPv6 address")?;
        return Ok(format!("[{address}]"));
    }
    if !host.is_ascii() {
        return Err("its host is not ASCII; write it in the form that starts with `xn--`");
    }
    let host = host.to_ascii_lowercase();
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > MAX_HOST || !host.split('.').all(is_label) {
        return Err("its host is no name of a host");
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if is_number && host.parse::<Ipv4Addr>().is_err() {
        return Err("its host is a number, but not an address in the usual form of four decimal ones");
    }
    Ok(host)
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::parse(text).map_err(|problem| {
            // Whatever stands before an `@` may be a password.
            let text = text.rsplit('@').next().unwrap_or_default().to_owned();
            OriginError { text, problem }
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        let (wildcard, host, port) = match &self.hosts {
            Hosts::One(host, port) => ("", host, port),
            Hosts::Below(host, port) => ("*.", host, port),
            Hosts::All => return write!(f, "{scheme}://*"),
        };
        write!(f, "{scheme}://{wildcard}{host}")?;
        if *port == default_port(self.is_https) { Ok(()) } else { write!(f, ":{port}") }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for (written, spelled) in [
            ("https://api.example.com", "https://api.example.com"),
            ("HTTPS://API.Example.COM:443", "https://api.example.com"),
            ("http://api.example.com:80", "http://api.example.com"),
            ("https://api.example.com:80", "https://api.example.com:80"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
            ("https://[2606:4700::1111]", "https://[2606:4700::1111]"),
            ("https://*.example.com", "https://*.example.com"),
            ("HTTPS://*", "https://*"),
            ("http://*", "http://*"),
            ("https://my_bucket.s3.example", "https://my_bucket.s3.example"),
        ] {
            assert_eq!(origin(written).to_string(), spelled);
        }
    }

    #[test]
    fn what_is_no_origin_or_hides_an_address_is_refused_with_a_reason() {
        for text in [
            "api.example.com",
            "ftp://api.example.com",
            "https://",
            "https://api.example.com/",
            "https://api.example.com/v1",
            "https://api.example.com?x",
            "https://api.example.com\\@evil.example",
            "https://user@api.example.com",
            "https://api.example.com:0",
            "https://api.example.com:65536",
            "https://api.example.com:+1",
            "https://api.example.com.",
            "https://api..example.com",
            "https://-api.example.com",
            "https://a pi.example.com",
            "https://bücher.example",
            "https://%31%32%37.0.0.1",
            "https://*:443",
            "https://*:8443",
            "https://**",
            "https://*.",
            "*",
            "ftp://*",
            "https://*.com",
            "https://*.*.example.com",
            "https://a*.example.com",
            "https://*.10.0.0.1",
            "https://*.[::1]",
            "http://2130706433",
            "http://0x7f000001",
            "http://0x7f.0.0.1",
            "http://127.0.0.0x1",
            "http://0177.0.0.1",
            "http://127.1",
            "http://127.0.0.1.",
            "http://127.0.0.01",
            "http://1.2.3.4.5",
            "http://256.0.0.1",
            "http://[::1",
            "http://[::1%25eth0]",
            "http://[127.0.0.1]",
            "http://::1",
        ] {
            let refused = text.parse::<Origin>();
            assert!(refused.is_err(), "{text}: {refused:?}");
        }
        let error = "https://user:secret@api.example.com".parse::<Origin>().expect_err("it holds a user").to_string();
        assert!(error.contains("user name") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn an_origin_covers_itself_and_a_wildcard_what_lies_below() {
        for (wide, narrow, covers) in [
            ("https://a.example.com", "https://a.example.com", true),
            ("https://a.example.com", "http://a.example.com", false),
            ("https://a.example.com", "https://a.example.com:8443", false),
            ("https://a.example.com", "https://b.a.example.com", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://b.a.example.com", true),
            ("https://*.example.com", "https://*.a.example.com", true),
            ("https://*.example.com", "https://*.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://example.com.evil.example", false),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.a.example.com", "https://*.example.com", false),
            ("https://a.example.com", "https://*.a.example.com", false),
            ("https://*", "https://a.example.com:8443", true),
            ("https://*", "https://[::1]", true),
            ("https://*", "https://*.example.com", true),
            ("https://*", "https://*", true),
            ("https://*", "http://a.example.com", false),
            ("https://*", "http://*", false),
            ("https://*.example.com", "https://*", false),
            ("https://a.example.com", "https://*", false),
        ] {
            assert_eq!(origin(wide).covers(&origin(narrow)), covers, "{wide} over {narrow}");
        }
    }
}
