//! One principal's side of the gate: its account, its calls that wait in order, its calls that run, its guests that are parked.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::oneshot;

use super::config::Budget;
use super::drain::Rate;
use super::fuel::Account;
use super::gate::{MORSEL, Terms};
use super::order::{Tag, Turn};
use crate::model::Principal;

/// A call that waits, by its place in the order of arrival.
pub(super) type Place = u64;
/// A call that runs.
pub(super) type CallKey = u64;
/// A principal, while the gate knows it.
pub(super) type FlowId = usize;

/// What the gate knows of one principal.
#[derive(Debug)]
pub(super) struct Flow {
    pub issuer: Box<str>,
    pub subject: Box<str>,
    pub account: Account,
    pub weight: u32,
    /// Calls that hold a slot.
    pub running: usize,
    uncommitted: Uncommitted,
    pub queue: Queue,
    /// Where the next call stands in the fair order, while there is one.
    pub tag: Option<Tag>,
    /// Where the call after that will stand: the further the more it has had.
    pub finish: Tag,
    /// What the first in its queue waits for.
    pub standing: Standing,
    /// Guests that wait for fuel, in order.
    pub parked: VecDeque<Parked>,
    /// When it is forgotten, if nothing happens until then.
    pub forgotten_at: Option<u64>,
    pub burning: Rate,
    pub parked_ns: u64,
    pub rejects: u64,
}

/// What a principal's next call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: there is none.
    Idle,
    /// A slot, or memory.
    Ready(Turn),
    /// Its principal's account, until then.
    Dry(u64),
    /// Its tool's account.
    AtTool(usize, Turn),
}

/// A principal's calls that run and were not promised all that they may burn.
#[derive(Debug, Default)]
struct Uncommitted {
    /// What each still lacked of that when it started.
    rests: BTreeSet<(u64, CallKey)>,
    /// What they were promised together.
    promised: u64,
}

/// A guest that waits for fuel.
#[derive(Debug)]
pub(super) struct Parked {
    pub ticket: u64,
    pub call: CallKey,
    pub wants: Wants,
    pub since: u64,
    /// Answered with all that the call may burn.
    pub sender: oneshot::Sender<u64>,
}

/// What a parked guest waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// To have drawn so much in all.
    Drawn(u64),
    /// To have the rest of what it may burn promised.
    Promise,
}

/// A principal's waiting calls, oldest first. Those that left are skipped when their turn comes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    places: VecDeque<(Place, u64)>,
    /// Calls that still wait.
    pub waiting: usize,
    /// The fuel they are expected to burn.
    pub backlog: u64,
    /// The fuel of all that ever joined, and of all whose turn has passed.
    joined: u64,
    passed: u64,
}

impl Flow {
    /// A principal that nothing is known of yet.
    pub fn new(principal: &Principal, budget: Budget, now: u64) -> Self {
        Self {
            issuer: principal.issuer.as_str().into(),
            subject: principal.subject.as_str().into(),
            account: Account::new(budget.rate, budget.burst, budget.debt, now),
            weight: budget.weight,
            running: 0,
            uncommitted: Uncommitted::default(),
            queue: Queue::default(),
            tag: None,
            finish: 0,
            standing: Standing::Idle,
            parked: VecDeque::new(),
            forgotten_at: None,
            burning: Rate::default(),
            parked_ns: 0,
            rejects: 0,
        }
    }

    /// Nanoseconds until one more call may start. `None`: not before others of its calls commit or end.
    ///
    /// INVARIANT: each call that has not committed can still do so once those that have are over, whatever the others keep: what it
    /// lacks and what they all were promised is no more than can ever be promised. So of calls that wait for each other one goes on.
    pub fn until(&self, terms: &Terms) -> Option<u64> {
        let most = self.account.burst().saturating_add(self.account.debt());
        let has_room = self.uncommitted.rests.last().is_none_or(|&(largest, _)| {
            let lacked = largest.max(terms.rest()).max(MORSEL);
            lacked.saturating_add(self.uncommitted.promised).saturating_add(terms.slack) <= most
        });
        if has_room { self.account.until(terms.need, terms.slack) } else { None }
    }

    /// A call starts, and may want to commit later.
    pub fn starts(&mut self, call: CallKey, terms: &Terms) {
        self.uncommitted.rests.insert((terms.rest(), call));
        self.uncommitted.promised += terms.slack;
    }

    /// It has committed, or its guest is gone.
    pub fn commits_or_ends(&mut self, call: CallKey, terms: &Terms) {
        if self.uncommitted.rests.remove(&(terms.rest(), call)) {
            self.uncommitted.promised -= terms.slack;
        }
    }

    /// Whether none of its calls is here.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.queue.waiting == 0
    }
}

impl Queue {
    /// Queues a call that is expected to burn `fuel`. Answers the fuel that its turn comes after.
    pub fn join(&mut self, place: Place, fuel: u64) -> u64 {
        self.places.push_back((place, fuel));
        self.waiting += 1;
        self.backlog += fuel;
        self.joined = self.joined.wrapping_add(fuel);
        self.joined.wrapping_sub(fuel)
    }

    /// The fuel ahead of a call that [`Queue::join`] answered `after`.
    pub fn ahead(&self, after: u64) -> u64 {
        after.wrapping_sub(self.passed).min(self.backlog)
    }

    /// The next call, of those that `still` wait.
    pub fn head(&mut self, still: impl Fn(Place) -> bool) -> Option<Place> {
        while let Some(&(place, fuel)) = self.places.front() {
            if still(place) {
                return Some(place);
            }
            self.places.pop_front();
            self.passed = self.passed.wrapping_add(fuel);
        }
        None
    }

    /// The call that joined last, if it still waits.
    pub fn last(&self) -> Option<Place> {
        self.places.back().map(|&(place, _)| place)
    }

    /// A call that was expected to burn `fuel` started, or left; `still` tells which wait.
    pub fn leave(&mut self, fuel: u64, still: impl Fn(Place) -> bool) {
        self.waiting -= 1;
        self.backlog -= fuel;
        // What left from the middle is swept up before it outnumbers what is still there.
        if self.places.len() > 2 * self.waiting + 16 {
            let passed = &mut self.passed;
            self.places.retain(|&(place, fuel)| {
                let stays = still(place);
                *passed = if stays { *passed } else { passed.wrapping_add(fuel) };
                stays
            });
        }
    }
}
