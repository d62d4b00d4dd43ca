//! Downloads of what others publish: over https, or on loopback; bounded in bytes, in time and in redirects, and never believed about
//! their length.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use url::{Host, Url};

use super::connect::{self, Client};
use super::tls::{self, Ca, Identity};
use crate::model::{self, Digest};

/// Redirects that one download follows.
const MAX_REDIRECTS: usize = 5;

/// A URL that may be downloaded from: https, or http on loopback; without user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAddress(Url);

impl WebAddress {
    /// An address, unless it may not be one.
    pub(super) fn new(url: Url) -> Result<Self, String> {
        let address = Self(url);
        let refused = |why: &str| Err(format!("`{address}` can't be downloaded from: {why}"));
        if !address.0.username().is_empty() || address.0.password().is_some() {
            return refused("a user or password in a URL ends up in logs");
        }
        match address.0.scheme() {
            "https" if address.0.host().is_some() => Ok(address),
            "http" if address.is_loopback() => Ok(address),
            "http" => refused("plain http can be read and changed on the way; only https is taken, except on loopback"),
            _ => refused("it is no https URL"),
        }
    }

    /// Whether it leads to this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
            None => false,
        }
    }

    /// Another path of the same place.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for WebAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What can't be parsed is not repeated: whatever stands before an `@` may be a password.
        Self::new(Url::parse(text).map_err(|error| format!("this is not a URL: {error}"))?)
    }
}

impl fmt::Display for WebAddress {
    /// Without the query, which may hold a signature that lets its bearer in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.origin().ascii_serialization(), self.0.path())
    }
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No connection, or it broke.
    #[error("can't reach `{place}`: {problem}")]
    Unreachable {
        /// Where.
        place: String,
        /// What happened.
        problem: String,
    },
    /// Not the answer that was hoped for.
    #[error("`{place}` answers {status}{hint}")]
    Status {
        /// Where.
        place: String,
        /// The status.
        status: StatusCode,
        /// What to do about it; empty, or begins with `;`.
        hint: &'static str,
    },
    /// It sends on and on, or to where nothing may be downloaded from.
    #[error("`{place}` redirects {problem}")]
    Redirect {
        /// Where.
        place: String,
        /// Where to, and why it is not followed.
        problem: String,
    },
    /// More than there may be.
    #[error("`{place}` sends more than {limit}")]
    TooLarge {
        /// Where.
        place: String,
        /// The limit.
        limit: model::Bytes,
    },
    /// Another length than was said.
    #[error("`{place}` sends {got} where {expected} bytes were announced")]
    Length {
        /// Where.
        place: String,
        /// What was announced.
        expected: u64,
        /// What came, in words.
        got: String,
    },
    /// Other bytes than were said.
    #[error("`{place}` sends other bytes than asked for: their SHA-256 is {got}, and {expected} was expected")]
    Digest {
        /// Where.
        place: String,
        /// What was expected.
        expected: Digest,
        /// What came.
        got: Digest,
    },
    /// It took too long.
    #[error("`{place}` took longer than {} altogether", humantime::format_duration(*.timeout))]
    TimedOut {
        /// Where.
        place: String,
        /// The longest it may take.
        timeout: Duration,
    },
    /// What it said makes no sense, or not to us.
    #[error("`{place}` {problem}")]
    Protocol {
        /// Where.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// The credentials for a registry can't be had.
    #[error("the credentials for `{registry}`: {problem}")]
    Credentials {
        /// The registry.
        registry: String,
        /// What is wrong.
        problem: String,
    },
}

/// What a download is for: where it may be said to come from.
pub struct Downloader {
    client: Client,
    timeout: Duration,
}

/// What has to be true of a body.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    /// The most bytes.
    pub limit: model::Bytes,
    /// Exactly how many, if that is known.
    pub size: Option<u64>,
}

impl Downloader {
    /// A client whose downloads take at most `timeout` each.
    pub fn new(timeout: Duration) -> Self {
        // As other programs that install things see it: the authorities that this machine trusts, else those that browsers trust.
        let tls = tls::client_config("downloads", &Ca::System, Identity::NONE)
            .or_else(|_| tls::client_config("downloads", &Ca::Webpki, Identity::NONE))
            .expect("what is built in needs no file");
        Self { client: connect::Connecting::seldom(tls).client(), timeout }
    }

    /// Downloads `address` to `sink`, at most `limit`.
    ///
    /// # Errors
    /// It can't be had whole; `sink` may hold a part of it.
    pub async fn save(
        &self,
        address: &WebAddress,
        sink: &mut (impl AsyncWrite + Unpin),
        limit: model::Bytes,
    ) -> Result<(), DownloadError> {
        within(self.timeout, address, async {
            let (response, place) = self.get(address, &HeaderMap::new()).await?;
            if response.status() != StatusCode::OK {
                return Err(status(&place, response.status()));
            }
            pour(response, &place, Expected { limit, size: None }, sink).await.map(|_| ())
        })
        .await
    }

    /// Asks for `address` and follows redirects; answers what was said at their end, and where that is. Credentials stay with the
    /// host they are for.
    pub(super) async fn get(
        &self,
        address: &WebAddress,
        headers: &HeaderMap,
    ) -> Result<(Response<Incoming>, WebAddress), DownloadError> {
        let mut headers = headers.clone();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))));
        let mut at = address.clone();
        for _ in 0..=MAX_REDIRECTS {
            let unreachable = |problem| DownloadError::Unreachable { place: at.to_string(), problem };
            let mut request =
                Request::get(at.0.as_str()).body(Full::new(Bytes::new())).map_err(|e| unreachable(e.to_string()))?;
            request.headers_mut().clone_from(&headers);
            let sent = self.client.request(request).await;
            let response = sent.map_err(|error| unreachable(connect::explain(&error)))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, at));
            }
            let next = follow(&at, response.headers())?;
            if next.0.origin() != at.0.origin() {
                headers.remove(header::AUTHORIZATION);
            }
            at = next;
        }
        Err(DownloadError::Redirect { place: address.to_string(), problem: format!("more than {MAX_REDIRECTS} times") })
    }
}

/// Where a redirect leads, if it may be followed: what begins on the network never ends on this machine.
fn follow(at: &WebAddress, headers: &HeaderMap) -> Result<WebAddress, DownloadError> {
    let refused = |problem: String| DownloadError::Redirect { place: at.to_string(), problem };
    let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let next = location.and_then(|location| at.0.join(location).ok()).ok_or_else(|| refused("to nowhere".to_owned()))?;
    let next = WebAddress::new(next).map_err(|problem| refused(format!("to where it may not: {problem}")))?;
    if next.is_loopback() && !at.is_loopback() {
        return Err(refused(format!("to this machine (`{next}`), which is not followed")));
    }
    Ok(next)
}

/// Bounds the time of all of a download.
pub(super) async fn within<T>(
    timeout: Duration,
    place: &impl fmt::Display,
    work: impl Future<Output = Result<T, DownloadError>>,
) -> Result<T, DownloadError> {
    let timed_out = |_| Err(DownloadError::TimedOut { place: place.to_string(), timeout });
    tokio::time::timeout(timeout, work).await.unwrap_or_else(timed_out)
}

/// What is to be said of a status that is not 200.
pub(super) fn status(place: &impl fmt::Display, status: StatusCode) -> DownloadError {
    let hint = match status.as_u16() {
        401 | 403 => "; log in to it with `docker login`, or ask its owner to be let in",
        404 | 410 => "; there is nothing of that name, or not for you",
        429 => "; try again later",
        _ => "",
    };
    DownloadError::Status { place: place.to_string(), status, hint }
}

/// Takes in a body, and holds it to what is expected; answers its digest.
pub(super) async fn pour(
    response: Response<Incoming>,
    place: &WebAddress,
    expected: Expected,
    sink: &mut (impl AsyncWrite + Unpin),
) -> Result<Digest, DownloadError> {
    let place = || place.to_string();
    let headers = response.headers();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes() != b"identity") {
        return Err(DownloadError::Protocol { place: place(), problem: "sends it encoded, which was not asked for".to_owned() });
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let size = expected.size.or(announced);
    let length = |expected, got: String| DownloadError::Length { place: place(), expected, got };
    if let (Some(expected), Some(announced)) = (expected.size, announced)
        && announced != expected
    {
        return Err(length(expected, format!("{announced} bytes")));
    }
    if announced.is_some_and(|announced| announced > expected.limit.0) {
        return Err(DownloadError::TooLarge { place: place(), limit: expected.limit });
    }
    let (mut body, mut hash, mut got) = (response.into_body(), Sha256::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match size {
            // Whether it broke or was closed: there is less than was announced.
            Some(size) => length(size, format!("only {got}")),
            None => {
                DownloadError::Unreachable { place: place(), problem: format!("the connection broke after {got} bytes: {error}") }
            }
        })?;
        let Ok(data) = frame.into_data() else { continue };
        got += data.len() as u64;
        if let Some(size) = size.filter(|size| got > *size) {
            return Err(length(size, "more".to_owned()));
        }
        if got > expected.limit.0 {
            return Err(DownloadError::TooLarge { place: place(), limit: expected.limit });
        }
        hash.update(&data);
        let written = sink.write_all(&data).await;
        written.map_err(|error| DownloadError::Protocol { place: place(), problem: format!("can't be kept: {error}") })?;
    }
    if let Some(size) = size.filter(|size| got < *size) {
        return Err(length(size, format!("only {got}")));
    }
    let flushed = sink.flush().await;
    flushed.map_err(|error| DownloadError::Protocol { place: place(), problem: format!("can't be kept: {error}") })?;
    Ok(Digest(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_are_downloaded_from() {
        for good in ["https://example.com/a.tar.gz", "http://127.0.0.1:80/a", "http://localhost/a", "http://[::1]:8080/a"] {
            assert!(good.parse::<WebAddress>().is_ok(), "{good}");
        }
        for bad in ["http://example.com/a", "http://127.0.0.1.example.com/a", "ftp://127.0.0.1/a", "file:///etc/passwd", "https:"]
        {
            assert!(bad.parse::<WebAddress>().is_err(), "{bad}");
        }
        let error = "https://user:secret@example.com/a".parse::<WebAddress>().expect_err("a password");
        assert!(!error.contains("secret"), "{error}");
        let signed: WebAddress = "https://example.com/a?signature=secret".parse().expect("an address");
        assert_eq!(signed.to_string(), "https://example.com/a");
    }

    #[test]
    fn a_redirect_never_leads_from_the_network_to_this_machine_or_into_the_clear() {
        let next = |from: &str, location: &str| {
            let headers = [(header::LOCATION, location.parse().expect("a value"))].into_iter().collect();
            follow(&from.parse().expect("an address"), &headers).map(|next| next.to_string())
        };
        assert_eq!(next("https://a.example/x", "https://cdn.example/y?z").expect("followed"), "https://cdn.example/y");
        assert_eq!(next("http://127.0.0.1:1/x", "/y").expect("followed"), "http://127.0.0.1:1/y");
        for location in
            ["http://a.example/x", "https://127.0.0.1/x", "http://localhost/x", "file:///etc/passwd", "https://u:p@b.example/"]
        {
            assert!(next("https://a.example/x", location).is_err(), "{location}");
        }
    }
}
