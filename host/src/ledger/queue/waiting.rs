//! The calls that wait, in memory: one entry for each row there is, or may be.
//!
//! INVARIANT: an entry goes only once its row is durably gone; as long as it is there, so is the key of its epoch.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Ending;
use super::epochs::Epoch;
use crate::ledger::status::CallStatus;
use crate::model::{CallId, Digest, Effect, Timestamp};

/// All calls that wait.
#[derive(Default)]
pub(in crate::ledger) struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    calls: HashMap<CallId, WaitingCall>,
    /// Files with what calls are asked to do that are about to start. As many as there are such calls.
    starting: HashSet<Digest>,
    /// The sequence of the next call.
    next: u64,
}

/// What is known of a waiting call without a look at its row.
#[derive(Clone)]
pub(in crate::ledger) struct WaitingCall {
    pub sequence: u64,
    pub effect: Effect,
    pub claim: Option<Digest>,
    pub owner: Digest,
    pub queued_at: Timestamp,
    pub until: Timestamp,
    /// Whether it waits for answers of its caller, not for its turn.
    pub asking: bool,
    /// `None` if its key is missing.
    pub epoch: Option<Arc<Epoch>>,
    pub stage: Stage,
    /// How it ends, once that is decided.
    pub ending: Option<Arc<Ending>>,
}

/// How far a waiting call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Stage {
    /// Its row is on its way to the disk: nobody knows of it yet.
    Written,
    /// Its row was written for somebody who had stopped waiting, and is to go again.
    Withdrawn,
    /// It waits, and somebody in this process is going to run or end it.
    Held,
    /// It waits for somebody to take it up.
    Unheld,
}

impl WaitingCall {
    /// How it stands.
    pub fn status(&self) -> CallStatus {
        if self.asking { CallStatus::Asking } else { CallStatus::Queued }
    }

    /// Whether others may know of it.
    fn is_accepted(&self) -> bool {
        matches!(self.stage, Stage::Held | Stage::Unheld)
    }
}

impl Waiting {
    /// The place of one more call in the order of all.
    pub fn next_sequence(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        state.next
    }

    /// Adds a call; those that come after it have a higher sequence.
    pub fn insert(&self, call: CallId, waiting: WaitingCall) {
        let mut state = self.lock();
        state.next = state.next.max(waiting.sequence);
        state.calls.insert(call, waiting);
    }

    /// The call, if it waits and others may know.
    pub fn get(&self, call: &CallId) -> Option<WaitingCall> {
        self.lock().calls.get(call).filter(|waiting| waiting.is_accepted()).cloned()
    }

    /// All calls that wait and that others may know of.
    pub fn all(&self) -> Vec<(CallId, WaitingCall)> {
        let state = self.lock();
        state.calls.iter().filter(|(_, waiting)| waiting.is_accepted()).map(|(call, waiting)| (*call, waiting.clone())).collect()
    }

    /// Somebody holds the call, and others may know of it.
    pub fn accept(&self, call: &CallId) {
        self.set(call, Stage::Held);
    }

    /// Nobody wants the call, which others never knew of.
    pub fn withdraw(&self, call: &CallId) {
        self.set(call, Stage::Withdrawn);
    }

    /// Nobody holds the call any more; answers whether there is one.
    pub fn park(&self, call: &CallId) -> bool {
        let mut state = self.lock();
        let Some(waiting) = state.calls.get_mut(call) else { return false };
        if waiting.stage == Stage::Held {
            waiting.stage = Stage::Unheld;
        }
        true
    }

    /// Whether there are calls to be taken up.
    pub fn has_unheld(&self) -> bool {
        self.lock().calls.values().any(|waiting| waiting.stage == Stage::Unheld && waiting.ending.is_none())
    }

    /// Takes up the calls that nobody holds and that are not about to end, oldest first.
    pub fn take_unheld(&self) -> Vec<(CallId, WaitingCall)> {
        let mut state = self.lock();
        let unheld = state.calls.iter_mut().filter(|(_, waiting)| waiting.stage == Stage::Unheld && waiting.ending.is_none());
        let take = |(call, waiting): (&CallId, &mut WaitingCall)| {
            waiting.stage = Stage::Held;
            (*call, waiting.clone())
        };
        let mut taken: Vec<_> = unheld.map(take).collect();
        drop(state);
        taken.sort_by_key(|(_, waiting)| waiting.sequence);
        taken
    }

    /// What the call waits for now, durably, and until when.
    pub fn waits_for(&self, call: &CallId, asking: bool, until: Timestamp) {
        if let Some(waiting) = self.lock().calls.get_mut(call) {
            (waiting.asking, waiting.until) = (asking, until);
        }
    }

    /// The file is not to be removed yet, whatever the store says: its call may have to wait on.
    pub fn keep_file(&self, name: Digest) {
        self.lock().starting.insert(name);
    }

    /// Its call has started, or waits again.
    pub fn give_up_file(&self, name: &Digest) {
        self.lock().starting.remove(name);
    }

    /// Whether the file is not to be removed yet.
    pub fn keeps_file(&self, name: &Digest) -> bool {
        self.lock().starting.contains(name)
    }

    /// Decides how the call ends.
    pub fn end(&self, call: &CallId, ending: &Arc<Ending>) {
        if let Some(waiting) = self.lock().calls.get_mut(call) {
            waiting.ending = Some(Arc::clone(ending));
        }
    }

    /// The row of the call is durably gone.
    pub fn remove(&self, call: &CallId) {
        self.lock().calls.remove(call);
    }

    /// After a fault: what is to become of the row of a call.
    pub fn after_fault(&self, call: &CallId) -> AfterFault {
        match self.lock().calls.get(call) {
            None | Some(WaitingCall { stage: Stage::Withdrawn, .. }) => AfterFault::Goes,
            Some(WaitingCall { ending: Some(ending), .. }) => AfterFault::Ends(Arc::clone(ending)),
            Some(_) => AfterFault::Stays,
        }
    }

    /// After a fault: forgets the calls that have no row. Answers those whose claim nobody holds any more.
    ///
    /// Whoever holds a call without a row is about to end it, or to put the row back that its intent took away.
    pub fn keep_only(&self, rows: &HashSet<CallId>) -> Vec<(CallId, Digest)> {
        let mut free = Vec::new();
        self.lock().calls.retain(|call, waiting| {
            let stays = rows.contains(call) || waiting.stage == Stage::Held;
            if !stays && matches!(waiting.stage, Stage::Unheld | Stage::Withdrawn) {
                free.extend(waiting.claim.map(|claim| (*call, claim)));
            }
            stays
        });
        free
    }

    fn set(&self, call: &CallId, stage: Stage) {
        if let Some(waiting) = self.lock().calls.get_mut(call) {
            waiting.stage = stage;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change keeps the state whole: a panic elsewhere cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to become of a row that is there after a fault.
pub(in crate::ledger) enum AfterFault {
    /// Nobody was ever told of it.
    Goes,
    /// Its end was decided, and lost with the fault.
    Ends(Arc<Ending>),
    /// It waits on.
    Stays,
}
