//! The outbound side of one call: what it may reach, what it sent, which backend failed it.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::backend::{Backend, Health};
use super::connect::{self, Client};
use super::response::Received;
use super::span::RequestSpan;
use super::{BackendFailure, Body, Commit, DeriveKey, headers, route};
use crate::model::{ErrorCode, Sent, Spans};

/// Requests one call may have open at once, so that it cannot take all of a backend's turns.
const MAX_OPEN: usize = 8;
/// Requests one call may make.
const MAX_REQUESTS: usize = 256;
/// The longest part of a denied request's target that is logged.
const MAX_TARGET: usize = 128;

/// The outbound side of one call.
pub struct OutboundCall {
    backends: BTreeMap<String, Arc<Backend>>,
    client: Client,
    trace: Spans,
    key: Option<DeriveKey>,
    commit: Option<Commit>,
    open: Arc<Semaphore>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    requests: usize,
    unsafe_requests: u32,
    /// In the order they were sent; `None` for those that turned out never to have left.
    sent: Vec<Option<Sent>>,
    failure: Option<BackendFailure>,
    /// Nothing unsafe may be sent yet.
    gated: bool,
    /// Something unsafe was to be sent all the same.
    gate_met: bool,
}

/// A request that is allowed.
struct Accepted {
    name: String,
    backend: Arc<Backend>,
    head: request::Parts,
    path: String,
    is_unsafe: bool,
}

/// A sent request's place in the record.
pub(super) struct Ticket {
    name: String,
    index: usize,
    retry_after: Duration,
}

impl OutboundCall {
    pub(super) fn new(
        backends: BTreeMap<String, Arc<Backend>>,
        client: Client,
        trace: Spans,
        key: Option<DeriveKey>,
        gated: bool,
        commit: Option<Commit>,
    ) -> Arc<Self> {
        let open = Arc::new(Semaphore::new(MAX_OPEN));
        let record = Mutex::new(Record { gated, ..Record::default() });
        Arc::new(Self { backends, client, trace, key, commit, open, record })
    }

    /// Lets unsafe requests through from here on: a row was permitted.
    pub fn allow_unsafe(&self) {
        self.record().gated = false;
    }

    /// Whether the guest tried to change something before a row was permitted, and nothing unsafe was sent since.
    pub fn met_gate(&self) -> bool {
        let record = self.record();
        record.gate_met && record.unsafe_requests == 0
    }

    /// Sends a guest's request, if it may be sent. Requests are numbered in the order this is called, whatever becomes
    /// of the futures.
    pub fn send(self: &Arc<Self>, request: Request<Body>) -> BoxFuture<'static, io::Result<Response<Body>>> {
        let (head, body) = request.into_parts();
        match self.accept(head) {
            Ok(accepted) => Arc::clone(self).dispatch(accepted, body).boxed(),
            Err(kind) => futures::future::ready(Err(kind.into())).boxed(),
        }
    }

    /// What left the host, in order. Requests for which no connection came about are not among them.
    pub fn sent(&self) -> Vec<Sent> {
        self.record().sent.iter().flatten().cloned().collect()
    }

    /// The backend that failed this call last, unless it has answered since.
    pub fn failure(&self) -> Option<BackendFailure> {
        self.record().failure.clone()
    }

    /// Decides on a request and completes its head: everything that must happen in the guest's order.
    fn accept(&self, head: request::Parts) -> Result<Accepted, io::ErrorKind> {
        let mut record = self.record();
        let mut accepted = self.check(record.requests, head)?;
        // INVARIANT: a call that changes rows sends nothing unsafe before the policies allowed it one.
        if accepted.is_unsafe && record.gated {
            record.gate_met = true;
            tracing::warn!(
                backend = accepted.name,
                "denied an outbound request of a plugin: it asked for no permitted row first"
            );
            return Err(io::ErrorKind::PermissionDenied);
        }
        record.requests += 1;
        if accepted.is_unsafe {
            record.unsafe_requests += 1;
            if let Some(derive) = &self.key {
                let key = derive(&accepted.name, accepted.head.method.as_str(), &accepted.path, record.unsafe_requests);
                let value = HeaderValue::from_str(&key).map_err(|_| io::ErrorKind::InvalidData)?;
                accepted.head.headers.insert("idempotency-key", value);
            }
        }
        Ok(accepted)
    }

    fn check(&self, made: usize, mut head: request::Parts) -> Result<Accepted, io::ErrorKind> {
        let denied = |reason| {
            let target = head.uri.authority().map_or("", |authority| authority.as_str());
            let target: String = target.chars().take(MAX_TARGET).collect();
            tracing::warn!(method = %head.method, target, reason, "denied an outbound request of a plugin");
            io::ErrorKind::PermissionDenied
        };
        if made >= MAX_REQUESTS {
            return Err(denied("the call made too many requests"));
        }
        let name = route::logical_name(&head.uri).map_err(denied)?.to_owned();
        let backend = self.backends.get(&name).map(Arc::clone).ok_or_else(|| denied("it is not a backend of this plugin"))?;
        route::check_method(&head.method).map_err(denied)?;
        let uri = route::real_uri(&backend, &head.uri).map_err(|reason| {
            denied(reason);
            io::ErrorKind::InvalidInput
        })?;
        let path = head.uri.path().to_owned();
        head.uri = uri;
        head.headers = headers::outgoing(&head.headers, &backend);
        // The client writes host, length and connection itself.
        head.version = http::Version::HTTP_11;
        head.extensions.clear();
        let is_unsafe = !matches!(head.method, Method::GET | Method::HEAD);
        Ok(Accepted { name, backend, head, path, is_unsafe })
    }

    async fn dispatch(self: Arc<Self>, accepted: Accepted, body: Body) -> io::Result<Response<Body>> {
        let Accepted { name, backend, mut head, path, is_unsafe } = accepted;
        // The whole body first: a guest that dies in the middle of it has sent nothing, and that is known for certain.
        let body = collect(body, &backend).await?;
        // INVARIANT: what may change something leaves only once the call is sure to be able to end. Before taking a turn, because
        // this may take a while.
        if let (true, Some(commit)) = (is_unsafe, &self.commit) {
            commit().await;
        }
        let turns = self.turns(&name, &backend).await?;
        let deadline =
            Instant::now().checked_add(backend.timeout).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        let ticket = self.leaves(&name, &backend, &head, path, body.len());
        let mut span = RequestSpan::begin(&self.trace, &name, &backend, &mut head, 0);
        let request = Request::from_parts(head, Full::new(body));
        fail::fail_point!("outbound::leaves", |_| std::process::abort());
        let response = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let kind = connect::kind(&error);
                span.failed(kind);
                tracing::warn!(backend = name, error = &error as &dyn std::error::Error, "a backend failed");
                if connect::never_left(&error) {
                    self.record().sent[ticket.index] = None;
                }
                self.broke(&ticket, kind);
                return Err(kind.into());
            }
            Err(_) => {
                span.failed(io::ErrorKind::TimedOut);
                tracing::warn!(backend = name, timeout = ?backend.timeout, "a backend did not answer in time");
                self.broke(&ticket, io::ErrorKind::TimedOut);
                return Err(io::ErrorKind::TimedOut.into());
            }
        };
        fail::fail_point!("outbound::answered", |_| std::process::abort());
        span.answered(response.status());
        self.answered(&ticket, response.status().as_u16());
        Ok(self.passed_on(response, &backend, deadline, ticket, turns))
    }

    /// A response as the guest may see it.
    fn passed_on(
        self: Arc<Self>,
        response: Response<Incoming>,
        backend: &Backend,
        deadline: Instant,
        ticket: Ticket,
        turns: [OwnedSemaphorePermit; 2],
    ) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        head.headers = headers::incoming(head.headers, &ticket.name, backend);
        head.extensions.clear();
        let body = Received::new(body, backend.max_response, Box::pin(sleep_until(deadline)), self, ticket, turns);
        Response::from_parts(head, body.boxed_unsync())
    }

    /// Waits for a turn among this call's requests, and then among all requests to the backend.
    async fn turns(&self, name: &str, backend: &Backend) -> io::Result<[OwnedSemaphorePermit; 2]> {
        // Own first: a call that waits for itself must not keep others from the backend.
        let own = timeout(backend.timeout, Arc::clone(&self.open).acquire_owned()).await;
        let own = own.map_err(|_| io::ErrorKind::QuotaExceeded)?;
        let Ok(shared) = timeout(backend.max_wait, Arc::clone(&backend.turns).acquire_owned()).await else {
            self.failed(name, ErrorCode::BackendUnavailable, backend.max_wait);
            return Err(io::ErrorKind::QuotaExceeded.into());
        };
        Ok([own, shared].map(|turn| turn.expect("turns are never closed")))
    }

    /// From here on a request counts as sent.
    fn leaves(&self, name: &str, backend: &Backend, head: &request::Parts, path: String, bytes_out: usize) -> Ticket {
        let mut record = self.record();
        record.sent.push(Some(Sent {
            backend: name.to_owned(),
            method: head.method.to_string(),
            path,
            status: None,
            bytes_out: bytes_out as u64,
            bytes_in: 0,
        }));
        Ticket { name: name.to_owned(), index: record.sent.len() - 1, retry_after: backend.retry_after }
    }

    fn answered(&self, ticket: &Ticket, status: u16) {
        self.health(&ticket.name, Health::answered);
        let mut record = self.record();
        if let Some(sent) = &mut record.sent[ticket.index] {
            sent.status = Some(status);
        }
        // The backend lives; what it failed to do before, the guest evidently tried again.
        record.failure.take_if(|failure| failure.backend == ticket.name);
    }

    /// Bytes of a response's body came in.
    pub(super) fn received(&self, ticket: &Ticket, bytes: u64) {
        if let Some(sent) = &mut self.record().sent[ticket.index] {
            sent.bytes_in += bytes;
        }
    }

    /// A request failed on the way, or its response did.
    pub(super) fn broke(&self, ticket: &Ticket, kind: io::ErrorKind) {
        let code = match kind {
            // It answered, only too much: that is not an outage.
            io::ErrorKind::FileTooLarge => return,
            io::ErrorKind::TimedOut => ErrorCode::BackendTimeout,
            _ => ErrorCode::BackendUnavailable,
        };
        self.failed(&ticket.name, code, ticket.retry_after);
    }

    fn failed(&self, name: &str, code: ErrorCode, retry_after: Duration) {
        self.health(name, Health::failed);
        self.record().failure = Some(BackendFailure { backend: name.to_owned(), code, retry_after });
    }

    fn health(&self, name: &str, note: fn(&Health)) {
        if let Some(backend) = self.backends.get(name) {
            note(&backend.health);
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no code panics while it holds a call's record")
    }
}

async fn collect(body: Body, backend: &Backend) -> io::Result<Bytes> {
    // Bounded in size here and in time by the backend's timeout: a guest that never ends its body ends itself.
    let limited = Limited::new(Pin::new(Box::new(body)), backend.max_request);
    match timeout(backend.timeout, limited.collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(io::ErrorKind::ArgumentListTooLong.into()),
        Ok(Err(_)) => Err(io::ErrorKind::InvalidData.into()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
