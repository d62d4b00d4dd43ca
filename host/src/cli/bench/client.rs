//! One keep-alive connection with one request at a time, opened again whenever it is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time;

use super::endpoint::Endpoint;

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that are being opened at once, by all clients together: more would overflow a listener's backlog, and a lost
/// SYN costs a second.
pub const OPENING: usize = 256;

/// The largest head of an answer, and the most that is buffered of one.
const BUFFER: usize = 64 << 10;

/// The largest answer.
const LARGEST: usize = 64 << 20;

/// The session of a server that keeps one.
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// A client of one endpoint.
pub struct Client {
    endpoint: Endpoint,
    opening: Arc<Semaphore>,
    link: Option<Link>,
}

/// An answer, unread.
#[derive(Debug)]
pub struct Heard {
    /// The HTTP status.
    pub status: StatusCode,
    /// `Retry-After`, if it is a number of seconds.
    pub retry_after: Option<Duration>,
    /// The session it opens.
    pub session: Option<HeaderValue>,
    /// Whether it is a stream of events.
    pub is_stream: bool,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection came about; the request never left.
    Unreachable,
    /// The connection broke before the answer was whole.
    Broken,
    /// No whole answer came in time.
    TimedOut,
    /// The answer is longer than anything read here.
    TooLong,
}

impl Trouble {
    /// As reports name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "connection_broken",
            Self::TimedOut => "timed_out",
            Self::TooLong => "answer_too_long",
        }
    }
}

/// An open connection and the task that drives it.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// A client without a connection yet. `opening` is shared by all.
    pub fn new(endpoint: Endpoint, opening: Arc<Semaphore>) -> Self {
        Self { endpoint, opening, link: None }
    }

    /// Opens the connection if it is not.
    ///
    /// # Errors
    /// The endpoint can't be reached.
    pub async fn open(&mut self) -> Result<(), Trouble> {
        if self.link.as_ref().is_some_and(|link| !link.sender.is_closed()) {
            return Ok(());
        }
        self.link = None;
        let _turn = self.opening.acquire().await.expect("it is never closed");
        let connected = time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.endpoint.address)).await;
        let stream = connected.ok().and_then(Result::ok).ok_or(Trouble::Unreachable)?;
        // Whoever measures must not wait for a half-full packet.
        stream.set_nodelay(true).map_err(|_| Trouble::Unreachable)?;
        let handshake = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| Trouble::Unreachable)?;
        let driver = tokio::spawn(async move {
            // Whatever ends it, the sender tells.
            let _ = connection.await;
        });
        self.link = Some(Link { sender, driver });
        Ok(())
    }

    /// Sends one request and waits for its whole answer.
    ///
    /// # Errors
    /// None came; a connection that may still deliver a late one is given up.
    pub async fn send(&mut self, method: Method, headers: HeaderMap, body: Bytes, limit: Duration) -> Result<Heard, Trouble> {
        let heard = time::timeout(limit, self.exchange(method, headers, body)).await.unwrap_or(Err(Trouble::TimedOut));
        if heard.is_err() {
            self.link = None;
        }
        heard
    }

    async fn exchange(&mut self, method: Method, mut headers: HeaderMap, body: Bytes) -> Result<Heard, Trouble> {
        headers.insert(HOST, self.endpoint.host.clone());
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, self.endpoint.path.clone(), headers);
        let response = loop {
            self.open().await?;
            let Some(link) = &mut self.link else { return Err(Trouble::Unreachable) };
            match link.sender.try_send_request(request).await {
                Ok(response) => break response,
                // An idle connection that the server closed is no trouble: nothing had been sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => (request, self.link) = (unsent, None),
                    None => return Err(Trouble::Broken),
                },
            }
        };
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, LARGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(Trouble::TooLong),
            Err(_) => return Err(Trouble::Broken),
        };
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Heard {
            status: head.status,
            retry_after: text(RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
            session: head.headers.get(SESSION).cloned(),
            is_stream: text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/event-stream")),
            body,
        })
    }
}
