//! One backend, ready to be sent to: where it is, who answers there, how much it takes, how it is doing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::sync::Semaphore;

use super::breaker::Breaker;
use super::config::{BackendConfig, Place};
use super::directory::Directories;
use super::error::OutboundError;
use super::exchange::Exchange;
use super::figures::Figures;
use super::patience::Patience;
use super::resolve::{self, Lookup};
use super::retry::{Budget, RetryConfig};
use super::service::Service;

/// A backend ready to be sent to.
pub(super) struct Backend {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    /// The path before every request's own; no slash at its end.
    pub(super) base: String,
    /// Whether it is a literal origin, which the guest knows by its address.
    pub(super) is_origin: bool,
    /// Whether it stands for every server there is: then what happens at one of them says nothing of the others.
    pub(super) is_everything: bool,
    /// Whether only a manifest that names it reaches it, and none that names everything.
    pub(super) is_by_name_only: bool,
    pub(super) service: Service,
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

    /// Whether what happens to one request says something of the next: that is one server, and neither all there are nor the host.
    pub(super) fn is_one(&self) -> bool {
        !self.is_everything && !self.service.is_own()
    }

    /// The logical backend `name`.
    pub(super) fn new(name: &str, config: &BackendConfig) -> Result<Self, OutboundError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return Err(OutboundError::Name(name.to_owned()));
        }
        match config.place().map_err(|problem| OutboundError::Setting { backend: name.to_owned(), problem })? {
            Place::Url(url) => {
                let place = parse_url(url).map_err(|problem| OutboundError::Url {
                    backend: name.to_owned(),
                    // Whatever stands before an `@` may be a password.
                    url: url.rsplit('@').next().unwrap_or_default().to_owned(),
                    problem,
                })?;
                Self::at(name, place, config, Reach::Backend, resolve::system())
            }
            Place::Directories(directories) => {
                // Nobody is asked over any wire: the guest's own name for it stands where the host's would.
                let authority = name.parse().map_err(|_| OutboundError::Name(name.to_owned()))?;
                let place = (Scheme::HTTP, authority, String::new());
                let service = Service::Directories(Directories::new(name, directories, config)?);
                Ok(Self { keyed_for: Duration::ZERO, ..Self::with(name, place, config, Reach::Backend, service)? })
            }
        }
    }

    /// The server that a name stands for, once it is known where that is.
    pub(super) fn at(
        name: &str,
        place: (Scheme, Authority, String),
        config: &BackendConfig,
        reach: Reach,
        lookup: Lookup,
    ) -> Result<Self, OutboundError> {
        if let Some(problem) = config.problem(&place.0) {
            return Err(OutboundError::Setting { backend: name.to_owned(), problem });
        }
        let config = &BackendConfig { connect_timeout: config.connect_timeout.min(config.timeout), ..config.clone() };
        let service = Service::Server(Box::new(Exchange::new(name, config, reach == Reach::PublicOrigin, lookup)?));
        Self::with(name, place, config, reach, service)
    }

    fn with(
        name: &str,
        (scheme, authority, base): (Scheme, Authority, String),
        config: &BackendConfig,
        reach: Reach,
        service: Service,
    ) -> Result<Self, OutboundError> {
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
            is_everything: false,
            is_by_name_only: false,
            service,
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
}
