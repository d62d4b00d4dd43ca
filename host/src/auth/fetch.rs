//! Fetching small JSON documents from issuers: no redirects, no proxies, bounded in size; the caller bounds the time.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderMap, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an unused connection is kept. Keys are fetched minutes apart.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes the head of a response may take.
const MAX_HEAD: usize = 32 << 10;
/// The largest document, in bytes. Real key sets take a few KiB.
pub(super) const MAX_DOCUMENT: usize = 256 << 10;

/// A client for the documents of issuers.
#[derive(Clone)]
pub(super) struct Fetcher(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

/// A document, and for how long its server says that it keeps.
pub(super) struct Fetched<T> {
    /// The document.
    pub document: T,
    /// `max-age` (RFC 9111 §5.2.2.1); zero if it must not be kept at all.
    pub max_age: Option<Duration>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Nobody answers there.
    #[error("`{0}` can't be reached: {1}")]
    Unreachable(Uri, String),
    /// The answer is not 200.
    #[error("`{0}` answers {1}")]
    Status(Uri, StatusCode),
    /// More than any such document takes.
    #[error("`{0}` sends more than {MAX_DOCUMENT} bytes")]
    TooLarge(Uri),
    /// Not the JSON it should be.
    #[error("`{0}` sends something else than expected: {1}")]
    Malformed(Uri, String),
}

impl Fetcher {
    /// A client without connections.
    pub fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(MAX_HEAD)
            .build(tls);
        Self(client)
    }

    /// Fetches the JSON document at `url`.
    ///
    /// # Errors
    /// It is not there, too large, or not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, url: &Uri) -> Result<Fetched<T>, FetchError> {
        let request = Request::get(url.clone())
            .header(ACCEPT, "application/json, application/jwk-set+json")
            .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| FetchError::Unreachable(url.clone(), error.to_string()))?;
        let unreachable = |error: &dyn std::error::Error| FetchError::Unreachable(url.clone(), causes(error));
        let response = self.0.request(request).await.map_err(|error| unreachable(&error))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(url.clone(), response.status()));
        }
        let max_age = max_age(response.headers());
        let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await.map_err(|error| {
            match error.is::<LengthLimitError>() {
                true => FetchError::TooLarge(url.clone()),
                false => unreachable(&*error),
            }
        })?;
        let document =
            serde_json::from_slice(&body.to_bytes()).map_err(|error| FetchError::Malformed(url.clone(), error.to_string()))?;
        Ok(Fetched { document, max_age })
    }
}

/// The error and what caused it: the first level of a client's error says next to nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut ages = values.flat_map(|value| value.split(',')).filter_map(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        match directive.strip_prefix("max-age=") {
            Some(seconds) => seconds.trim_matches('"').parse().ok().map(Duration::from_secs),
            None => matches!(directive.as_str(), "no-store" | "no-cache").then_some(Duration::ZERO),
        }
    });
    let first = ages.next()?;
    Some(ages.fold(first, Duration::min))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_time_to_keep_a_document_counts() {
        let age = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, http::HeaderValue::from_static(value));
            }
            max_age(&headers)
        };
        assert_eq!(age(&["public, max-age=600"]), Some(Duration::from_secs(600)));
        assert_eq!(age(&["max-age=600", "no-cache"]), Some(Duration::ZERO));
        assert_eq!((age(&[]), age(&["max-age=soon"])), (None, None));
    }
}
