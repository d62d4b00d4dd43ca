//! The way out: logical backends, and the only HTTP client of the host.
//!
//! A guest names a backend (`http://billing/...`); only here is it known where that is and what it takes to be let in.

mod backend;
mod call;
mod collector;
mod connect;
mod error;
mod headers;
mod post;
mod response;
mod route;
mod span;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use sha2::{Digest as _, Sha256};

use self::backend::Backend;
use self::connect::Client;
use crate::model::{Digest, ErrorCode, Spans};

pub use self::backend::{BackendConfig, Credential};
pub use self::call::OutboundCall;
pub use self::collector::Collector;
pub use self::error::OutboundError;
pub use self::headers::is_reserved;
pub use self::post::Poster;

/// A body on its way out or in. Errors are told apart by [`io::ErrorKind`] alone.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Derives the `Idempotency-Key` of an unsafe request from backend, method, path (without query) and its number among
/// the unsafe requests of the call, counted from 1.
pub type DeriveKey = Arc<dyn Fn(&str, &str, &str, u32) -> String + Send + Sync>;

/// Waits until a call may change something: until what it may still burn is set aside, so that nothing stops it halfway.
pub type Commit = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The backends an operator defined, and the connections to them.
pub struct Outbound {
    backends: BTreeMap<String, Arc<Backend>>,
    client: Client,
}

/// What the outbound side has to know of one call.
pub struct CallScope {
    /// The backends the plugin's manifest names. Whatever else a guest asks for is denied, and so is what the operator did
    /// not define.
    pub allowed: Vec<String>,
    /// The call's position in its trace; every request gets a child of it.
    pub trace: Spans,
    /// How keys of unsafe requests are derived; none for calls without an idempotency key.
    pub key: Option<DeriveKey>,
    /// Whether nothing unsafe may be sent before [`OutboundCall::allow_unsafe`]: the call changes rows, and none is permitted yet.
    pub gated: bool,
    /// What is awaited before an unsafe request is sent; nothing for calls that change nothing.
    pub commit: Option<Commit>,
}

/// A backend that could not be reached or did not answer in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendFailure {
    /// The logical backend.
    pub backend: String,
    /// [`ErrorCode::BackendUnavailable`] or [`ErrorCode::BackendTimeout`].
    pub code: ErrorCode,
    /// When trying again makes sense.
    pub retry_after: Duration,
}

impl Outbound {
    /// Reads the credentials and sets up the client. Connections are opened when first needed, so a dead backend is no
    /// reason not to start.
    pub fn new(backends: &BTreeMap<String, BackendConfig>) -> Result<Self, OutboundError> {
        let backends = backends
            .iter()
            .map(|(name, config)| Ok((name.clone(), Arc::new(Backend::new(name, config)?))))
            .collect::<Result<_, OutboundError>>()?;
        Ok(Self { backends, client: connect::client() })
    }

    /// How the last request to each backend went: `untried`, `answers` or `unavailable`.
    pub fn health(&self) -> BTreeMap<&str, &'static str> {
        self.backends.iter().map(|(name, backend)| (name.as_str(), backend.health.as_str())).collect()
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
        let CallScope { allowed, trace, key, gated, commit } = scope;
        let known = allowed.iter().filter_map(|name| self.backends.get_key_value(name));
        let backends = known.map(|(name, backend)| (name.clone(), Arc::clone(backend))).collect();
        OutboundCall::new(backends, self.client.clone(), trace, key, gated, commit)
    }
}
