//! The event stream of a tool call that reports progress: its steps, then its result (Server-Sent Events).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::calls::{Event, ProgressParams, Running};
use super::convert::Wire;
use super::rpc::{Id, ResultResponse};
use crate::pipeline::{Progress, Reply};

/// The body of a response that streams a running call. Dropping it, as a disconnect does, cancels the call.
pub struct CallStream {
    id: Id,
    running: Option<Running>,
    first: Option<Progress>,
    keep_alive: Interval,
}

impl CallStream {
    /// The stream of `running`, which has just reported `first`.
    pub fn new(id: Id, running: Running, first: Progress, keep_alive: Duration) -> Self {
        let mut keep_alive = tokio::time::interval_at(Instant::now() + keep_alive, keep_alive);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { id, running: Some(running), first: Some(first), keep_alive }
    }
}

impl Body for CallStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(running) = &mut this.running else { return Poll::Ready(None) };
        let mut events = Vec::new();
        if let Some(step) = this.first.take() {
            write_step(&mut events, running, &step);
            return Poll::Ready(Some(Ok(Frame::data(events.into()))));
        }
        match running.poll_next(context) {
            Poll::Ready(Event::Step(step)) => write_step(&mut events, running, &step),
            Poll::Ready(Event::Ended(reply)) => {
                for step in running.remaining_steps().collect::<Vec<_>>() {
                    write_step(&mut events, running, &step);
                }
                write_end(&mut events, &this.id, *reply, running);
                this.running = None;
            }
            Poll::Pending => {
                std::task::ready!(this.keep_alive.poll_tick(context));
                // A comment: proxies see that the stream lives, clients see nothing.
                events.extend_from_slice(b":\n\n");
            }
        }
        this.keep_alive.reset();
        Poll::Ready(Some(Ok(Frame::data(events.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.running.is_none()
    }
}

#[derive(Serialize)]
struct Notification<'a> {
    jsonrpc: &'static str,
    method: &'static str,
    params: ProgressParams<'a>,
}

fn write_step(events: &mut Vec<u8>, running: &Running, step: &Progress) {
    let Some(token) = running.progress_token() else { return };
    let params = ProgressParams::new(token, step);
    let notification = Notification { jsonrpc: "2.0", method: "notifications/progress", params };
    write_event(events, &serde_json::to_vec(&notification).expect("progress holds only strings and numbers"));
}

fn write_end(events: &mut Vec<u8>, id: &Id, reply: Reply, running: &Running) {
    // The status line is long gone, so a challenge has to be said in words.
    match Wire::of(reply, &running.recipient).without_challenge() {
        Ok(result) => write_event(events, &ResultResponse::new(id, result).to_bytes()),
        Err(error) => write_event(events, &error.answering(id.clone()).to_bytes()),
    }
}

/// JSON as serde_json writes it holds no raw line breaks, so one `data` line always suffices.
fn write_event(events: &mut Vec<u8>, json: &[u8]) {
    events.extend_from_slice(b"data: ");
    events.extend_from_slice(json);
    events.extend_from_slice(b"\n\n");
}
