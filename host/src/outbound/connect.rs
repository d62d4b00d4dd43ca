//! Connections to one backend: pooled, bounded in number and time, without proxies, and to checked addresses only.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use super::resolve::{Lookup, NotPublic, Resolver, system};
use super::tls::{self, Ca, Identity};

/// The most bytes the head of a response may take. Its headers are at most 100.
const MAX_HEAD: usize = 64 << 10;

/// A client. Redirects are not followed and no proxy is read from the environment: it goes where the operator said.
pub(super) type Client = legacy::Client<Connector, Full<Bytes>>;

/// A client for services that are asked now and then and need no settings: their certificates are vouched for by [`Ca::Webpki`].
pub(super) fn client() -> Client {
    let tls = tls::client_config("", &Ca::Webpki, Identity::NONE).expect("what is built in needs no file");
    Connecting::seldom(tls).client()
}

/// How connections come about and how long they are kept.
pub(super) struct Connecting {
    /// The longest that looking up, connecting and greeting (TLS) may take together.
    pub(super) timeout: Duration,
    /// How long an unused connection is kept.
    pub(super) idle_timeout: Duration,
    /// Unused connections that are kept.
    pub(super) max_idle: usize,
    /// Whether only addresses of the public internet are connected to.
    pub(super) is_public_only: bool,
    /// Who is trusted.
    pub(super) tls: Arc<ClientConfig>,
    /// Who is asked for addresses.
    pub(super) lookup: Lookup,
}

impl Connecting {
    /// As for a service that is asked now and then.
    pub(super) fn seldom(tls: Arc<ClientConfig>) -> Self {
        Self {
            timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(30),
            max_idle: 1,
            is_public_only: false,
            tls,
            lookup: system(),
        }
    }

    /// A client without connections.
    pub(super) fn client(self) -> Client {
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .pool_max_idle_per_host(self.max_idle)
            .http1_max_buf_size(MAX_HEAD)
            .build(self.connector())
    }

    /// What opens connections, for whoever keeps none.
    pub(super) fn connector(self) -> Connector {
        let resolver = Resolver::new(self.lookup, self.is_public_only);
        let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared among the addresses of a name, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(self.timeout));
        let tls = ClientConfig::clone(&self.tls);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        Connector { https, resolver, timeout: self.timeout }
    }
}

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector<Resolver>>,
    resolver: Resolver,
    timeout: Duration,
}

type BoxError = Box<dyn StdError + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // The resolver is not asked about addresses.
        if let Err(refused) = self.resolver.check_literal(&uri) {
            return Box::pin(async { Err(io::Error::new(io::ErrorKind::PermissionDenied, refused).into()) });
        }
        let connecting = tokio::time::timeout(self.timeout, self.https.call(uri));
        Box::pin(async { connecting.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())) })
    }
}

/// The kind of a client's error, as the sandbox's connector speaks it. The text stays in the host's log: it holds the
/// backend's address.
pub(super) fn kind(error: &legacy::Error) -> io::ErrorKind {
    if causes(error.source()).any(|cause| cause.is::<NotPublic>()) {
        return io::ErrorKind::PermissionDenied;
    }
    for cause in causes(error.source()) {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            if hyper.is_timeout() {
                return io::ErrorKind::TimedOut;
            }
            if hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled() {
                return io::ErrorKind::ConnectionReset;
            }
        }
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.kind() != io::ErrorKind::Other
        {
            return match io.kind() {
                io::ErrorKind::ConnectionRefused => io::ErrorKind::ConnectionRefused,
                // Also what a firewall of this machine forbids: that is nothing the guest did.
                _ if error.is_connect() => io::ErrorKind::HostUnreachable,
                io::ErrorKind::PermissionDenied => io::ErrorKind::ConnectionReset,
                kind => kind,
            };
        }
    }
    if error.is_connect() { io::ErrorKind::HostUnreachable } else { io::ErrorKind::InvalidData }
}

/// A client's error with what caused it, and what an operator does about it where that can be said. For the log alone.
pub(super) fn explain(error: &(dyn StdError + 'static)) -> String {
    let advice = causes(Some(error)).find_map(|cause| match cause.downcast_ref() {
        Some(tls) => Some(tls::advice(tls)),
        None => cause.is::<NotPublic>().then_some(NotPublic::ADVICE),
    });
    let mut text = error.to_string();
    for cause in causes(Some(error)).map(ToString::to_string) {
        // A wrapping says the same as what it wraps.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    advice.map_or_else(|| text.clone(), |advice| format!("{advice} ({text})"))
}

/// An error, what caused it, and what caused that. What is wrapped in an `io::Error` is not among its sources, so it is unwrapped here.
fn causes<'e>(first: Option<&'e (dyn StdError + 'static)>) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(first, |&cause| {
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| cause.source())
    })
}
