//! The way out: logical backends, and the only HTTP client of the host.
//!
//! A guest names a backend (`http://billing/...`); only here is it known where that is and what it takes to be let in.

mod address;
mod attempt;
mod backend;
mod breaker;
mod call;
mod collector;
mod config;
mod connect;
mod credential;
mod directory;
mod download;
mod error;
mod exchange;
mod figures;
mod greet;
mod headers;
mod oauth;
mod oci;
mod origins;
mod patience;
mod post;
mod record;
mod redirect;
mod refusal;
mod resolve;
mod response;
mod retry;
mod route;
mod secret;
mod service;
mod span;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::backend::Backend;
use self::resolve::Lookup;
use crate::model::{Digest, Effect, ErrorCode, Origin, Spans};

pub use self::breaker::BreakerState;
pub use self::call::OutboundCall;
pub use self::collector::Collector;
pub use self::config::BackendConfig;
pub use self::credential::Credential;
pub use self::directory::DirectoryConfig;
pub use self::download::{DownloadError, Downloader, WebAddress};
pub use self::error::OutboundError;
pub use self::greet::greet;
pub use self::headers::is_reserved;
pub use self::oci::{OciLayer, OciPull, OciPush, OciReference};
pub use self::origins::OriginsConfig;
pub use self::post::Poster;

/// A body on its way out or in. Errors are told apart by [`io::ErrorKind`] alone.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Derives the `Idempotency-Key` of an unsafe request from backend, method, path (without query, but for directories) and its number among
/// the unsafe requests of the call, counted from 1.
pub type DeriveKey = Arc<dyn Fn(&str, &str, &str, u32) -> String + Send + Sync>;

/// Waits until a call may change something: until what it may still burn is set aside, so that nothing stops it halfway.
pub type Commit = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The backends an operator defined and the origins allowed, and the connections to them.
pub struct Outbound {
    backends: BTreeMap<String, Arc<Backend>>,
    origins: Vec<(Origin, Arc<Backend>)>,
}

/// What the outbound side has to know of one call.
pub struct CallScope {
    /// The backends and the origins the plugin's manifest names. Whatever else a guest asks for is denied, and so is what the
    /// operator did not define or allow.
    pub allowed: Vec<String>,
    /// The call's position in its trace; every request gets a child of it.
    pub trace: Spans,
    /// How keys of unsafe requests are derived; none for calls without an idempotency key.
    pub key: Option<DeriveKey>,
    /// Whether the backends honour those keys, so that a request with one may reach them more than once.
    pub keyed: bool,
    /// How long the call may take from now on.
    pub deadline: Duration,
    /// Whether nothing unsafe may be sent before [`OutboundCall::allow_unsafe`]: the call changes rows, and none is permitted yet.
    pub gated: bool,
    /// Whether the tool may change something. The host's own directories are not changed by one that may not: what a server makes of
    /// a request nobody knows, but what a write to a file is, is known.
    pub effect: Effect,
    /// What is awaited before an unsafe request is sent; nothing for calls that change nothing.
    pub commit: Option<Commit>,
}

/// A backend that could not be reached, did not answer in time, or said that it is in trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendFailure {
    /// The logical backend.
    pub backend: String,
    /// [`ErrorCode::BackendUnavailable`], [`ErrorCode::BackendTimeout`] or [`ErrorCode::RateLimited`].
    pub code: ErrorCode,
    /// When trying again makes sense.
    pub retry_after: Duration,
    /// Whether that is known: the backend said so, or is left alone until then. Otherwise it is what the operator says in general.
    pub is_known: bool,
    /// Whether the request was not even sent, because it would have failed.
    pub unsent: bool,
}

impl BackendFailure {
    /// What happened, for an agent.
    pub fn in_words(&self) -> String {
        let Self { backend, code, unsent, .. } = self;
        let what = match (code, unsent) {
            (ErrorCode::RateLimited, true) => "wants to be asked less often, so nothing was sent",
            (ErrorCode::RateLimited, false) => "is asked too often",
            (ErrorCode::BackendTimeout, _) => "does not answer in time",
            (_, true) => "is in trouble, so nothing was sent",
            _ => "is in trouble",
        };
        format!("the tool's backend `{backend}` {what}; try again later")
    }
}

/// How a backend is doing, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendHealth {
    /// How the last request to it went: `untried`, `answers` or `unavailable`.
    pub last: &'static str,
    /// Whether it is left alone because it keeps failing.
    pub breaker: BreakerState,
    /// In how many seconds a request may be sent again, rounded up, if none may now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_seconds: Option<u64>,
    /// Why the last request failed, where the host itself knows: a directory that is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Outbound {
    /// Reads the credentials and sets up the clients. Connections are opened when first needed, so a dead backend is no
    /// reason not to start.
    ///
    /// # Errors
    /// A backend that cannot be one, or a secret or certificate that is not there.
    pub fn new(backends: &BTreeMap<String, BackendConfig>, origins: &OriginsConfig) -> Result<Self, OutboundError> {
        for (backend, config) in backends {
            if let Some(concern) = config.concern() {
                tracing::warn!(backend, "{concern}");
            }
        }
        Self::resolving(backends, origins, resolve::system)
    }

    /// [`Outbound::new`] with origins that are each looked up by a `lookup` of its own.
    fn resolving(
        backends: &BTreeMap<String, BackendConfig>,
        origins: &OriginsConfig,
        lookup: impl Fn() -> Lookup,
    ) -> Result<Self, OutboundError> {
        let backends = backends
            .iter()
            .map(|(name, config)| Ok((name.clone(), Arc::new(Backend::new(name, config)?))))
            .collect::<Result<_, OutboundError>>()?;
        let origins = origins
            .allow
            .iter()
            .map(|allowed| Ok((allowed.origin.clone(), Arc::new(allowed.backend(lookup())?))))
            .collect::<Result<_, OutboundError>>()?;
        Ok(Self { backends, origins })
    }

    /// Removes what hosts that died have left in directories of what they were writing; on threads of its own. For a host that starts.
    pub fn sweep(&self) {
        self.backends.values().for_each(|backend| backend.service.sweep());
    }

    /// How each backend and each origin is doing.
    pub fn health(&self) -> BTreeMap<String, BackendHealth> {
        let health = |backend: &Backend| BackendHealth {
            last: backend.health.as_str(),
            breaker: backend.breaker.state(),
            waits_seconds: backend.wait().map(|wait| wait.as_millis().div_ceil(1000) as u64),
            problem: backend.service.problem(),
        };
        let backends = self.backends.iter().map(|(name, backend)| (name.clone(), health(backend)));
        let origins = self.origins.iter().map(|(origin, backend)| (origin.to_string(), health(backend)));
        backends.chain(origins).collect()
    }

    /// For how long all of these backends honour an `Idempotency-Key`, and a digest of where they are: elsewhere nobody knows the
    /// keys. `None` if one is not defined.
    pub fn keyed(&self, names: &[String]) -> Option<(Duration, Digest)> {
        let mut places = Sha256::new();
        let mut shortest = Duration::MAX;
        for name in names {
            let backend = self.backends.get(name)?;
            shortest = shortest.min(backend.keyed_for);
            for part in [name, backend.scheme.as_str(), backend.authority.as_str(), &backend.base] {
                // Behind its length, so that no two lists of parts are one text.
                places.update((part.len() as u64).to_be_bytes());
                places.update(part);
            }
        }
        Some((shortest, Digest(places.finalize().into())))
    }

    /// The outbound side of one call. It outlives the guest: what was sent stays known when the guest is gone.
    pub fn begin(&self, scope: CallScope) -> Arc<OutboundCall> {
        let mut known = BTreeMap::new();
        for name in &scope.allowed {
            if let Some(backend) = self.backends.get(name) {
                known.insert(name.clone(), Arc::clone(backend));
            } else if let Ok(named) = name.parse::<Origin>() {
                known.extend(self.origins(&named));
            }
        }
        OutboundCall::new(known, scope)
    }

    /// What a plugin reaches whose manifest names this origin: of what the operator allows, no more than that.
    fn origins(&self, named: &Origin) -> Vec<(String, Arc<Backend>)> {
        if named.is_everything() {
            // INVARIANT: nobody reaches a private address by a URL of their own unless the operator said so of that very address.
            let covered = self.origins.iter().filter(|(allowed, _)| named.covers(allowed));
            let allowed = covered.filter(|(_, backend)| !backend.is_by_name_only);
            return allowed.map(|(allowed, backend)| (allowed.to_string(), Arc::clone(backend))).collect();
        }
        let covering = self.origins.iter().filter(|(allowed, _)| allowed.covers(named));
        // What the operator says of one counts before what is said of many.
        let first = covering.min_by_key(|(allowed, _)| *allowed != *named);
        first.map(|(_, backend)| (named.to_string(), Arc::clone(backend))).into_iter().collect()
    }
}
