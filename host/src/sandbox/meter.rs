//! What host calls cost in fuel, and the toll that collects it on the way back into the guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use wasmtime::{CallHook, CallHookHandler, StoreContextMut};

use super::state::State;

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

/// What the host did for one guest and has not charged yet, and when the guest's slice began.
pub(super) struct Meter {
    debt: AtomicU64,
    created: Instant,
    slice_began_ns: AtomicU64,
    slice_ns: u64,
}

impl Meter {
    /// A meter for slices of `slice`.
    pub(super) fn new(slice: Duration) -> Arc<Self> {
        let slice_ns = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
        Arc::new(Self { debt: AtomicU64::new(0), created: Instant::now(), slice_began_ns: AtomicU64::new(0), slice_ns })
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

    /// What is owed; afterwards nothing is.
    pub(super) fn settle(&self) -> u64 {
        self.debt.swap(0, Ordering::Relaxed)
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
        let charge = CROSSING.saturating_add(store.data().meter.settle());
        let left = store.get_fuel()?.saturating_sub(charge);
        // INVARIANT: without a yield interval on the store, fuel set here would not be what the guest sees.
        store.set_fuel(left)?;
        if left == 0 {
            return Err(wasmtime::Trap::OutOfFuel.into());
        }
        // Setting fuel starts a new slice of fuel, so a guest that keeps calling would never end one: time ends it here.
        if store.data().meter.slice_is_over() {
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
