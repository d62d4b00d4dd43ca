//! One backend as the operator defines it: where it is, how to be let in, how much it may take.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::breaker::{Breaker, BreakerConfig};
use super::credential::Credential;
use super::error::OutboundError;
use super::exchange::Exchange;
use super::figures::Figures;
use super::patience::Patience;
use super::resolve::{self, Lookup};
use super::retry::{Budget, RetryConfig};
use super::tls::Ca;
use crate::model::{Bytes, Span};

/// `[backends.<name>]` in `tidegate.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// Where it is: scheme, host, port and the path all its requests start with.
    pub url: String,
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

impl BackendConfig {
    /// A backend at `url` with the default limits and no credential.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
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

    /// What is wrong with it, and what to do.
    fn problem(&self, scheme: &Scheme) -> Option<String> {
        let times = [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)];
        let first_byte = self.first_byte_timeout.map(|time| ("first_byte_timeout", time));
        if let Some((key, _)) = times.into_iter().chain(first_byte).find(|(_, time)| time.duration().is_zero()) {
            return Some(format!("`{key}` is zero, so no request could ever be answered; leave it out for the default"));
        }
        // Nobody has to lower the default to match.
        let connect = Some(("connect_timeout", self.connect_timeout)).filter(|(_, time)| *time != defaults::connect_timeout());
        if let Some((key, _)) = connect.into_iter().chain(first_byte).find(|(_, time)| *time > self.timeout) {
            return Some(format!("`{key}` is longer than `timeout`, which ends before; lower the one or raise the other"));
        }
        if self.max_concurrent == 0 {
            return Some("`max_concurrent` is 0, so no request could ever be sent; leave it out for the default".to_owned());
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

    /// What works, but perhaps not as it is meant to.
    pub fn concern(&self) -> Option<&'static str> {
        let (scheme, authority, _) = parse_url(&self.url).ok()?;
        let is_clear = self.credential.is_some() && scheme == Scheme::HTTP && !is_this_machine(authority.host());
        is_clear.then_some("its credential travels in clear: its url is `http://` and leads to another machine")
    }
}

/// A backend ready to be sent to.
pub(super) struct Backend {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    /// The path before every request's own; no slash at its end.
    pub(super) base: String,
    /// Whether it is a literal origin, which the guest knows by its address.
    pub(super) is_origin: bool,
    pub(super) exchange: Exchange,
    pub(super) timeout: Duration,
    pub(super) max_wait: Duration,
    pub(super) keyed_for: Duration,
    pub(super) retry_after: Duration,
    pub(super) max_request: usize,
    pub(super) max_response: u64,
    pub(super) turns: Arc<Semaphore>,
    pub(super) health: Health,
    pub(super) breaker: Arc<Breaker>,
    pub(super) patience: Patience,
    pub(super) retry: RetryConfig,
    pub(super) budget: Budget,
    pub(super) figures: Figures,
}

/// How the last request to a backend went, for operators. Nothing is decided by it.
#[derive(Default)]
pub(super) struct Health(AtomicU8);

impl Health {
    /// It answered, with whatever status.
    pub(super) const ANSWERS: u8 = 1;
    /// It could not be reached, or did not answer in time.
    pub(super) const UNAVAILABLE: u8 = 2;

    /// Takes down how a request went.
    pub(super) fn note(&self, how: u8) {
        self.0.store(how, Ordering::Relaxed);
    }

    /// In a word.
    pub(super) fn as_str(&self) -> &'static str {
        match self.0.load(Ordering::Relaxed) {
            0 => "untried",
            Self::ANSWERS => "answers",
            _ => "unavailable",
        }
    }
}

impl Backend {
    /// How long until something may be sent to it; `None` if that is now.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.patience.wait().max(self.breaker.wait())
    }

    /// How long callers are told to leave it alone, as far as that is known: it said so, or its breaker is open.
    pub(super) fn told(&self) -> Option<Duration> {
        let told = self.patience.left().map(|(left, _)| left);
        told.max(self.breaker.wait())
    }

    /// The logical backend `name`.
    pub(super) fn new(name: &str, config: &BackendConfig) -> Result<Self, OutboundError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return Err(OutboundError::Name(name.to_owned()));
        }
        let place = parse_url(&config.url).map_err(|problem| OutboundError::Url {
            backend: name.to_owned(),
            // Whatever stands before an `@` may be a password.
            url: config.url.rsplit('@').next().unwrap_or_default().to_owned(),
            problem,
        })?;
        Self::at(name, place, config, Reach::Backend, resolve::system())
    }

    /// What a name stands for, once it is known where that is.
    pub(super) fn at(
        name: &str,
        (scheme, authority, base): (Scheme, Authority, String),
        config: &BackendConfig,
        reach: Reach,
        lookup: Lookup,
    ) -> Result<Self, OutboundError> {
        if let Some(problem) = config.problem(&scheme) {
            return Err(OutboundError::Setting { backend: name.to_owned(), problem });
        }
        let config = &BackendConfig { connect_timeout: config.connect_timeout.min(config.timeout), ..config.clone() };
        for (table, problem) in [("breaker", config.breaker.problem()), ("retry", config.retry.problem())] {
            if let Some(problem) = problem {
                return Err(OutboundError::Limits { backend: name.to_owned(), table, problem });
            }
        }
        Ok(Self {
            scheme,
            authority,
            base,
            is_origin: reach != Reach::Backend,
            exchange: Exchange::new(name, config, reach == Reach::PublicOrigin, lookup)?,
            timeout: config.timeout.duration(),
            max_wait: config.max_wait.duration(),
            keyed_for: config.keyed_for.duration(),
            retry_after: config.retry_after.duration(),
            max_request: config.max_request.as_usize(),
            max_response: config.max_response.0,
            turns: Arc::new(Semaphore::new(config.max_concurrent.min(Semaphore::MAX_PERMITS))),
            health: Health::default(),
            breaker: Breaker::new(name, &config.breaker),
            patience: Patience::new(config.breaker.max_retry_after.duration(), config.breaker.max_open.duration()),
            budget: Budget::new(&config.retry),
            retry: config.retry.clone(),
            figures: Figures::new(name),
        })
    }

    /// Scheme, host and port, as every URL of it begins.
    pub(super) fn prefix(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// Below which path the host follows redirects; nowhere for an origin, which may send a guest anywhere.
    pub(super) fn follows_below(&self) -> Option<&str> {
        (!self.is_origin).then_some(&self.base)
    }
}

/// Where a backend may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Where the operator says.
    Backend,
    /// Where its name leads, if that is in the public internet.
    PublicOrigin,
    /// Wherever its name leads.
    AnyOrigin,
}

/// Whether what is sent there stays on this machine.
pub(super) fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn parse_url(text: &str) -> Result<(Scheme, Authority, String), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
    let scheme = uri.scheme().filter(|scheme| **scheme == Scheme::HTTP || **scheme == Scheme::HTTPS);
    let scheme = scheme.ok_or("it does not start with `http://` or `https://`")?.clone();
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("it names no host")?.clone();
    if authority.as_str().contains('@') {
        return Err("it holds a user name; put credentials under `credential`");
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("it has a query or a fragment");
    }
    Ok((scheme, authority, uri.path().trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        Backend::new("billing", &BackendConfig::at(url)).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_url_that_cannot_be_a_backends_is_refused_with_a_reason() {
        assert!(problem("billing.example.com").contains("http://"));
        assert!(problem("ftp://billing/").contains("http://"));
        assert!(problem("http://billing/?key=1").contains("query"));
        assert!(!problem("http://user:secret@billing/").contains("secret"));
        assert!(problem("http://user:secret@billing/").contains("credential"));
    }

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
