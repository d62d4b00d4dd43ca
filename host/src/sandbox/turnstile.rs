//! CPU slots: how many guests compute at once, and who is next when a slot comes free.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

/// After this many turns in a row for guests that just arrived or waited for I/O, one that used up its slice goes first,
/// so that short calls stay quick and long ones still end.
const FRONT_TURNS: u32 = 8;

/// A fixed number of CPU slots and two queues for them.
pub(super) struct Turnstile {
    state: Mutex<State>,
}

struct State {
    free: usize,
    front: VecDeque<oneshot::Sender<Slot>>,
    back: VecDeque<oneshot::Sender<Slot>>,
    front_turns: u32,
}

/// Where a guest queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// It is new, or it waited for I/O.
    Front,
    /// It used up its slice.
    Back,
}

/// The right to compute; given on when dropped.
pub(super) struct Slot {
    /// Empty once the right has been given back by hand.
    turnstile: Option<Arc<Turnstile>>,
}

/// The answer to a guest that wants to compute.
pub(super) enum Entry {
    /// It may at once.
    Now(Slot),
    /// It may when this answers.
    Later(oneshot::Receiver<Slot>),
}

impl Turnstile {
    /// A turnstile with `slots` slots.
    pub(super) fn new(slots: usize) -> Arc<Self> {
        let state = State { free: slots, front: VecDeque::new(), back: VecDeque::new(), front_turns: 0 };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Takes a slot or a place in the queue. The queues hold at most one entry per living instance.
    pub(super) fn enter(self: &Arc<Self>, lane: Lane) -> Entry {
        let mut state = self.lock();
        // INVARIANT: a slot is free only while nobody queues, so taking one never overtakes anybody.
        if state.free > 0 {
            state.free -= 1;
            return Entry::Now(Slot { turnstile: Some(Arc::clone(self)) });
        }
        let (sender, receiver) = oneshot::channel();
        match lane {
            Lane::Front => state.front.push_back(sender),
            Lane::Back => state.back.push_back(sender),
        }
        Entry::Later(receiver)
    }

    /// Hands a slot to the next guest that still wants it.
    fn leave(self: Arc<Self>) {
        let mut slot = Slot { turnstile: Some(Arc::clone(&self)) };
        loop {
            let Some(next) = self.lock().next() else {
                slot.turnstile = None;
                return;
            };
            match next.send(slot) {
                Ok(()) => return,
                // That guest went away between being picked and being called.
                Err(returned) => slot = returned,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the queues")
    }
}

impl State {
    /// The next guest, or the slot becomes free.
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        loop {
            let back_is_due = self.front_turns >= FRONT_TURNS && !self.back.is_empty();
            let front = if back_is_due { None } else { self.front.pop_front() };
            let next = match front {
                Some(next) => {
                    self.front_turns = self.front_turns.saturating_add(1);
                    Some(next)
                }
                None => {
                    self.front_turns = 0;
                    self.back.pop_front()
                }
            };
            match next {
                Some(next) if next.is_closed() => {}
                Some(next) => return Some(next),
                None => {
                    self.free += 1;
                    return None;
                }
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(turnstile) = self.turnstile.take() {
            turnstile.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(entry: Entry) -> Slot {
        match entry {
            Entry::Now(slot) => slot,
            Entry::Later(_) => panic!("no slot was free"),
        }
    }

    fn later(entry: Entry) -> oneshot::Receiver<Slot> {
        match entry {
            Entry::Now(_) => panic!("a slot was free"),
            Entry::Later(receiver) => receiver,
        }
    }

    #[test]
    fn a_guest_that_used_its_slice_goes_behind_new_ones() {
        let turnstile = Turnstile::new(1);
        let slot = now(turnstile.enter(Lane::Front));
        let mut spent = later(turnstile.enter(Lane::Back));
        let mut fresh = later(turnstile.enter(Lane::Front));
        drop(slot);
        assert!(spent.try_recv().is_err());
        drop(fresh.try_recv().expect("the new guest is first"));
        assert!(spent.try_recv().is_ok());
    }

    #[test]
    fn new_guests_cannot_starve_one_that_used_its_slice() {
        let turnstile = Turnstile::new(1);
        let mut slot = now(turnstile.enter(Lane::Front));
        let mut spent = later(turnstile.enter(Lane::Back));
        for _ in 0..FRONT_TURNS {
            let mut fresh = later(turnstile.enter(Lane::Front));
            drop(slot);
            slot = fresh.try_recv().expect("the new guest is first");
        }
        let _fresh = later(turnstile.enter(Lane::Front));
        drop(slot);
        assert!(spent.try_recv().is_ok());
    }

    #[test]
    fn slots_of_guests_that_went_away_are_not_lost() {
        let turnstile = Turnstile::new(1);
        let slot = now(turnstile.enter(Lane::Front));
        drop(later(turnstile.enter(Lane::Front)));
        let given_but_never_taken = later(turnstile.enter(Lane::Back));
        drop(slot);
        drop(given_but_never_taken);
        now(turnstile.enter(Lane::Front));
    }
}
