//! A response's body on its way to a guest: counted, capped, and only for as long as the request may take.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep_until};

use super::attempt::Attempt;

/// A body that ends with an error when it grows too large or takes too long.
pub(super) struct Received {
    inner: Incoming,
    left: u64,
    deadline: Pin<Box<Sleep>>,
    /// Until the body has ended.
    attempt: Option<Attempt>,
    /// The backend is busy with this request until its response has been read or dropped.
    _turns: [OwnedSemaphorePermit; 2],
}

impl Received {
    /// The body of the response to `attempt`; at most `limit` bytes of it are passed on.
    pub(super) fn new(inner: Incoming, limit: u64, attempt: Attempt, turns: [OwnedSemaphorePermit; 2]) -> Self {
        let deadline = Box::pin(sleep_until(attempt.until));
        Self { inner, left: limit, deadline, attempt: Some(attempt), _turns: turns }
    }

    fn fail(&mut self, kind: io::ErrorKind) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(mut attempt) = self.attempt.take() {
            attempt.breaks(kind, false);
        }
        Poll::Ready(Some(Err(kind.into())))
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.attempt.is_none() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = self.left.checked_sub(length) else {
                    return self.fail(io::ErrorKind::FileTooLarge);
                };
                self.left = left;
                if let Some(attempt) = &self.attempt {
                    attempt.received(length);
                }
                // Trailers could carry what headers may not; guests do without.
                if frame.is_data() { Poll::Ready(Some(Ok(frame))) } else { self.poll_frame(cx) }
            }
            Poll::Ready(Some(Err(_))) => self.fail(io::ErrorKind::ConnectionReset),
            Poll::Ready(None) => {
                self.attempt = None;
                Poll::Ready(None)
            }
            Poll::Pending => match self.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => self.fail(io::ErrorKind::TimedOut),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.attempt.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
