//! The outbound side of one call: what it may reach, what it sent, which backend failed it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, request};
use http_body_util::{BodyExt, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use super::attempt::{Answered, Failed};
use super::backend::Backend;
use super::record::Record;
use super::response::Received;
use super::route::Reachable;
use super::{BackendFailure, Body, CallScope, Commit, DeriveKey, headers, refusal, route};
use crate::model::{Effect, Sent, SentError, Spans};

/// Requests one call may have open at once, so that it cannot take all of a backend's turns.
const MAX_OPEN: usize = 8;
/// Requests one call may make.
const MAX_REQUESTS: u32 = 256;
/// The longest part of a denied request's target that is logged.
const MAX_TARGET: usize = 128;
/// Requests end this long before the call has to, or a tenth of its time if that is less: a guest that is told of it can still say so.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// As good as never.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// The outbound side of one call.
pub struct OutboundCall {
    backends: Reachable,
    pub(super) trace: Spans,
    key: Option<DeriveKey>,
    /// Whether the backends honour the keys.
    keyed: bool,
    effect: Effect,
    commit: Option<Commit>,
    pub(super) open: Arc<Semaphore>,
    /// When its requests end at the latest.
    pub(super) until: Instant,
    record: Mutex<Record>,
}

/// A request that is allowed.
pub(super) struct Accepted {
    pub name: String,
    pub backend: Arc<Backend>,
    pub head: request::Parts,
    path: String,
    is_unsafe: bool,
    /// Whether it may reach the backend more than once: it changes nothing, or carries a key that the backend honours.
    is_repeatable: bool,
    /// Its number in the call, from 1.
    number: u32,
    /// When the head of a response is to be there, after as many attempts as there is time for.
    pub until: Instant,
}

impl Accepted {
    /// When something ends that may take as long: before that, if the request has less time.
    pub(super) fn within(&self, limit: Duration) -> Instant {
        Instant::now().checked_add(limit).map_or(self.until, |then| then.min(self.until))
    }

    /// The n-th attempt at it, before anything is known of it.
    pub(super) fn sent(&self, n: u32) -> Sent {
        Sent {
            backend: self.name.clone(),
            method: self.head.method.to_string(),
            path: self.path.clone(),
            request: self.number,
            attempt: n,
            keyed: self.is_unsafe && self.is_repeatable,
            left: false,
            status: None,
            error: None,
            latency: Duration::ZERO,
            bytes_out: 0,
            bytes_in: 0,
        }
    }
}

impl OutboundCall {
    pub(super) fn new(backends: Reachable, scope: CallScope) -> Arc<Self> {
        let CallScope { trace, key, keyed, gated, effect, commit, deadline, .. } = scope;
        let now = Instant::now();
        let time = deadline.saturating_sub(LAST_WORDS.min(deadline / 10));
        Arc::new(Self {
            backends,
            trace,
            keyed: keyed && key.is_some(),
            key,
            effect,
            commit,
            open: Arc::new(Semaphore::new(MAX_OPEN)),
            until: now.checked_add(time).unwrap_or_else(|| now + FOR_EVER),
            record: Mutex::new(Record::new(gated)),
        })
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

    /// Whether a request that may change something was let through, whatever became of it.
    pub fn asked_for_changes(&self) -> bool {
        self.record().unsafe_requests > 0
    }

    /// What the guest asked for last that it may not reach, and what it may reach instead; in words for the caller.
    pub fn refusal(&self) -> Option<String> {
        self.record().refusal.clone()
    }

    /// Sends a guest's request, if it may be sent; for the head of the response it waits for as long as its `patience` at most.
    /// Requests are numbered in the order this is called, whatever becomes of the futures.
    pub fn send_within(
        self: &Arc<Self>,
        request: Request<Body>,
        patience: Duration,
    ) -> BoxFuture<'static, io::Result<Response<Body>>> {
        let (head, body) = request.into_parts();
        match self.accept(head, patience) {
            Ok(accepted) => {
                let waiting = Waiting { call: Arc::clone(self), accepted: Arc::new(accepted) };
                Arc::clone(self).dispatch(waiting, body).boxed()
            }
            Err(kind) => futures::future::ready(Err(kind.into())).boxed(),
        }
    }

    /// The call is over: nothing leaves any more, and what is known of it stays as it is. Answers with every attempt, in
    /// order; those that never left at last.
    pub fn close(&self) -> Vec<Sent> {
        let mut record = self.record();
        record.close();
        record.sent()
    }

    /// The backend that failed this call last, unless it has answered since.
    pub fn failure(&self) -> Option<BackendFailure> {
        self.record().failure()
    }

    /// Decides on a request and completes its head: everything that must happen in the guest's order.
    fn accept(&self, head: request::Parts, patience: Duration) -> Result<Accepted, io::ErrorKind> {
        let mut record = self.record();
        let mut accepted = self.check(&mut record, head)?;
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
        accepted.number = record.requests;
        accepted.until = accepted.within(patience);
        if accepted.is_unsafe {
            record.unsafe_requests += 1;
            if let Some(derive) = &self.key {
                let key = derive(&accepted.name, accepted.head.method.as_str(), &accepted.path, record.unsafe_requests);
                let value = HeaderValue::from_str(&key).map_err(|_| io::ErrorKind::InvalidData)?;
                accepted.head.headers.insert("idempotency-key", value);
            }
        }
        record.waits(accepted.sent(1));
        Ok(accepted)
    }

    fn check(&self, record: &mut Record, mut head: request::Parts) -> Result<Accepted, io::ErrorKind> {
        let denied = |reason| {
            let target = head.uri.authority().map_or("", |authority| authority.as_str());
            let target: String = target.chars().take(MAX_TARGET).collect();
            tracing::warn!(method = %head.method, target, reason, "denied an outbound request of a plugin");
            io::ErrorKind::PermissionDenied
        };
        if record.requests >= MAX_REQUESTS {
            return Err(denied("the call made too many requests"));
        }
        let (name, backend) = route::target(&head.uri, &self.backends).map_err(|reason| {
            record.refusal = Some(refusal::in_words(&head.uri, &self.backends));
            denied(reason)
        })?;
        route::check_method(&head.method).map_err(denied)?;
        let uri = route::real_uri(&name, &backend, &head.uri).map_err(|reason| {
            denied(reason);
            io::ErrorKind::InvalidInput
        })?;
        let is_unsafe = !matches!(head.method, Method::GET | Method::HEAD);
        // INVARIANT: only a tool that writes changes files, so that every change has a key, a claim and a record of its own.
        if backend.service.is_own() && is_unsafe && self.effect == Effect::Read {
            record.refusal = Some(format!("the tool only reads, so it can't change anything in `{name}`"));
            return Err(denied("the tool's effect is `read`, and directories are changed by tools that write"));
        }
        // What is asked of a directory, and where a file goes, is in the query; elsewhere queries carry values that may be personal.
        let path = match head.uri.path_and_query().filter(|_| backend.service.is_own()) {
            Some(whole) => whole.as_str().to_owned(),
            None => head.uri.path().to_owned(),
        };
        head.uri = uri;
        head.headers = headers::outgoing(&head.headers, &backend);
        // The client writes host, length and connection itself.
        head.version = http::Version::HTTP_11;
        head.extensions.clear();
        // Nobody says of an origin that it honours keys.
        let honours_keys = self.keyed && !backend.is_origin && !backend.keyed_for.is_zero();
        let is_repeatable = !is_unsafe || honours_keys;
        Ok(Accepted { name, backend, head, path, is_unsafe, is_repeatable, number: 0, until: self.until })
    }

    async fn dispatch(self: Arc<Self>, waiting: Waiting, body: Body) -> io::Result<Response<Body>> {
        let accepted = &waiting.accepted;
        let backend = &accepted.backend;
        // Own turn first: a call that waits for itself must not keep others from the backend, and the bodies of what waits would be
        // memory that nobody pays for.
        let own = self.own_turn(accepted).await.map_err(|failed| failed.kind)?;
        // The whole body then: a guest that dies in the middle of it has sent nothing, and that is known for certain.
        let body = self.collect(accepted, body).await.map_err(|failed| failed.kind)?;
        if backend.wait().is_some() {
            // Told at once: what follows may take a while.
            self.may_send(accepted, 1).map_err(|failed| failed.kind)?;
        }
        // INVARIANT: what may change something leaves only once the call is sure to be able to end. Before taking a turn, because
        // this may take a while.
        if let (true, Some(commit)) = (accepted.is_unsafe, &self.commit) {
            timeout_at(accepted.until, commit()).await?;
        }
        backend.budget.earn();
        let mut delays = backend.retry.delays();
        let mut n = 1;
        loop {
            let tried = self.attempt(accepted, &body, n).await;
            let again = match &tried {
                Ok(Answered { again, .. }) | Err(Failed { again, .. }) => *again,
            };
            let Some(delay) = self.delay_before_retry(accepted, again, &mut delays) else {
                return tried.map(|answered| Self::passed_on(answered, own)).map_err(|failed| failed.kind.into());
            };
            // Nothing of the response was passed on. Its turn at the backend is given back before the wait.
            drop(tried);
            sleep(delay).await;
            backend.figures.retried();
            n += 1;
        }
    }

    /// How long to wait before another attempt; `None` if there is to be none.
    fn delay_before_retry(&self, of: &Accepted, again: bool, delays: &mut impl Iterator<Item = Duration>) -> Option<Duration> {
        // INVARIANT: what may change something twice is sent once.
        let delay = delays.next().filter(|_| again && of.is_repeatable)?;
        // In this order: only a retry that can be made is paid.
        let is_in_time = Instant::now().checked_add(delay).is_some_and(|then| then < of.until);
        (is_in_time && of.backend.wait().is_none() && of.backend.budget.spend()).then_some(delay)
    }

    /// A response as the guest may see it.
    fn passed_on(Answered { response, attempt, turn, .. }: Answered, own: OwnedSemaphorePermit) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        let Accepted { name, backend, .. } = attempt.accepted();
        head.headers = headers::incoming(head.headers, name, backend);
        head.extensions.clear();
        let limit = backend.max_response;
        Response::from_parts(head, Received::new(body, limit, attempt, [own, turn]).boxed_unsync())
    }

    /// The whole body. Bounded in size, and in time by the backend's timeout: a guest that never ends its body ends itself.
    async fn collect(&self, accepted: &Accepted, body: Body) -> Result<Bytes, Failed> {
        let limited = Limited::new(Pin::new(Box::new(body)), accepted.backend.max_request);
        match timeout_at(accepted.within(accepted.backend.timeout), limited.collect()).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                self.keeps(accepted, 1, SentError::RequestTooLarge, None);
                Err(Failed::for_good(io::ErrorKind::ArgumentListTooLong))
            }
            Ok(Err(_)) => Err(Failed::for_good(io::ErrorKind::InvalidData)),
            Err(_) => Err(Failed::for_good(io::ErrorKind::TimedOut)),
        }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no code panics while it holds a call's record")
    }
}

/// A request that was allowed. Whatever ends it before anything else was taken down of it, that it was given up is.
struct Waiting {
    call: Arc<OutboundCall>,
    accepted: Arc<Accepted>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let is_waiting = self.call.record().is_waiting(self.accepted.number);
        if is_waiting {
            self.call.keeps(&self.accepted, 1, SentError::Abandoned, None);
        }
    }
}
