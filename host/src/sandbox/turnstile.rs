//! CPU slots: how many guests compute at once, and who is next when a slot comes free.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::oneshot;

/// After this many turns in a row for guests that just arrived or waited for I/O, one that used up its slice goes first,
/// so that short calls stay quick and long ones still end.
const FRONT_TURNS: u32 = 8;
/// What a turn is taken to last until it has ended, in nanoseconds.
const TURN: u64 = 100_000;
/// Shares without a guest are swept out when there are so many.
const MAX_SHARES: usize = 1024;

/// A fixed number of CPU slots and two lanes to them. Within a lane the share goes first that has computed least.
pub(super) struct Turnstile {
    state: Mutex<State>,
}

struct State {
    free: usize,
    front: Lineup,
    back: Lineup,
    shares: HashMap<u64, Share>,
    /// Virtual time: what a share has computed that always had a guest. Whoever comes (back) starts from here: having been away saves
    /// up nothing, and having computed much is forgotten after a while.
    now: u64,
    front_turns: u32,
}

/// Those who have the same name.
#[derive(Default)]
struct Share {
    /// What its guests have computed, in nanoseconds of virtual time.
    computed: u64,
    /// How many of its guests compute.
    inside: usize,
    front: VecDeque<oneshot::Sender<Slot>>,
    back: VecDeque<oneshot::Sender<Slot>>,
}

/// The shares with guests in one lane, by what they have computed.
type Lineup = BTreeSet<(u64, u64)>;

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
    share: u64,
    since: Instant,
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
        let state =
            State { free: slots, front: Lineup::new(), back: Lineup::new(), shares: HashMap::new(), now: 0, front_turns: 0 };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Takes a slot or a place in the lane. The lanes hold at most one entry per living instance.
    pub(super) fn enter(self: &Arc<Self>, lane: Lane, share: u64) -> Entry {
        let mut state = self.lock();
        // INVARIANT: a slot is free only while nobody queues, so taking one never overtakes anybody.
        if state.free > 0 {
            state.free -= 1;
            state.begins(share);
            return Entry::Now(self.slot(share));
        }
        let (sender, receiver) = oneshot::channel();
        state.joins(lane, share, sender);
        Entry::Later(receiver)
    }

    /// Hands a slot to the next guest that still wants it.
    fn leave(self: Arc<Self>, share: u64, took: u64) {
        let mut ended = (share, took);
        while let Some((share, next)) = self.next_after(ended) {
            match next.send(self.slot(share)) {
                Ok(()) => return,
                // That guest went away between being picked and being called.
                Err(mut slot) => {
                    slot.turnstile = None;
                    ended = (share, 0);
                }
            }
        }
    }

    fn next_after(&self, (share, took): (u64, u64)) -> Option<(u64, oneshot::Sender<Slot>)> {
        let mut state = self.lock();
        state.ends(share, took);
        state.next()
    }

    fn slot(self: &Arc<Self>, share: u64) -> Slot {
        Slot { turnstile: Some(Arc::clone(self)), share, since: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the queues")
    }
}

impl State {
    fn joins(&mut self, lane: Lane, name: u64, sender: oneshot::Sender<Slot>) {
        self.returns(name);
        let share = self.shares.entry(name).or_default();
        let (queue, lineup) = match lane {
            Lane::Front => (&mut share.front, &mut self.front),
            Lane::Back => (&mut share.back, &mut self.back),
        };
        if queue.is_empty() {
            lineup.insert((share.computed, name));
        }
        queue.push_back(sender);
    }

    /// The next guest and its share, or the slot becomes free.
    fn next(&mut self) -> Option<(u64, oneshot::Sender<Slot>)> {
        loop {
            let back_is_due = self.front_turns >= FRONT_TURNS && !self.back.is_empty();
            let is_front = !self.front.is_empty() && !back_is_due;
            let lineup = if is_front { &mut self.front } else { &mut self.back };
            let Some((computed, name)) = lineup.pop_first() else {
                self.front_turns = 0;
                self.free += 1;
                return None;
            };
            let share = self.shares.get_mut(&name).expect("whoever is in a lane has a share");
            let queue = if is_front { &mut share.front } else { &mut share.back };
            let next = queue.pop_front();
            if !queue.is_empty() {
                lineup.insert((computed, name));
            }
            let Some(next) = next.filter(|next| !next.is_closed()) else { continue };
            self.front_turns = if is_front { self.front_turns.saturating_add(1) } else { 0 };
            self.begins(name);
            return Some((name, next));
        }
    }

    /// A guest of the share computes from now on.
    fn begins(&mut self, name: u64) {
        self.returns(name);
        let share = self.shares.entry(name).or_default();
        share.inside += 1;
        let computed = share.computed;
        // Counted ahead, so that a share does not take every slot before the first turn has ended.
        self.moves(name, computed + TURN);
    }

    /// It has computed for `took` nanoseconds.
    fn ends(&mut self, name: u64, took: u64) {
        let Some(share) = self.shares.get_mut(&name) else { return };
        share.inside -= 1;
        let computed = share.computed.saturating_add(took).saturating_sub(TURN);
        self.now += took / (1 + self.front.len().max(self.back.len()) as u64);
        self.moves(name, computed);
    }

    /// A share that had no guest here starts from now on.
    fn returns(&mut self, name: u64) {
        if self.shares.len() >= MAX_SHARES {
            let now = self.now;
            self.shares.retain(|_, share| !share.is_idle() || share.computed > now);
        }
        let share = self.shares.entry(name).or_default();
        if share.is_idle() {
            share.computed = share.computed.max(self.now);
        }
    }

    /// Changes what a share has computed, and with it its place in the lanes.
    fn moves(&mut self, name: u64, computed: u64) {
        let Some(share) = self.shares.get_mut(&name) else { return };
        let before = std::mem::replace(&mut share.computed, computed);
        for lineup in [&mut self.front, &mut self.back] {
            if lineup.remove(&(before, name)) {
                lineup.insert((computed, name));
            }
        }
    }
}

impl Share {
    fn is_idle(&self) -> bool {
        self.inside == 0 && self.front.is_empty() && self.back.is_empty()
    }
}

impl Slot {
    /// The guest begins only now: its share is not charged for what the runtime did between handing over the slot and this.
    pub(super) fn begins(&mut self) {
        self.since = Instant::now();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(turnstile) = self.turnstile.take() {
            turnstile.leave(self.share, u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX));
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
        let slot = now(turnstile.enter(Lane::Front, 1));
        let mut spent = later(turnstile.enter(Lane::Back, 1));
        let mut fresh = later(turnstile.enter(Lane::Front, 1));
        drop(slot);
        assert!(spent.try_recv().is_err());
        drop(fresh.try_recv().expect("the new guest is first"));
        assert!(spent.try_recv().is_ok());
    }

    #[test]
    fn new_guests_cannot_starve_one_that_used_its_slice() {
        let turnstile = Turnstile::new(1);
        let mut slot = now(turnstile.enter(Lane::Front, 1));
        let mut spent = later(turnstile.enter(Lane::Back, 1));
        for _ in 0..FRONT_TURNS {
            let mut fresh = later(turnstile.enter(Lane::Front, 1));
            drop(slot);
            slot = fresh.try_recv().expect("the new guest is first");
        }
        let _fresh = later(turnstile.enter(Lane::Front, 1));
        drop(slot);
        assert!(spent.try_recv().is_ok());
    }

    #[test]
    fn slots_of_guests_that_went_away_are_not_lost() {
        let turnstile = Turnstile::new(1);
        let slot = now(turnstile.enter(Lane::Front, 1));
        drop(later(turnstile.enter(Lane::Front, 1)));
        let given_but_never_taken = later(turnstile.enter(Lane::Back, 1));
        drop(slot);
        drop(given_but_never_taken);
        now(turnstile.enter(Lane::Front, 1));
    }

    /// A slot whose turn is as long as told.
    fn taking(mut slot: Slot, took: u64) {
        let (turnstile, share) = (slot.turnstile.take().expect("it is held"), slot.share);
        turnstile.leave(share, took);
    }

    #[test]
    fn one_share_with_many_guests_gets_no_more_time_than_another_with_one() {
        let turnstile = Turnstile::new(1);
        let mut slot = now(turnstile.enter(Lane::Front, 1));
        // They all look as if they had waited for I/O, and take ten times as long as the honest one.
        let mut greedy: VecDeque<_> = (0..32).map(|_| later(turnstile.enter(Lane::Front, 1))).collect();
        let (mut time, mut turns) = (0, 0);
        for _ in 0..100 {
            let mut honest = later(turnstile.enter(Lane::Front, 2));
            loop {
                taking(slot, 1_000_000);
                time += 1_000_000;
                if let Ok(mine) = honest.try_recv() {
                    turns += 1;
                    slot = mine;
                    break;
                }
                slot = greedy.iter_mut().find_map(|guest| guest.try_recv().ok()).expect("somebody has it");
                greedy.push_back(later(turnstile.enter(Lane::Front, 1)));
            }
            taking(slot, 100_000);
            slot = greedy.iter_mut().find_map(|guest| guest.try_recv().ok()).expect("nobody else is there");
            greedy.push_back(later(turnstile.enter(Lane::Front, 1)));
        }
        assert_eq!(turns, 100);
        assert!(time <= 110 * 1_000_000, "the honest guest waited for {time} ns, more than one turn each time");
    }

    #[test]
    fn shares_that_are_gone_are_forgotten() {
        let turnstile = Turnstile::new(1);
        for share in 0..10 * MAX_SHARES as u64 {
            let slot = now(turnstile.enter(Lane::Front, share));
            let waiting = later(turnstile.enter(Lane::Front, share + 1));
            drop(slot);
            drop(waiting);
        }
        assert!(turnstile.lock().shares.len() <= MAX_SHARES + 1);
    }
}
