//! One attempt at a request: whether it may be sent, its turn, the way to the backend, and how it went.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::backend::Health;
use super::breaker::Pass;
use super::call::{Accepted, OutboundCall};
use super::exchange::Way;
use super::span::RequestSpan;
use crate::model::{ErrorCode, Sent, SentError};

/// A request that the call's own end cut off counts against the backend only if it had this long, or its whole time.
const FAIR_TIME: Duration = Duration::from_secs(1);

/// An attempt that left. It is settled when dropped, whoever drops it.
pub(super) struct Attempt {
    call: Arc<OutboundCall>,
    /// Its place in the call's record.
    place: usize,
    accepted: Arc<Accepted>,
    begun: Instant,
    /// When it is given up.
    pub until: Instant,
    /// How far it got.
    way: Way,
    status: Option<StatusCode>,
    /// Why there is no whole response.
    error: Option<SentError>,
    pass: Option<Pass>,
    /// What traces tell of it; none before it is about to leave.
    span: Option<RequestSpan>,
}

/// A response whose head is there.
pub(super) struct Answered {
    pub response: Response<Incoming>,
    pub attempt: Attempt,
    /// The backend is busy with the request until the response has been read or dropped.
    pub turn: OwnedSemaphorePermit,
    /// Whether another attempt may go better.
    pub again: bool,
}

/// An attempt that came to nothing.
pub(super) struct Failed {
    /// What the guest learns.
    pub kind: io::ErrorKind,
    /// Whether another attempt may go better.
    pub again: bool,
}

impl Failed {
    /// For good.
    pub fn for_good(kind: io::ErrorKind) -> Self {
        Self { kind, again: false }
    }
}

impl OutboundCall {
    /// Tries a request for the n-th time.
    pub(super) async fn attempt(self: &Arc<Self>, accepted: &Arc<Accepted>, body: &Bytes, n: u32) -> Result<Answered, Failed> {
        let mut pass = self.may_send(accepted, n)?;
        let turn = self.turn(accepted, n).await?;
        if !pass.is_current() {
            // It waited while others found out that the backend is in trouble.
            pass = self.may_send(accepted, n)?;
        }
        let mut attempt = self.leaves(accepted, body.len(), n, pass)?;
        let (mut parts, backend) = (accepted.head.clone(), &accepted.backend);
        attempt.span = Some(RequestSpan::begin(&self.trace, &accepted.name, &mut parts, n - 1));
        let request = Request::from_parts(parts, Full::new(body.clone()));
        fail::fail_point!("outbound::leaves", |_| std::process::abort());
        // The guest may have less patience for the head than there is for the whole response.
        let until = attempt.until.min(accepted.until);
        let sending = backend.exchange.send(request, backend.follows_below(), until, &mut attempt.way);
        let response = match timeout_at(until, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let kind = error.kind();
                tracing::warn!(backend = accepted.name, %error, "a backend failed");
                attempt.breaks(kind);
                // What is no HTTP the first time is none the second time, and what is nowhere a guest may go stays there.
                let is_hopeless = matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied);
                return Err(Failed { kind, again: !is_hopeless });
            }
            Err(_) => {
                let waited = attempt.begun.elapsed();
                tracing::warn!(backend = accepted.name, timeout = ?backend.timeout, ?waited, "a backend did not answer in time");
                attempt.breaks(io::ErrorKind::TimedOut);
                return Err(Failed { kind: io::ErrorKind::TimedOut, again: true });
            }
        };
        fail::fail_point!("outbound::answered", |_| std::process::abort());
        let again = attempt.answered(response.status(), response.headers());
        Ok(Answered { response, attempt, turn, again })
    }

    /// Whether anything may be sent to the backend now.
    pub(super) fn may_send(&self, accepted: &Accepted, n: u32) -> Result<Pass, Failed> {
        if let Some((_, code)) = accepted.backend.patience.ask() {
            self.keeps(accepted, n, SentError::ToldToWait, Some(code));
            return Err(Failed::for_good(io::ErrorKind::QuotaExceeded));
        }
        accepted.backend.breaker.ask().map_err(|_| {
            self.keeps(accepted, n, SentError::BreakerOpen, Some(ErrorCode::BackendUnavailable));
            Failed::for_good(io::ErrorKind::HostUnreachable)
        })
    }

    /// Waits for a turn among this call's requests.
    pub(super) async fn own_turn(&self, accepted: &Accepted) -> Result<OwnedSemaphorePermit, Failed> {
        let own = timeout_at(accepted.within(accepted.backend.timeout), Arc::clone(&self.open).acquire_owned()).await;
        let Ok(own) = own else {
            self.keeps(accepted, 1, SentError::NoTurn, None);
            return Err(Failed::for_good(io::ErrorKind::QuotaExceeded));
        };
        Ok(own.expect("turns are never closed"))
    }

    /// Waits for a turn among all requests to the backend.
    async fn turn(&self, accepted: &Accepted, n: u32) -> Result<OwnedSemaphorePermit, Failed> {
        let backend = &accepted.backend;
        let shared = timeout_at(accepted.within(backend.max_wait), Arc::clone(&backend.turns).acquire_owned()).await;
        let Ok(shared) = shared else {
            self.keeps(accepted, n, SentError::NoTurn, Some(ErrorCode::BackendUnavailable));
            return Err(Failed::for_good(io::ErrorKind::QuotaExceeded));
        };
        Ok(shared.expect("turns are never closed"))
    }

    /// Takes down an attempt that the host itself keeps back; with a code, because of the backend.
    pub(super) fn keeps(&self, accepted: &Accepted, n: u32, error: SentError, code: Option<ErrorCode>) {
        let sent = Sent { error: Some(error), ..accepted.sent(n) };
        accepted.backend.figures.ended(&sent);
        RequestSpan::kept_back(&self.trace, &accepted.name, &accepted.head, n - 1, error);
        let mut record = self.record();
        record.add(sent, None);
        if let Some(code) = code {
            record.failed(&accepted.name, &accepted.backend, code, true);
        }
    }

    /// From here on a request counts as sent, unless it turns out that no connection came about.
    ///
    /// INVARIANT: nothing leaves after the record was closed, so that what it says of a call is all that the call did.
    fn leaves(self: &Arc<Self>, accepted: &Arc<Accepted>, bytes_out: usize, n: u32, pass: Pass) -> Result<Attempt, Failed> {
        let begun = Instant::now();
        if begun >= accepted.until {
            // What it waited for came in the last moment.
            self.keeps(accepted, n, SentError::NoTurn, None);
            return Err(Failed::for_good(io::ErrorKind::TimedOut));
        }
        let sent = Sent { left: true, bytes_out: bytes_out as u64, ..accepted.sent(n) };
        let mut record = self.record();
        if record.is_closed() {
            return Err(Failed::for_good(io::ErrorKind::ConnectionAborted));
        }
        let place = record.add(sent, Some(begun));
        drop(record);
        let until = begun.checked_add(accepted.backend.timeout).map_or(self.until, |until| until.min(self.until));
        let (call, accepted, way) = (Arc::clone(self), Arc::clone(accepted), Way::default());
        Ok(Attempt { call, place, accepted, begun, until, way, status: None, error: None, pass: Some(pass), span: None })
    }
}

impl Attempt {
    /// Where the response comes from, in the guest's terms.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// The head of the response is there. Answers whether another attempt may go better.
    fn answered(&mut self, status: StatusCode, headers: &HeaderMap) -> bool {
        let Accepted { name, backend, .. } = &*self.accepted;
        self.status = Some(status);
        if let Some(span) = &mut self.span {
            span.answered(status);
        }
        backend.health.note(Health::ANSWERS);
        let is_gone = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
        if is_gone && let Some(pass) = self.pass.take() {
            pass.failed();
        }
        let told = backend.patience.heed(status, headers, self.begun);
        let mut record = self.call.record();
        record.at(self.place).status = Some(status.as_u16());
        match status {
            StatusCode::TOO_MANY_REQUESTS => record.failed(name, backend, ErrorCode::RateLimited, false),
            StatusCode::GATEWAY_TIMEOUT => record.failed(name, backend, ErrorCode::BackendTimeout, false),
            // 500 and its like: it lives, so its breaker stays as it is, but this call was failed.
            status if status.is_server_error() => record.failed(name, backend, ErrorCode::BackendUnavailable, false),
            _ => record.answered(name),
        }
        is_gone && !told
    }

    /// Bytes of the response's body came in.
    pub fn received(&self, bytes: u64) {
        self.call.record().at(self.place).bytes_in += bytes;
    }

    /// Whether it certainly did not reach the backend. Final once nobody sends it any more.
    fn never_left(&self) -> bool {
        self.status.is_none() && !self.way.has_left()
    }

    /// It failed on the way, or its response did.
    pub fn breaks(&mut self, kind: io::ErrorKind) {
        let never_left = self.never_left();
        let (error, code) = match kind {
            // It answered, only too much: that is not an outage.
            io::ErrorKind::FileTooLarge => {
                self.error = Some(SentError::TooLarge);
                return;
            }
            // Nor is a name that leads to where guests may not go.
            io::ErrorKind::PermissionDenied => {
                self.error = Some(SentError::Forbidden);
                self.pass = None;
                let mut record = self.call.record();
                record.at(self.place).left = !never_left;
                record.refusal = Some(format!("`{}` leads to an address outside of the public internet", self.accepted.name));
                return;
            }
            _ if never_left => (SentError::Unreachable, ErrorCode::BackendUnavailable),
            io::ErrorKind::TimedOut => (SentError::TimedOut, ErrorCode::BackendTimeout),
            io::ErrorKind::InvalidData => (SentError::NotHttp, ErrorCode::BackendUnavailable),
            _ => (SentError::BrokenOff, ErrorCode::BackendUnavailable),
        };
        self.error = Some(error);
        let Accepted { name, backend, .. } = &*self.accepted;
        backend.health.note(Health::UNAVAILABLE);
        let was_fair = self.begun.elapsed() >= FAIR_TIME.min(backend.timeout);
        match self.pass.take() {
            Some(pass) if kind != io::ErrorKind::TimedOut || was_fair => pass.failed(),
            pass => drop(pass),
        }
        let mut record = self.call.record();
        record.at(self.place).left = !never_left;
        record.failed(name, backend, code, false);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut record = self.call.record();
        if self.error.is_none() {
            // Given up on the way, maybe before there was a connection.
            record.at(self.place).left = !self.never_left();
        }
        let sent = record.settle(self.place, self.error);
        self.accepted.backend.figures.ended(sent);
        if let (Some(error), Some(span)) = (sent.error, &mut self.span) {
            span.failed(error);
        }
        drop(record);
        // Whoever got a head and no more, because nobody read on, has seen a backend that lives.
        if self.status.is_some()
            && let Some(pass) = self.pass.take()
        {
            pass.succeeded();
        }
    }
}
