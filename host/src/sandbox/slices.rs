//! The gate around a guest: it computes only with fuel for a slice and while it holds a CPU slot, and gives the slot up after every
//! slice.
//!
//! The engine ends a slice by waking the guest's task and returning `Pending`; it offers no hook. So the gate polls the
//! guest with a waker of its own: woken during the poll means "slice used up", otherwise the guest waits for I/O.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use tokio::sync::oneshot;

use super::meter::Meter;
use super::turnstile::{Entry, Lane, Slot, Turnstile};

/// A guest's future behind the gate.
pub(super) struct Sliced<F> {
    guest: Pin<Box<F>>,
    turnstile: Arc<Turnstile>,
    meter: Arc<Meter>,
    alarm: Arc<Alarm>,
    waker: Waker,
    lane: Lane,
    share: u64,
    /// It waits for fuel, and holds nothing meanwhile.
    parked: Option<BoxFuture<'static, u64>>,
    queued: Option<oneshot::Receiver<Slot>>,
}

/// The waker the guest is polled with: while the guest runs it only takes note, otherwise it wakes the task.
struct Alarm {
    state: AtomicU8,
    task: AtomicWaker,
}

/// The guest does not run; waking it means waking its task.
const RESTING: u8 = 0;
/// The guest runs and has not been woken.
const RUNNING: u8 = 1;
/// The guest runs and has been woken: it wants to go on.
const RANG: u8 = 2;

impl Alarm {
    fn guest_starts(&self, task: &Waker) {
        self.task.register(task);
        self.state.store(RUNNING, Ordering::Release);
    }

    /// Whether the guest was woken while it ran.
    fn guest_stops(&self) -> bool {
        self.state.swap(RESTING, Ordering::AcqRel) == RANG
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Fails only if the guest rests, or has been woken before.
        let noted = self.state.compare_exchange(RUNNING, RANG, Ordering::AcqRel, Ordering::Acquire);
        if noted == Err(RESTING) {
            self.task.wake();
        }
    }
}

impl<F: Future> Sliced<F> {
    /// Puts `guest` behind `turnstile`, in the name of `share`; `meter` draws for each slice and learns when it begins.
    pub(super) fn new(turnstile: &Arc<Turnstile>, share: u64, meter: &Arc<Meter>, guest: F) -> Self {
        let alarm = Arc::new(Alarm { state: AtomicU8::new(RESTING), task: AtomicWaker::new() });
        Self {
            guest: Box::pin(guest),
            turnstile: Arc::clone(turnstile),
            meter: Arc::clone(meter),
            waker: Waker::from(Arc::clone(&alarm)),
            alarm,
            lane: Lane::Front,
            share,
            parked: None,
            queued: None,
        }
    }

    /// Waits until there is fuel for a slice.
    fn poll_fuel(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.parked.is_none() && self.queued.is_none() {
            self.parked = self.meter.draw(0);
        }
        if let Some(parked) = &mut self.parked {
            let Poll::Ready(drawn) = parked.as_mut().poll(cx) else { return Poll::Pending };
            self.meter.has_drawn(drawn);
            self.parked = None;
        }
        Poll::Ready(())
    }

    fn poll_slot(&mut self, cx: &mut Context<'_>) -> Poll<Slot> {
        if self.queued.is_none() {
            match self.turnstile.enter(self.lane, self.share) {
                Entry::Now(slot) => return Poll::Ready(slot),
                Entry::Later(receiver) => self.queued = Some(receiver),
            }
        }
        let receiver = self.queued.as_mut().expect("queued just above");
        Pin::new(receiver).poll(cx).map(|slot| {
            self.queued = None;
            slot.expect("the turnstile answers everyone it queued, and lives as long as this gate")
        })
    }
}

impl<F: Future> Future for Sliced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if this.poll_fuel(cx).is_pending() {
            return Poll::Pending;
        }
        let Poll::Ready(mut slot) = this.poll_slot(cx) else {
            return Poll::Pending;
        };
        slot.begins();
        this.alarm.guest_starts(cx.waker());
        this.meter.begin_slice();
        let polled = this.guest.as_mut().poll(&mut Context::from_waker(&this.waker));
        // Given up before the task runs again: whoever waits computes in the meantime, and parking holds nothing.
        drop(slot);
        this.lane = Lane::Front;
        if this.alarm.guest_stops() && polled.is_pending() {
            this.lane = Lane::Back;
            this.meter.slice_ended();
            // Not simply woken: the runtime puts a task that yields behind a look at its sockets and timers, and one that
            // wakes itself before. Spinning guests would keep it from them for dozens of slices.
            let yielding = pin!(tokio::task::yield_now()).poll(cx);
            debug_assert!(yielding.is_pending(), "the runtime wakes the task later, so the first poll cannot be ready");
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Never ends, and wakes itself like a guest whose slice is used up.
    async fn spin() {
        poll_fn::<(), _>(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn gate<F: Future>(turnstile: &Arc<Turnstile>, guest: F) -> Sliced<F> {
        Sliced::new(turnstile, 1, &Meter::for_tests(std::time::Duration::from_millis(1)), guest)
    }

    #[tokio::test]
    async fn one_slot_is_shared_by_spinners_and_an_honest_guest() {
        let turnstile = Turnstile::new(1);
        let spinners: Vec<_> = (0..8).map(|_| tokio::spawn(gate(&turnstile, spin()))).collect();
        let honest = gate(&turnstile, async {
            tokio::task::yield_now().await;
            "done"
        });
        assert_eq!(honest.await, "done");
        spinners.iter().for_each(|spinner| spinner.abort());
    }

    #[tokio::test]
    async fn a_guest_that_waits_for_io_holds_no_slot() {
        let turnstile = Turnstile::new(1);
        let (sender, receiver) = oneshot::channel::<()>();
        let mut waiting = Box::pin(gate(&turnstile, receiver));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(gate(&turnstile, async { 1 }).await, 1);
        sender.send(()).expect("the guest waits");
        waiting.await.expect("it was sent");
    }
}
