//! Who runs now, who waits, and who is told to come back later: slots, memory, a fair queue, and budgets of fuel.
//!
//! A call *enters* and gets a ticket, which becomes a permit when its turn has come: at once if a slot, memory and fuel are there.
//! The turn is fair across principals and first come, first served within one. While the call runs, its *purse* draws fuel ahead of what
//! it burns, from the accounts of its principal, its tool and the host; when the principal is dry, the guest is parked until there is
//! more, unless it has committed. At the end it is charged what it burned, and what was drawn beyond comes back.
//!
//! Only monotonic time counts: a wall clock that jumps changes no budget and no wait.

mod calendar;
mod clock;
mod config;
mod drain;
mod estimate;
mod flow;
mod fuel;
mod gate;
mod order;
mod parking;
mod purse;
mod snapshot;
mod start;
#[cfg(test)]
mod tests;
mod throttle;
mod ticket;
mod tools;
mod waits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::clock::{Clock, Shared};
use self::gate::{Entry, Gate};
use self::throttle::Throttle;
use crate::model::{Bytes, Principal, Timestamp, ToolName};

pub use self::config::{AdmissionConfig, AdmissionConfigError};
pub use self::purse::Drawn;
pub use self::snapshot::{Load, Snapshot};
pub use self::ticket::{Permit, Ticket};

/// The longest that whoever has a handle is told to wait before asking again.
const LONGEST_POLL: Duration = Duration::from_secs(15);

/// Decides who runs now. Cheap to clone: all clones are one gate.
#[derive(Clone, Debug)]
pub struct Admission {
    shared: Arc<Shared>,
    throttle: Arc<Throttle>,
    max_wait: Duration,
    sync_budget: Duration,
    queue_bytes: Bytes,
    asks: AskLimits,
    ask_timeout: Duration,
}

/// What all calls together may be that wait for answers of their callers.
#[derive(Clone, Copy, Debug)]
pub struct AskLimits {
    /// So many.
    pub calls: usize,
    /// Taking up so much, in bytes.
    pub bytes: usize,
}

impl AskLimits {
    /// No limit.
    pub const NONE: Self = Self { calls: usize::MAX, bytes: usize::MAX };
}

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who pays.
    pub principal: &'a Principal,
    /// The tool that is called.
    pub tool: &'a ToolName,
    /// The most fuel its manifest lets one call burn.
    pub fuel: u64,
    /// The most memory its manifest lets a guest have.
    pub memory: Bytes,
}

/// Why a call may not even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full, or the call would wait longer than `max_wait`.
    Overloaded {
        /// When one like it will probably be let in.
        retry_after: Duration,
    },
    /// The call may burn more than its principal's budget can ever promise.
    TooCostly {
        /// What it may burn.
        fuel: u64,
        /// What can be promised: burst and debt together.
        most: u64,
    },
}

/// A call waited for `max_wait` and no slot was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// When one like it will probably be let in.
    pub retry_after: Duration,
}

impl Admission {
    /// An admission within `config`, of a host that burns `capacity` fuel a second.
    ///
    /// # Errors
    /// A limit that makes no sense; the text names its key.
    pub fn new(config: AdmissionConfig, capacity: u64) -> Result<Self, AdmissionConfigError> {
        Self::with_clock(config, capacity, Clock::Since(Instant::now()))
    }

    fn with_clock(config: AdmissionConfig, capacity: u64, clock: Clock) -> Result<Self, AdmissionConfigError> {
        config.check()?;
        let (max_wait, sync_budget) = (config.max_wait.duration(), config.sync_budget.duration());
        let (queue_bytes, ask_timeout) = (config.queue_bytes, config.ask_timeout.duration());
        let asks = AskLimits { calls: config.max_asking, bytes: config.ask_bytes.as_usize() };
        let throttle = Arc::new(Throttle::new(&config));
        let shared = Shared::new(Gate::new(config, capacity.max(1)), clock);
        Ok(Self { throttle, shared, max_wait, sync_budget, queue_bytes, asks, ask_timeout })
    }

    /// Counts one more call of `principal`, before anything else is done for it.
    ///
    /// # Errors
    /// It calls more often than it may: when it may call again.
    pub fn throttle(&self, principal: &Principal) -> Result<(), Duration> {
        self.throttle.check(principal)
    }

    /// Lets a call in, or into the queue.
    ///
    /// # Errors
    /// The queue is full for its principal, it would wait too long, or it costs more than its principal can ever pay.
    pub fn enter(&self, ask: &Ask<'_>) -> Result<Ticket, Refused> {
        let entry = self.shared.change(|gate, now, words| gate.enter(ask, false, now, words))?;
        Ok(self.ticket(entry, Duration::ZERO))
    }

    /// Lets a call in that was let in before and has already waited for `waited`: after a restart. No limit refuses it; the time it may
    /// still wait begins anew, as it was the host that was away.
    pub fn enter_accepted(&self, ask: &Ask<'_>, waited: Duration) -> Ticket {
        let entry = self.shared.change(|gate, now, words| gate.enter(ask, true, now, words));
        self.ticket(entry.expect("no limit refuses what was accepted"), waited)
    }

    /// Calls that hold a slot.
    pub fn running(&self) -> usize {
        self.shared.look(|gate, _| gate.running.len())
    }

    /// Calls that wait for one.
    pub fn waiting(&self) -> usize {
        self.shared.look(|gate, _| gate.waiting.len())
    }

    /// When the backlog of this moment will be drained: when it makes sense to ask again, between a second and `max_wait`.
    pub fn retry_after(&self) -> Duration {
        let wait = self.shared.look(|gate, now| gate.backlog_wait(now));
        wait.min(self.max_wait).max(Duration::from_secs(1))
    }

    /// When it makes sense to look again after a call that waits or runs for an estimated `wait`.
    pub fn poll_after(&self, wait: Duration) -> Duration {
        let foresight = self.shared.look(|gate, now| gate.foresight(now));
        wait.min(foresight).clamp(Duration::from_secs(1), LONGEST_POLL)
    }

    /// What the arguments of waiting calls may take up.
    pub fn queue_bytes(&self) -> Bytes {
        self.queue_bytes
    }

    /// How many calls may wait for answers of their callers, and what they may take up.
    pub fn asks(&self) -> AskLimits {
        self.asks
    }

    /// Until when a question may be answered that is asked `now`.
    pub fn asks_until(&self, now: Timestamp) -> Timestamp {
        now.after(self.ask_timeout)
    }

    /// The longest a caller waits for the result, queueing included, before it is told *pending*.
    pub fn sync_budget(&self) -> Duration {
        self.sync_budget
    }

    /// What an operator sees.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.look(|gate, now| gate.snapshot(now))
    }

    fn ticket(&self, entry: Entry, waited: Duration) -> Ticket {
        match entry {
            Entry::Now(start) => Ticket::granted(&self.shared, start, waited),
            Entry::Later(place, permit) => Ticket::waiting(&self.shared, place, permit, waited),
        }
    }
}
