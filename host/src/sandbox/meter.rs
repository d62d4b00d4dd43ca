//! What a guest burns, what host calls cost in fuel, and the toll that collects it on the way back into the guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use wasmtime::{CallHook, CallHookHandler, StoreContextMut};

use super::state::State;
use super::supply::{DrawFuel, Fuel};

/// Any crossing from guest to host and back: it takes as long as about so many instructions of a guest.
const CROSSING: u64 = 1_000;
/// One decision by the policies.
pub(super) const PERMITS: u64 = 20_000;
/// One progress report or log line: somebody else may have to read it.
pub(super) const REPORT: u64 = 2_000;
/// One outbound request.
pub(super) const REQUEST: u64 = 50_000;
/// One byte copied on behalf of the guest.
const BYTE: u64 = 1;
/// Bytes of new memory per unit of fuel: the system has to find and clear them when they are first touched.
const NEW_BYTES: u64 = 2;

/// How long a guest runs before others do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// Fuel, at most.
    pub(super) fuel: u64,
    /// Time, for guests that keep calling the host.
    pub(super) time: Duration,
}

/// What one guest has burned and may burn, what the host did for it and has not charged yet, and when its slice began.
pub(super) struct Meter {
    /// The most it may ever burn.
    limit: u64,
    /// Draws fuel for it.
    draw: DrawFuel,
    /// What has been drawn for it.
    drawn: AtomicU64,
    /// What it has burned: exact when it crosses into the host and back, at most a slice more than the truth in between.
    burned: AtomicU64,
    debt: AtomicU64,
    created: Instant,
    slice_began_ns: AtomicU64,
    slice_ns: u64,
    slice_fuel: u64,
}

impl Meter {
    /// A meter for a guest that may burn `limit` and has drawn `drawn` of it.
    pub(super) fn new(slice: Slice, limit: u64, drawn: u64, draw: DrawFuel) -> Arc<Self> {
        Arc::new(Self {
            limit,
            draw,
            drawn: AtomicU64::new(drawn),
            burned: AtomicU64::new(0),
            debt: AtomicU64::new(0),
            created: Instant::now(),
            slice_began_ns: AtomicU64::new(0),
            slice_ns: u64::try_from(slice.time.as_nanos()).unwrap_or(u64::MAX),
            slice_fuel: slice.fuel,
        })
    }

    /// Adds `fuel` to what the guest is charged at its next crossing.
    pub(super) fn charge(&self, fuel: u64) {
        self.debt.fetch_add(fuel, Ordering::Relaxed);
    }

    /// Charges for `count` bytes.
    pub(super) fn charge_bytes(&self, count: usize) {
        self.charge(BYTE.saturating_mul(count as u64));
    }

    /// Charges for `count` bytes of new memory.
    pub(super) fn charge_memory(&self, count: usize) {
        self.charge(count as u64 / NEW_BYTES);
    }

    /// What is owed.
    pub(super) fn owed(&self) -> u64 {
        self.debt.load(Ordering::Relaxed)
    }

    /// Fuel for one more slice, on top of `charge`. Something to wait for if it can't be drawn now.
    pub(super) fn draw(&self, charge: u64) -> Option<BoxFuture<'static, u64>> {
        let burned = self.burned.load(Ordering::Relaxed);
        let total = burned.saturating_add(charge).saturating_add(self.slice_fuel).min(self.limit);
        if total <= self.drawn.load(Ordering::Relaxed) {
            return None;
        }
        match (self.draw)(total) {
            Fuel::Now(drawn) => {
                self.has_drawn(drawn);
                None
            }
            Fuel::Later(parked) => Some(parked),
        }
    }

    /// So much has been drawn in all.
    pub(super) fn has_drawn(&self, drawn: u64) {
        self.drawn.fetch_max(drawn, Ordering::Relaxed);
    }

    /// A slice of fuel was used up, or less if it was ended by time: the next crossing corrects that.
    pub(super) fn slice_ended(&self) {
        self.burned.fetch_add(self.slice_fuel, Ordering::Relaxed);
    }

    /// The guest pays `charge`, of which `owed` was owed. Answers what is left to it of its limit.
    fn pay(&self, left: u64, charge: u64, owed: u64) -> u64 {
        self.debt.fetch_sub(owed, Ordering::Relaxed);
        let left = left.saturating_sub(charge);
        self.burned.store(self.limit.saturating_sub(left), Ordering::Relaxed);
        left
    }

    /// The guest is about to run.
    pub(super) fn begin_slice(&self) {
        self.slice_began_ns.store(self.age_ns(), Ordering::Relaxed);
    }

    fn slice_is_over(&self) -> bool {
        self.age_ns().saturating_sub(self.slice_began_ns.load(Ordering::Relaxed)) > self.slice_ns
    }

    fn age_ns(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Charges every crossing, and ends the slice of a guest that spends its time in the host.
pub(super) struct Toll;

#[wasmtime_wasi::async_trait]
impl CallHookHandler<State> for Toll {
    async fn handle_call_event(&self, mut store: StoreContextMut<'_, State>, event: CallHook) -> wasmtime::Result<()> {
        if !matches!(event, CallHook::ReturningFromHost) {
            return Ok(());
        }
        let meter = Arc::clone(&store.data().meter);
        let left = store.get_fuel()?;
        meter.burned.store(meter.limit.saturating_sub(left), Ordering::Relaxed);
        // What the host did is paid for before the guest goes on. Whoever can't pay is parked right here.
        let (owed, charge) = loop {
            let owed = meter.owed();
            let charge = CROSSING.saturating_add(owed);
            match meter.draw(charge) {
                // Without fuel for it there is nothing to wait for: the guest ends below.
                Some(parked) if charge < left => meter.has_drawn(parked.await),
                _ => break (owed, charge),
            }
        };
        let left = meter.pay(left, charge, owed);
        // INVARIANT: without a yield interval on the store, fuel set here would not be what the guest sees.
        store.set_fuel(left)?;
        if left == 0 {
            return Err(wasmtime::Trap::OutOfFuel.into());
        }
        // Setting fuel starts a new slice of fuel, so a guest that keeps calling would never end one: time ends it here.
        if meter.slice_is_over() {
            end_slice().await;
        }
        Ok(())
    }
}

/// Ends the slice the way the engine does: wake, then return once.
async fn end_slice() {
    let mut ended = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut ended, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
impl Meter {
    /// A meter for a guest with all the fuel there is.
    pub(super) fn for_tests(slice: Duration) -> Arc<Self> {
        Self::new(Slice { fuel: 1, time: slice }, u64::MAX, u64::MAX, Arc::new(Fuel::Now))
    }
}
