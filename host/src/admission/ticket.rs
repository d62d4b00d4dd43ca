//! A call's place at the gate, and what it has once it is through: a slot, fuel, memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Expired;
use super::clock::Shared;
use super::flow::{CallKey, Place};
use super::purse::Purse;

/// What a waiting call is told in the end.
pub(super) type Answered = Result<Permit, Expired>;

/// What a call starts with.
#[derive(Debug)]
pub(super) struct Start {
    pub call: CallKey,
    pub fuel: u64,
    pub drawn: u64,
    pub share: u64,
    /// Nanoseconds it waited.
    pub queued: u64,
}

/// A place in the queue, or already a permit: awaiting it gives the permit. Dropping it gives everything back.
///
/// # Errors
/// Awaiting it fails if the call became older than `max_wait` before a slot was free.
#[derive(Debug)]
pub struct Ticket {
    state: State,
    shared: Arc<Shared>,
    waited: Duration,
}

#[derive(Debug)]
enum State {
    Granted(Option<Permit>),
    Waiting { place: Place, permit: oneshot::Receiver<Answered> },
    Over,
}

/// The right to run one call: a slot, memory, and a purse of fuel. Dropping it frees the slot; if the call was not settled before, it
/// never ran, and all its fuel and memory come back too.
#[derive(Debug)]
pub struct Permit {
    purse: Arc<Purse>,
    queued: Duration,
}

impl Ticket {
    pub(super) fn granted(shared: &Arc<Shared>, start: Start, waited: Duration) -> Self {
        let permit = Permit::new(shared, start);
        Self { state: State::Granted(Some(permit)), shared: Arc::clone(shared), waited }
    }

    pub(super) fn waiting(shared: &Arc<Shared>, place: Place, permit: oneshot::Receiver<Answered>, waited: Duration) -> Self {
        Self { state: State::Waiting { place, permit }, shared: Arc::clone(shared), waited }
    }

    /// How long it probably takes from now on until the call may run; nothing if it already may.
    pub fn estimated_wait(&self) -> Duration {
        match &self.state {
            State::Waiting { place, .. } => self.shared.look(|gate, now| gate.wait_of(*place, now)),
            State::Granted(_) | State::Over => Duration::ZERO,
        }
    }

    /// Whether the call has to wait, as far as this ticket has been told.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }
}

impl Future for Ticket {
    type Output = Result<Permit, Expired>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let answered = match &mut this.state {
            State::Granted(permit) => Ok(permit.take().expect("a ticket is not polled after it is ready")),
            State::Waiting { permit, .. } => match Pin::new(permit).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(answered) => answered.expect("the gate answers everyone who waits, and lives as long as the ticket"),
            },
            State::Over => panic!("a ticket is not polled after it is ready"),
        };
        this.state = State::Over;
        Poll::Ready(answered.map(|mut permit| {
            permit.queued += this.waited;
            permit
        }))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let State::Waiting { place, .. } = self.state {
            self.shared.change(|gate, now, words| gate.leave(place, now, words));
            // A permit that was sent in the meantime drops with the channel, and gives all back.
        }
    }
}

impl Permit {
    pub(super) fn new(shared: &Arc<Shared>, start: Start) -> Self {
        let queued = Duration::from_nanos(start.queued);
        Self { purse: Arc::new(Purse::new(shared, &start)), queued }
    }

    /// The most fuel the call may burn.
    pub fn fuel(&self) -> u64 {
        self.purse.fuel()
    }

    /// How long the call waited for its slot.
    pub fn queued(&self) -> Duration {
        self.queued
    }

    /// Where the call's fuel and memory come from while it runs.
    pub fn purse(&self) -> &Arc<Purse> {
        &self.purse
    }

    /// The guest is gone: charges what it burned, remembers what it took, gives back the rest, its memory too. Answers what was charged:
    /// what it burned, unless that would have taken its principal below the floor. Only the first time counts.
    pub fn settle(&self, fuel: u64, memory_peak: u64) -> u64 {
        self.purse.settle(fuel, memory_peak)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.purse.release();
    }
}
