//! A running call's way to more fuel and memory.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::clock::Shared;
use super::flow::CallKey;
use super::parking::Fed;
use super::ticket::Start;

/// Where a running call's fuel and memory come from.
#[derive(Debug)]
pub struct Purse {
    shared: Arc<Shared>,
    call: CallKey,
    fuel: u64,
    drawn: u64,
    share: u64,
}

/// The answer to a call that wants to burn more.
pub enum Drawn {
    /// It may burn so much in all.
    Now(u64),
    /// Its principal is dry. It may burn so much in all once this is ready; dropping it gives up the wait.
    Later(BoxFuture<'static, u64>),
}

/// A place among the parked, given up on drop.
struct Parking {
    shared: Arc<Shared>,
    call: CallKey,
    ticket: u64,
    fed: oneshot::Receiver<u64>,
}

impl Purse {
    pub(super) fn new(shared: &Arc<Shared>, start: &Start) -> Self {
        let Start { call, fuel, drawn, share, .. } = *start;
        Self { shared: Arc::clone(shared), call, fuel, drawn, share }
    }

    /// The most fuel the call may burn.
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// What was drawn for the call at its start.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// A number that calls of the same principal have in common, and no others that run now.
    pub fn share(&self) -> u64 {
        self.share
    }

    /// Draws until the call may burn `total` in all, or everything it may ever burn.
    pub fn draw(&self, total: u64) -> Drawn {
        match self.shared.change(|gate, now, words| gate.draw(self.call, total, now, words)) {
            Fed::Now(drawn) => Drawn::Now(drawn),
            fed => Drawn::Later(Box::pin(self.park(fed))),
        }
    }

    /// Sees to it that the call is never parked again: reserves, on credit down to its principal's floor, all that it may still burn.
    /// Takes until that can be done.
    pub fn commit(&self) -> impl Future<Output = ()> + Send + 'static {
        let fed = self.shared.change(|gate, now, words| gate.commit(self.call, now, words));
        let parked = match fed {
            Fed::Now(_) => None,
            fed => Some(self.park(fed)),
        };
        async move {
            if let Some(parked) = parked {
                parked.await;
            }
        }
    }

    /// Takes memory, `total` in all; `false` if there is none.
    pub fn grow(&self, total: u64) -> bool {
        self.shared.change(|gate, _, _| gate.grow(self.call, total))
    }

    pub(super) fn settle(&self, fuel: u64, memory_peak: u64) -> u64 {
        self.shared.change(|gate, now, words| gate.settle(self.call, Some((fuel, memory_peak)), now, words))
    }

    pub(super) fn release(&self) {
        self.shared.change(|gate, now, words| gate.release(self.call, now, words));
    }

    fn park(&self, fed: Fed) -> impl Future<Output = u64> + Send + 'static {
        let parking = match fed {
            Fed::Now(_) | Fed::Gone => None,
            Fed::Later(ticket, fed) => Some(Parking { shared: Arc::clone(&self.shared), call: self.call, ticket, fed }),
        };
        async move {
            if let Some(mut parking) = parking
                && let Ok(drawn) = (&mut parking.fed).await
            {
                return drawn;
            }
            // The call has ended: whoever still waits for its fuel is about to be dropped, and must not go on.
            std::future::pending().await
        }
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        self.shared.change(|gate, now, words| gate.unpark(self.call, self.ticket, now, words));
    }
}
