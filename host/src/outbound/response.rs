//! A response's body on its way to a guest: counted, capped, and only for as long as the request may take.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use super::attempt::Attempt;

/// A body that ends with an error when it grows too large or takes too long.
pub(super) struct Received {
    under_way: Arc<Mutex<Option<UnderWay>>>,
    /// The guest was told how it ended.
    is_over: bool,
    /// Ends it when its time is over; none if there is nothing to wait for.
    timer: Option<AbortHandle>,
}

/// What a response holds until it has been read, dropped, or given up.
struct UnderWay {
    inner: super::Body,
    left: u64,
    attempt: Attempt,
    /// Who waits for the backend; nobody, if the backend waits for the guest.
    waiting: Option<Waker>,
    /// The backend is busy with this request as long.
    _turns: [OwnedSemaphorePermit; 2],
}

impl Received {
    /// The body of the response to `attempt`; at most `limit` bytes of it are passed on.
    pub(super) fn new(inner: super::Body, limit: u64, attempt: Attempt, turns: [OwnedSemaphorePermit; 2]) -> Self {
        if inner.is_end_stream() {
            return Self { under_way: Arc::default(), is_over: true, timer: None };
        }
        let until = attempt.until;
        let under_way = UnderWay { inner, left: limit, attempt, waiting: None, _turns: turns };
        let under_way = Arc::new(Mutex::new(Some(under_way)));
        let timed = Arc::clone(&under_way);
        // By a task of its own: a guest that does not read would keep the turns, and a probe's place, for as long as it likes.
        let timer = tokio::spawn(async move {
            sleep_until(until).await;
            expire(&timed);
        });
        Self { under_way, is_over: false, timer: Some(timer.abort_handle()) }
    }
}

/// Gives up a body whose time is over.
fn expire(under_way: &Mutex<Option<UnderWay>>) {
    let mut slot = locked(under_way);
    let guest = slot.as_mut().and_then(|late| {
        let guest = late.waiting.take()?;
        // Only if the guest waits for the backend: whoever reads too slowly was not failed by it.
        late.attempt.breaks(io::ErrorKind::TimedOut);
        Some(guest)
    });
    *slot = None;
    drop(slot);
    if let Some(guest) = guest {
        guest.wake();
    }
}

fn locked(under_way: &Mutex<Option<UnderWay>>) -> MutexGuard<'_, Option<UnderWay>> {
    under_way.lock().expect("no code panics while it holds a body")
}

impl UnderWay {
    /// What comes next, and whether anything can come after it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Option<Result<Bytes, io::ErrorKind>>, bool)> {
        loop {
            let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => return Poll::Ready((Some(Err(io::ErrorKind::ConnectionReset)), true)),
                Poll::Ready(None) => return Poll::Ready((None, true)),
                Poll::Pending => {
                    self.waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            self.waiting = None;
            // Trailers could carry what headers may not; guests do without.
            let Ok(data) = frame.into_data() else { continue };
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                return Poll::Ready((Some(Err(io::ErrorKind::FileTooLarge)), true));
            };
            self.left = left;
            self.attempt.received(data.len() as u64);
            return Poll::Ready((Some(Ok(data)), self.inner.is_end_stream()));
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let mut slot = locked(&self.under_way);
        let (next, is_last) = match &mut *slot {
            Some(under_way) => std::task::ready!(under_way.poll(cx)),
            None => (Some(Err(io::ErrorKind::TimedOut)), true),
        };
        if is_last && let Some(mut ended) = slot.take() {
            if let Some(Err(kind)) = next {
                ended.attempt.breaks(kind);
            }
            drop(ended);
        }
        drop(slot);
        self.is_over = is_last;
        Poll::Ready(next.map(|next| next.map(Frame::data).map_err(io::Error::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
        // The task is gone only a moment later, and has a hold on it.
        *locked(&self.under_way) = None;
    }
}
