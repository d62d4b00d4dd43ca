//! Who answers the requests to a backend: a server somewhere, or the host itself.

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;

use super::Body;
use super::directory::Directories;
use super::exchange::{Exchange, Failed, Way};

/// Who answers.
pub(super) enum Service {
    /// A server, asked over the network.
    Server(Box<Exchange>),
    /// The host, from directories of its own machine.
    Directories(Directories),
}

impl Service {
    /// The response to a request; see [`Exchange::send`].
    ///
    /// # Errors
    /// There is no response.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        base: Option<&str>,
        until: Instant,
        way: &mut Way,
    ) -> Result<Response<Body>, Failed> {
        match self {
            Self::Server(exchange) => {
                let response = exchange.send(request, base, until, way).await?;
                Ok(response.map(|body| body.map_err(|_| std::io::ErrorKind::ConnectionReset.into()).boxed_unsync()))
            }
            Self::Directories(directories) => Ok(directories.answer(request, until, way).await),
        }
    }

    /// The header that the credential goes in, if there is one.
    pub(super) fn credential_header(&self) -> Option<&HeaderName> {
        match self {
            Self::Server(exchange) => exchange.credential_header(),
            Self::Directories(_) => None,
        }
    }

    /// Whether the host answers itself.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Directories(_))
    }

    /// Removes what hosts that died have left of what they were writing, where the host writes itself.
    pub(super) fn sweep(&self) {
        if let Self::Directories(directories) = self {
            directories.sweep();
        }
    }

    /// Whether requests go to the public internet and nowhere else.
    pub(super) fn is_public_only(&self) -> bool {
        matches!(self, Self::Server(exchange) if exchange.is_public_only())
    }

    /// Why the last request failed, in words for operators.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Server(_) => None,
            Self::Directories(directories) => directories.problem(),
        }
    }
}
