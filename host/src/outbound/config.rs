//! `[backends.<name>]` in `tidegate.toml`: where a backend is, and how much it may take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::uri::Scheme;
use serde::Deserialize;

use super::backend::{is_this_machine, parse_url};
use super::breaker::BreakerConfig;
use super::credential::Credential;
use super::directory::DirectoryConfig;
use super::retry::RetryConfig;
use super::tls::Ca;
use crate::model::{Bytes, Span};

/// `[backends.<name>]` in `tidegate.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// Where it is: scheme, host, port and the path all its requests start with.
    pub(super) url: Option<String>,
    /// Directories of this machine that the host itself serves under this name, instead of a `url`.
    #[serde(default)]
    pub(super) directories: BTreeMap<String, DirectoryConfig>,
    /// The longest one attempt at a request may take, from connecting to the last byte received.
    #[serde(default = "defaults::timeout")]
    pub timeout: Span,
    /// The longest that opening a connection may take: looking the name up, connecting, TLS. No longer than `timeout`.
    #[serde(default = "defaults::connect_timeout")]
    pub connect_timeout: Span,
    /// The longest until the head of the response is there; as long as `timeout` if absent.
    pub first_byte_timeout: Option<Span>,
    /// The largest request body.
    #[serde(default = "defaults::max_request")]
    pub max_request: Bytes,
    /// The largest response body.
    #[serde(default = "defaults::max_response")]
    pub max_response: Bytes,
    /// Requests at once, over all calls; at least 1.
    #[serde(default = "defaults::max_concurrent")]
    pub max_concurrent: usize,
    /// Unused connections that are kept.
    #[serde(default = "defaults::max_idle")]
    pub max_idle: usize,
    /// How long one is kept.
    #[serde(default = "defaults::idle_timeout")]
    pub idle_timeout: Span,
    /// How long a request waits for its turn before the backend counts as overloaded.
    #[serde(default = "defaults::max_wait")]
    pub max_wait: Span,
    /// For how long the backend honours an `Idempotency-Key`, from the first request with it: for tools whose manifest says that
    /// it does, the outcome of a call that nobody knows is asked for again within this time. Default 24 h; `"0s"` for never.
    #[serde(default = "defaults::keyed_for")]
    pub keyed_for: Span,
    /// After how long callers are told to try again when a request failed and nobody knows better.
    #[serde(default = "defaults::retry_after")]
    pub retry_after: Span,
    /// When it is left alone because it keeps failing.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// When the host tries a request again by itself.
    #[serde(default)]
    pub retry: RetryConfig,
    /// What lets the host in.
    pub credential: Option<Credential>,
    /// Who vouches for its certificate: `webpki` (the default), `system`, or a PEM file.
    #[serde(default)]
    pub ca: Ca,
    /// A PEM file with the certificate the host shows it (mutual TLS).
    pub client_cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate.
    pub client_key: Option<PathBuf>,
}

mod defaults {
    use super::{Bytes, Span};

    pub(super) fn timeout() -> Span {
        Span::seconds(10)
    }
    pub(super) fn max_request() -> Bytes {
        Bytes::mib(1)
    }
    pub(super) fn max_response() -> Bytes {
        Bytes::mib(4)
    }
    pub(super) fn max_concurrent() -> usize {
        64
    }
    pub(super) fn max_wait() -> Span {
        Span::seconds(1)
    }
    pub(super) fn retry_after() -> Span {
        Span::seconds(30)
    }
    pub(super) fn keyed_for() -> Span {
        Span::seconds(24 * 60 * 60)
    }
    pub(super) fn connect_timeout() -> Span {
        Span::seconds(3)
    }
    pub(super) fn max_idle() -> usize {
        max_concurrent()
    }
    pub(super) fn idle_timeout() -> Span {
        Span::seconds(30)
    }
}

/// Where a backend is.
pub(super) enum Place<'c> {
    /// At this URL.
    Url(&'c str),
    /// In directories of this machine.
    Directories(&'c BTreeMap<String, DirectoryConfig>),
}

impl BackendConfig {
    /// A backend at `url` with the default limits and no credential.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: Some(url.into()),
            directories: BTreeMap::new(),
            timeout: defaults::timeout(),
            connect_timeout: defaults::connect_timeout(),
            first_byte_timeout: None,
            max_request: defaults::max_request(),
            max_response: defaults::max_response(),
            max_concurrent: defaults::max_concurrent(),
            max_idle: defaults::max_idle(),
            idle_timeout: defaults::idle_timeout(),
            max_wait: defaults::max_wait(),
            keyed_for: defaults::keyed_for(),
            retry_after: defaults::retry_after(),
            breaker: BreakerConfig::default(),
            retry: RetryConfig::default(),
            credential: None,
            ca: Ca::default(),
            client_cert: None,
            client_key: None,
        }
    }

    /// A backend of these directories with the default limits.
    pub fn of_directories(directories: BTreeMap<String, DirectoryConfig>) -> Self {
        Self { url: None, directories, ..Self::at("") }
    }

    /// The same limits, at this URL.
    pub fn set_url(&mut self, url: &str) {
        self.url = Some(url.to_owned());
        self.directories.clear();
    }

    /// Its URL, if it is a server.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Its directories, if it is no server.
    pub fn directories(&self) -> &BTreeMap<String, DirectoryConfig> {
        &self.directories
    }

    /// The files with its secrets and certificates.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let secret = self.credential.as_ref().and_then(|credential| credential.file.as_deref());
        let ca = if let Ca::File(path) = &self.ca { Some(path.as_path()) } else { None };
        [secret, ca, self.client_cert.as_deref(), self.client_key.as_deref()].into_iter().flatten()
    }

    /// Where it is; if that can't be told, why, and what to do.
    pub(super) fn place(&self) -> Result<Place<'_>, String> {
        let (Some(url), true) = (&self.url, self.directories.is_empty()) else {
            if self.url.is_some() {
                return Err("it has a `url` and `directories`; give the directories a name of their own".to_owned());
            }
            if self.directories.is_empty() {
                return Err(
                    "it has neither a `url` nor `directories`; write for example `url = \"https://billing.example.com/v1\"`"
                        .to_owned(),
                );
            }
            if let Some(problem) = self.problem_of_any() {
                return Err(problem);
            }
            if let Some(key) = self.for_servers() {
                return Err(format!("`{key}` says nothing to `directories`, which the host serves itself; remove it"));
            }
            return Ok(Place::Directories(&self.directories));
        };
        Ok(Place::Url(url))
    }

    /// A setting that only says something of servers, and was set.
    fn for_servers(&self) -> Option<&'static str> {
        let set = [
            ("connect_timeout", self.connect_timeout != defaults::connect_timeout()),
            ("first_byte_timeout", self.first_byte_timeout.is_some()),
            ("max_idle", self.max_idle != defaults::max_idle()),
            ("idle_timeout", self.idle_timeout != defaults::idle_timeout()),
            ("keyed_for", self.keyed_for != defaults::keyed_for()),
            ("breaker", self.breaker != BreakerConfig::default()),
            ("credential", self.credential.is_some()),
            ("ca", self.ca != Ca::default()),
            ("client_cert", self.client_cert.is_some()),
            ("client_key", self.client_key.is_some()),
        ];
        set.into_iter().find(|(_, is_set)| *is_set).map(|(key, _)| key)
    }

    /// What is wrong with it, and what to do.
    pub(super) fn problem(&self, scheme: &Scheme) -> Option<String> {
        if let Some(problem) = self.problem_of_any() {
            return Some(problem);
        }
        let times = [("connect_timeout", self.connect_timeout)];
        let first_byte = self.first_byte_timeout.map(|time| ("first_byte_timeout", time));
        if let Some((key, _)) = times.into_iter().chain(first_byte).find(|(_, time)| time.duration().is_zero()) {
            return Some(format!("`{key}` is zero, so no request could ever be answered; leave it out for the default"));
        }
        // Nobody has to lower the default to match.
        let connect = Some(("connect_timeout", self.connect_timeout)).filter(|(_, time)| *time != defaults::connect_timeout());
        if let Some((key, _)) = connect.into_iter().chain(first_byte).find(|(_, time)| *time > self.timeout) {
            return Some(format!("`{key}` is longer than `timeout`, which ends before; lower the one or raise the other"));
        }
        let secured = [
            ("ca", self.ca != Ca::default()),
            ("client_cert", self.client_cert.is_some()),
            ("client_key", self.client_key.is_some()),
        ];
        let is_http = *scheme == Scheme::HTTP;
        let (key, _) = secured.iter().find(|(_, is_set)| *is_set && is_http)?;
        Some(format!("`{key}` says nothing to a `http://` url, where nothing is secured; write `https://`, or remove it"))
    }

    /// What is wrong with what is said of servers and directories alike.
    fn problem_of_any(&self) -> Option<String> {
        if self.timeout.duration().is_zero() {
            return Some("`timeout` is zero, so no request could ever be answered; leave it out for the default".to_owned());
        }
        let is_none = self.max_concurrent == 0;
        is_none.then(|| "`max_concurrent` is 0, so no request could ever be sent; leave it out for the default".to_owned())
    }

    /// What works, but perhaps not as it is meant to.
    pub fn concern(&self) -> Option<&'static str> {
        let (scheme, authority, _) = parse_url(self.url()?).ok()?;
        let is_clear = self.credential.is_some() && scheme == Scheme::HTTP && !is_this_machine(authority.host());
        is_clear.then_some("its credential travels in clear: its url is `http://` and leads to another machine")
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::Backend;
    use super::*;

    #[test]
    fn a_time_in_which_nothing_can_happen_is_refused() {
        for key in ["timeout", "connect_timeout", "first_byte_timeout"] {
            let config = toml::from_str(&format!("url = \"http://b\"\n{key} = \"0s\"")).expect("well formed");
            let error = Backend::new("billing", &config).err().expect("it is zero").to_string();
            assert!(error.contains(&format!("backend `billing`: `{key}` is zero")), "{error}");
        }
    }

    fn said(settings: &str) -> String {
        let config = toml::from_str(settings).expect("well formed");
        Backend::new("billing", &config).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_setting_that_could_never_count_is_refused_with_a_reason() {
        for (settings, reason) in [
            ("max_concurrent = 0", "`max_concurrent` is 0"),
            ("directories.docs.path = \"/srv\"", "it has a `url` and `directories`"),
            ("timeout = \"2s\"\nconnect_timeout = \"4s\"", "`connect_timeout` is longer than `timeout`"),
            ("timeout = \"2s\"\nfirst_byte_timeout = \"3s\"", "`first_byte_timeout` is longer than `timeout`"),
            ("ca = \"system\"", "`ca` says nothing to a `http://` url"),
            ("client_cert = \"a.pem\"\nclient_key = \"b.pem\"", "`client_cert` says nothing to a `http://` url"),
            ("client_key = \"b.pem\"", "`client_key` says nothing to a `http://` url"),
        ] {
            let said = said(&format!("url = \"http://b\"\n{settings}"));
            assert!(said.contains(reason), "{settings}: {said}");
        }
        for settings in ["timeout = \"2s\"", "timeout = \"2s\"\nconnect_timeout = \"2s\"\nfirst_byte_timeout = \"2s\""] {
            assert_eq!(said(&format!("url = \"http://b\"\n{settings}")), "", "{settings}");
        }
    }

    #[test]
    fn a_backend_is_a_server_or_directories() {
        let said = |settings: &str| {
            let config = toml::from_str(settings).expect("well formed");
            Backend::new("files", &config).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let directories = "directories.docs.path = \"/srv/docs\"";
        assert_eq!(said(directories), "");
        assert!(said("").contains("neither a `url` nor `directories`"), "{}", said(""));
        for key in ["credential = { env = \"PATH\" }", "connect_timeout = \"1s\"", "keyed_for = \"1h\"", "ca = \"system\""] {
            let said = said(&format!("{key}\n{directories}"));
            assert!(said.contains("says nothing to `directories`") && said.contains(&key[..2]), "{said}");
        }
    }

    #[test]
    fn a_credential_in_clear_is_a_concern_unless_it_stays_on_this_machine() {
        let is_concern = |url: &str| {
            let config = format!("url = \"{url}\"\ncredential = {{ env = \"PATH\" }}");
            toml::from_str::<BackendConfig>(&config).expect("well formed").concern().is_some()
        };
        for url in ["http://billing.internal:8080", "http://10.0.0.7/v1", "http://[fd00::1]/", "http://localhost.example/"] {
            assert!(is_concern(url), "{url}");
            assert_eq!(BackendConfig::at(url).concern(), None, "{url}: there is none");
        }
        for url in ["https://billing.internal", "http://127.0.0.1:8080", "http://[::1]/v1", "http://LOCALHOST/"] {
            assert!(!is_concern(url), "{url}");
        }
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        assert!(toml::from_str::<BackendConfig>("url = \"http://b\"\ntimout = \"1s\"").is_err());
    }
}
