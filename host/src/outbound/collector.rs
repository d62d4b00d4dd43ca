//! A collector: one URL that the host itself posts to, for others to read.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};

use super::backend::{Credential, parse_url, read_credential};
use super::connect::{self, Client};
use super::error::OutboundError;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer that are looked at.
const MAX_ANSWER: usize = 64 << 10;

/// A collector and the connection to it.
pub struct Collector {
    client: Client,
    url: Uri,
    credential: Option<(HeaderName, HeaderValue)>,
}

/// What a collector answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The body; empty if it is too long.
    pub body: Bytes,
}

impl Collector {
    /// The collector `name`, which takes posts at `path` below `url`. Nothing is connected yet.
    ///
    /// # Errors
    /// The URL is none, or there is no such credential.
    pub fn new(name: &str, url: &str, path: &str, credential: Option<&Credential>) -> Result<Self, OutboundError> {
        let problem = |problem| OutboundError::Collector {
            // Whatever stands before an `@` may be a password.
            url: url.rsplit('@').next().unwrap_or_default().to_owned(),
            problem,
        };
        let (scheme, authority, base) = parse_url(url).map_err(problem)?;
        let base = base.strip_suffix(path).unwrap_or(&base);
        let target = Uri::builder().scheme(scheme).authority(authority).path_and_query(format!("{base}{path}"));
        let target = target.build().map_err(|_| problem("it is not a URL"))?;
        let credential = credential.map(|credential| read_credential(name, credential)).transpose()?;
        Ok(Self { client: connect::client(), url: target, credential })
    }

    /// Posts a JSON document.
    ///
    /// # Errors
    /// There was no whole answer in time: why not. The document may have arrived all the same.
    pub async fn post(&self, json: Vec<u8>) -> Result<Answer, String> {
        let answered = tokio::time::timeout(TIMEOUT, self.exchange(json)).await;
        answered.unwrap_or_else(|_| Err(format!("it did not answer within {TIMEOUT:?}")))
    }

    async fn exchange(&self, json: Vec<u8>) -> Result<Answer, String> {
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if let Some((name, value)) = &self.credential {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(json.into())).map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| causes(&error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
    }
}

/// The error and what caused it: the first level of a client's error says next to nothing.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
