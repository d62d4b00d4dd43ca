//! One backend as the operator defines it: where it is, how to be let in, how much it may take.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::breaker::{Breaker, BreakerConfig};
use super::error::OutboundError;
use super::figures::Figures;
use super::headers;
use super::patience::Patience;
use super::retry::{Budget, RetryConfig};
use crate::model::{Bytes, Span};

/// `[backends.<name>]` in `tidegate.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// Where it is: scheme, host, port and the path all its requests start with.
    pub url: String,
    /// The longest one request may take, from the first byte sent to the last byte received.
    #[serde(default = "defaults::timeout")]
    pub timeout: Span,
    /// The largest request body.
    #[serde(default = "defaults::max_request")]
    pub max_request: Bytes,
    /// The largest response body.
    #[serde(default = "defaults::max_response")]
    pub max_response: Bytes,
    /// Requests at once, over all calls.
    #[serde(default = "defaults::max_concurrent")]
    pub max_concurrent: usize,
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
}

/// A header that lets the host in. Its value never stands in the configuration itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The header's name.
    #[serde(default = "defaults::header")]
    pub header: String,
    /// The environment variable that holds the header's whole value, such as `Bearer …`.
    pub env: Option<String>,
    /// The file that holds it; a line break at the end is ignored. Read once, at start.
    pub file: Option<PathBuf>,
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
    pub(super) fn header() -> String {
        "authorization".to_owned()
    }
}

impl BackendConfig {
    /// A backend at `url` with the default limits and no credential.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: defaults::timeout(),
            max_request: defaults::max_request(),
            max_response: defaults::max_response(),
            max_concurrent: defaults::max_concurrent(),
            max_wait: defaults::max_wait(),
            keyed_for: defaults::keyed_for(),
            retry_after: defaults::retry_after(),
            breaker: BreakerConfig::default(),
            retry: RetryConfig::default(),
            credential: None,
        }
    }
}

/// A backend ready to be sent to.
pub(super) struct Backend {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    /// The path before every request's own; no slash at its end.
    pub(super) base: String,
    pub(super) credential: Option<(HeaderName, HeaderValue)>,
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
    /// How long it is left alone, as far as that is known: it said so, or its breaker is open.
    pub(super) fn wait(&self) -> Option<Duration> {
        let told = self.patience.left().map(|(left, _)| left);
        told.max(self.breaker.wait())
    }

    pub(super) fn new(name: &str, config: &BackendConfig) -> Result<Self, OutboundError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return Err(OutboundError::Name(name.to_owned()));
        }
        let (scheme, authority, base) = parse_url(&config.url).map_err(|problem| OutboundError::Url {
            backend: name.to_owned(),
            // Whatever stands before an `@` may be a password.
            url: config.url.rsplit('@').next().unwrap_or_default().to_owned(),
            problem,
        })?;
        for (table, problem) in [("breaker", config.breaker.problem()), ("retry", config.retry.problem())] {
            if let Some(problem) = problem {
                return Err(OutboundError::Limits { backend: name.to_owned(), table, problem });
            }
        }
        let credential = config.credential.as_ref().map(|credential| read_credential(name, credential)).transpose()?;
        Ok(Self {
            scheme,
            authority,
            base,
            credential,
            timeout: config.timeout.duration(),
            max_wait: config.max_wait.duration(),
            keyed_for: config.keyed_for.duration(),
            retry_after: config.retry_after.duration(),
            max_request: config.max_request.as_usize(),
            max_response: config.max_response.0,
            turns: Arc::new(Semaphore::new(config.max_concurrent.clamp(1, Semaphore::MAX_PERMITS))),
            health: Health::default(),
            breaker: Breaker::new(name, &config.breaker),
            patience: Patience::new(config.breaker.max_retry_after.duration()),
            budget: Budget::new(&config.retry),
            retry: config.retry.clone(),
            figures: Figures::new(name),
        })
    }
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

pub(super) fn read_credential(backend: &str, credential: &Credential) -> Result<(HeaderName, HeaderValue), OutboundError> {
    let backend = backend.to_owned();
    let header = HeaderName::from_bytes(credential.header.as_bytes()).ok().filter(headers::can_carry_credential);
    let Some(header) = header else {
        return Err(OutboundError::Header { backend, header: credential.header.clone() });
    };
    let text = match (&credential.env, &credential.file) {
        (Some(variable), None) => match std::env::var(variable) {
            Ok(text) => text,
            Err(_) => return Err(OutboundError::Variable { backend, variable: variable.clone() }),
        },
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) => return Err(OutboundError::File { backend, path: path.clone(), source }),
        },
        _ => return Err(OutboundError::CredentialSource { backend }),
    };
    let mut value = match HeaderValue::from_str(text.trim_end_matches(['\r', '\n'])) {
        Ok(value) if !value.is_empty() => value,
        _ => return Err(OutboundError::Value { backend }),
    };
    value.set_sensitive(true);
    Ok((header, value))
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
    fn a_credential_comes_from_exactly_one_place() {
        let config: BackendConfig = toml::from_str("url = \"http://b\"\ncredential = {}").expect("well formed");
        let error = Backend::new("billing", &config).err().expect("no source is given");
        assert!(error.to_string().contains("`env`"), "{error}");
    }

    #[test]
    fn a_credential_is_never_printed() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("token");
        std::fs::write(&path, "Bearer s3cret\n").expect("it can be written to");
        let credential = Credential { header: "Authorization".into(), env: None, file: Some(path) };
        let config = BackendConfig { credential: Some(credential), ..BackendConfig::at("http://b") };
        let (header, value) = Backend::new("b", &config).ok().and_then(|backend| backend.credential).expect("it was given");
        assert_eq!((header, value.as_bytes()), (http::header::AUTHORIZATION, &b"Bearer s3cret"[..]));
        assert!(!format!("{value:?}").contains("s3cret"));
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        assert!(toml::from_str::<BackendConfig>("url = \"http://b\"\ntimout = \"1s\"").is_err());
    }
}
