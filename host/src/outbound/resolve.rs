//! From a host's name to addresses: looked up once for each connection, and for literal origins only public ones.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower::Service;

use super::address::is_public;

/// Look-ups at once, over all backends: each holds a thread of the system's resolver, however long that takes.
const MAX_LOOKUPS: usize = 32;

/// Looks a name up.
pub(super) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// A name led somewhere a literal origin must not lead to.
#[derive(Debug, thiserror::Error)]
#[error("`{host}` leads to an address that is not of the public internet")]
pub(super) struct NotPublic {
    host: String,
}

impl NotPublic {
    /// What an operator does about it.
    pub(super) const ADVICE: &str =
        "it leads to an address that is not of the public internet; if that is meant, allow it with `private = true`";
}

/// Resolves names for connections.
#[derive(Clone)]
pub(super) struct Resolver {
    lookup: Lookup,
    /// Whether only public addresses count.
    is_public_only: bool,
}

impl Resolver {
    /// A resolver that asks `lookup`.
    pub(super) fn new(lookup: Lookup, is_public_only: bool) -> Self {
        Self { lookup, is_public_only }
    }

    /// Checks the host of a URL that needs no look-up.
    ///
    /// # Errors
    /// It is an address that must not be connected to.
    pub(super) fn check_literal(&self, uri: &Uri) -> Result<(), NotPublic> {
        let host = uri.host().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        match literal {
            Ok(address) if self.is_public_only && !is_public(address) => Err(NotPublic { host: host.to_owned() }),
            _ => Ok(()),
        }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let looking = (self.lookup)(name.as_str().to_owned());
        let is_public_only = self.is_public_only;
        Box::pin(async move {
            let found = looking.await?;
            // INVARIANT: the connection goes to one of exactly these addresses; nobody looks the name up again. One bad address
            // spoils the others: an honest name has none, and who mixes them hopes for a second try.
            if is_public_only && !found.iter().all(|address| is_public(address.ip())) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotPublic { host: name.as_str().to_owned() }));
            }
            Ok(found.into_iter())
        })
    }
}

/// Asks the system.
pub(super) fn system() -> Lookup {
    static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);
    Arc::new(|host| {
        Box::pin(async move {
            let turn = LOOKUPS.acquire().await.map_err(io::Error::other)?;
            let looking = tokio::task::spawn_blocking(move || {
                // Held by the thread: whoever gave up waiting for it has not ended it.
                let _turn = turn;
                (host.as_str(), 0).to_socket_addrs().map(Iterator::collect)
            });
            looking.await.map_err(io::Error::other)?
        })
    })
}
