//! The HTTP client all backends share: pooled connections, no redirects, no proxies.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long opening a connection may take; a backend that is not there should not cost a whole request's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Unused connections kept per backend.
const MAX_IDLE: usize = 32;
/// The most bytes the head of a response may take.
const MAX_HEAD: usize = 64 << 10;

/// The client. Redirects are not followed and no proxy is read from the environment: it goes where the operator said.
pub(super) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client without connections.
pub(super) fn client() -> Client {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let tls = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE)
        .http1_max_buf_size(MAX_HEAD)
        .build(tls)
}

/// Whether the request certainly never left: no connection came about.
pub(super) fn never_left(error: &legacy::Error) -> bool {
    error.is_connect()
}

/// The kind of a client's error, as the sandbox's connector speaks it. The text stays in the host's log: it holds the
/// backend's address.
pub(super) fn kind(error: &legacy::Error) -> io::ErrorKind {
    let mut source = error.source();
    while let Some(cause) = source {
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
                io::ErrorKind::TimedOut if error.is_connect() => io::ErrorKind::HostUnreachable,
                kind => kind,
            };
        }
        source = cause.source();
    }
    if error.is_connect() { io::ErrorKind::HostUnreachable } else { io::ErrorKind::InvalidData }
}
