//! One request to a backend and the head of its response: with what lets the host in, once more if that was outdated, and through
//! redirects that stay with the backend.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::time::{Instant, timeout};

use super::backend::BackendConfig;
use super::connect::{self, Client, Connecting};
use super::credential::Badge;
use super::error::OutboundError;
use super::oauth::NoToken;
use super::redirect::{self, MAX_HOPS};
use super::resolve::Lookup;
use super::tls::{self, Identity};
use crate::model::Span;

/// How requests get to one backend.
pub(super) struct Exchange {
    client: Client,
    badge: Option<Badge>,
    /// How long to wait for what lets the host in: less than a request may take, so that it is known that nothing was sent.
    badge_within: Duration,
    first_byte: Duration,
    is_public_only: bool,
}

/// How far a request got. Whoever sends it keeps this, so that it is known also of a request that is given up.
#[derive(Default)]
pub(super) struct Way {
    /// It was handed to a connection, some hops or refused credentials ago.
    has_left: bool,
    /// The connection that it is handed to now, once there is one.
    connection: Option<CaptureConnection>,
}

impl Way {
    /// Whether it may have reached the backend; if not, it never had a connection.
    pub(super) fn has_left(&self) -> bool {
        self.has_left || self.connection.as_ref().is_some_and(|connection| connection.connection_metadata().is_some())
    }

    /// It is about to be sent, maybe once more.
    fn begin(&mut self, request: &mut Request<Full<Bytes>>) {
        self.has_left = self.has_left();
        self.connection = Some(capture_connection(request));
    }

    /// No connection came about, also not for what an outdated one did not take.
    fn ends_before_connection(&mut self) {
        self.connection = None;
    }
}

/// Why there is no response. Its text is for the log: it may hold the backend's address.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The connection did not come about, or broke.
    #[error("{}", connect::explain(.0))]
    Client(legacy::Error),
    /// The backend does not say anything.
    #[error("no response within {0:?}, the `first_byte_timeout`")]
    Silent(Duration),
    /// There is nothing that lets the host in.
    #[error("{0}")]
    Barred(NoToken),
}

impl Failed {
    /// Its kind, as the sandbox's connector speaks it.
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Client(error) => connect::kind(error),
            Self::Silent(_) => io::ErrorKind::TimedOut,
            Self::Barred(_) => io::ErrorKind::HostUnreachable,
        }
    }
}

/// How connections to the backend `name` come about, which has to be in the public internet if `is_public_only`.
///
/// # Errors
/// A certificate is not there.
pub(super) fn connecting(
    name: &str,
    config: &BackendConfig,
    is_public_only: bool,
    lookup: Lookup,
) -> Result<Connecting, OutboundError> {
    let identity = Identity { certificate: config.client_cert.as_deref(), key: config.client_key.as_deref() };
    Ok(Connecting {
        timeout: config.connect_timeout.duration(),
        idle_timeout: config.idle_timeout.duration(),
        max_idle: config.max_idle,
        is_public_only,
        tls: tls::client_config(name, &config.ca, identity)?,
        lookup,
    })
}

impl Exchange {
    /// The way to the backend `name`, which has to be in the public internet if `is_public_only`.
    ///
    /// # Errors
    /// A credential or a certificate is not there.
    pub(super) fn new(name: &str, config: &BackendConfig, is_public_only: bool, lookup: Lookup) -> Result<Self, OutboundError> {
        Ok(Self {
            client: connecting(name, config, is_public_only, lookup)?.client(),
            badge: config.credential.as_ref().map(|credential| Badge::new(name, credential)).transpose()?,
            badge_within: config.timeout.duration() / 2,
            first_byte: config.first_byte_timeout.map_or(Duration::MAX, Span::duration),
            is_public_only,
        })
    }

    /// The header that the credential goes in, which belongs to the host then.
    pub(super) fn credential_header(&self) -> Option<&HeaderName> {
        self.badge.as_ref().map(|badge| &badge.header)
    }

    /// Whether it goes to the public internet and nowhere else.
    pub(super) fn is_public_only(&self) -> bool {
        self.is_public_only
    }

    /// Sends a request, and follows redirects below `base`; none if there is no base. It is given up at `until` by the caller.
    ///
    /// # Errors
    /// There is no response.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        base: Option<&str>,
        until: Instant,
        way: &mut Way,
    ) -> Result<Response<Incoming>, Failed> {
        let mut hops = 0;
        loop {
            let response = self.send_once(&request, until, way).await?;
            let (from, method) = (request.uri(), request.method());
            let next = base.and_then(|base| redirect::next(method, from, base, response.status(), response.headers()));
            match next {
                Some(next) if hops < MAX_HOPS => *request.uri_mut() = next,
                _ => return Ok(response),
            }
            hops += 1;
        }
    }

    /// Sends a request; once more if what should have let it in was refused and there is something newer. A backend that refused it
    /// has done nothing.
    async fn send_once(
        &self,
        request: &Request<Full<Bytes>>,
        until: Instant,
        way: &mut Way,
    ) -> Result<Response<Incoming>, Failed> {
        let Some(badge) = &self.badge else { return self.dispatch(request.clone(), way).await };
        // Less than there is time left, so that it ends for want of a token and not for want of time.
        let within = || self.badge_within.min(until.saturating_duration_since(Instant::now()).mul_f64(0.75));
        let mut is_second = false;
        loop {
            let value = badge.value(within()).await.map_err(Failed::Barred)?;
            let mut attempt = request.clone();
            // Replaces whatever the guest wrote under that name.
            attempt.headers_mut().insert(badge.header.clone(), value.clone());
            let response = self.dispatch(attempt, way).await?;
            if is_second || response.status() != StatusCode::UNAUTHORIZED || !badge.is_renewed(&value, within()).await {
                return Ok(response);
            }
            is_second = true;
        }
    }

    async fn dispatch(&self, mut request: Request<Full<Bytes>>, way: &mut Way) -> Result<Response<Incoming>, Failed> {
        way.begin(&mut request);
        match timeout(self.first_byte, self.client.request(request)).await {
            Ok(response) => response.map_err(|error| {
                if error.is_connect() {
                    way.ends_before_connection();
                }
                Failed::Client(error)
            }),
            Err(_) => Err(Failed::Silent(self.first_byte)),
        }
    }
}
