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

/// Look-ups at once of one backend or one allowed origin: each holds a thread of the system's resolver, however long that takes, and
/// names that take for ever must not keep others from being looked up.
pub(super) const MAX_LOOKUPS: usize = 4;

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

/// Look-ups at once for all backends together: a resolver that hangs must leave threads to everything else that blocks.
static ALL_LOOKUPS: Semaphore = Semaphore::const_new(64);

/// Asks the system, [`MAX_LOOKUPS`] times at once. For one backend: those that share it wait for each other.
pub(super) fn system() -> Lookup {
    on_threads(|host| (host, 0).to_socket_addrs().map(Iterator::collect))
}

/// Asks somebody who answers when it pleases them.
pub(super) fn on_threads(ask: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Clone + Send + Sync + 'static) -> Lookup {
    let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
    Arc::new(move |host| {
        let (ask, lookups) = (ask.clone(), Arc::clone(&lookups));
        Box::pin(async move {
            let turn = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let among_all = ALL_LOOKUPS.acquire().await.map_err(io::Error::other)?;
            let looking = tokio::task::spawn_blocking(move || {
                // Held by the thread: whoever gave up waiting for it has not ended it.
                let _turns = (turn, among_all);
                ask(&host)
            });
            looking.await.map_err(io::Error::other)?
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn answering(answers: &'static [&'static [&'static str]]) -> Lookup {
        let asked = AtomicUsize::new(0);
        Arc::new(move |_| {
            let answer = answers[asked.fetch_add(1, Ordering::Relaxed)];
            let addresses = answer.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 0)).collect();
            Box::pin(async { Ok(addresses) })
        })
    }

    async fn resolve(resolver: &mut Resolver, name: &str) -> io::Result<Vec<SocketAddr>> {
        resolver.call(name.parse().expect("any text is a name")).await.map(Iterator::collect)
    }

    fn is_refused(result: &io::Result<Vec<SocketAddr>>) -> bool {
        matches!(result, Err(error) if error.get_ref().is_some_and(|inner| inner.is::<NotPublic>()))
    }

    #[tokio::test]
    async fn a_name_that_changes_its_mind_is_refused_when_it_does() {
        let mut resolver = Resolver::new(answering(&[&["93.184.215.14"], &["127.0.0.1"]]), true);
        let first = resolve(&mut resolver, "rebind.example").await.expect("a public address");
        assert_eq!(first, ["93.184.215.14:0".parse().expect("an address")]);
        let second = resolve(&mut resolver, "rebind.example").await;
        assert!(is_refused(&second), "{second:?}");
    }

    #[tokio::test]
    async fn one_private_address_among_public_ones_spoils_them() {
        for private in [&["1.1.1.1", "10.0.0.1"][..], &["::ffff:169.254.169.254", "1.1.1.1"], &["2606:4700::1111", "fd00::1"]] {
            let answers: &'static [&'static [&'static str]] = Box::leak(Box::new([private]));
            let found = resolve(&mut Resolver::new(answering(answers), true), "mixed.example").await;
            assert!(is_refused(&found), "{private:?}: {found:?}");
            let found = resolve(&mut Resolver::new(answering(answers), false), "mixed.example").await;
            assert_eq!(found.expect("allowed").len(), 2);
        }
    }

    #[tokio::test]
    async fn no_spelling_of_an_address_leads_to_it() {
        let mut resolver = Resolver::new(system(), true);
        for host in [
            "localhost",
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0x7f.1",
            "0x7f.0x0.0x0.0x1",
            "0177.0.0.1",
            "0177.0.0.01",
            "0",
            "0x0",
            "2852039166",
            "0xa9fea9fe",
            "169.254.43518",
            "0251.0376.0251.0376",
            "169.16689662",
            "3232235521",
            "::1",
            "::ffff:7f00:1",
        ] {
            let found = resolve(&mut resolver, host).await;
            // Systems differ in which of them they take for an address.
            assert!(found.is_err(), "{host}: {found:?}");
        }
        for host in [
            "127.0.0.1",
            "169.254.169.254",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
        ] {
            let uri = Uri::builder().scheme("http").authority(host).path_and_query("/").build().expect("a URL");
            assert!(resolver.check_literal(&uri).is_err(), "{host}");
            assert!(Resolver::new(system(), false).check_literal(&uri).is_ok(), "{host}");
        }
    }
}
