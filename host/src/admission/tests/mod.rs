//! The gate as its callers see it, with a clock that the test turns.

mod books;
mod budgets;
mod queue;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;

use super::clock::{Clock, Shared};
use super::config::{AdmissionConfig, BudgetConfig};
use super::gate::Gate;
use super::ticket::{Permit, Ticket};
use super::{Admission, Ask, Drawn, Expired, Refused};
use crate::model::{Bytes, Principal, Span, ToolName};

/// What the machine of these tests burns in a second.
const CAPACITY: u64 = 1_000_000_000;
/// What a call may burn if nothing else is said: the first guess at it is 100,000.
const FUEL: u64 = 1_600_000;

/// A gate and the clock in front of it.
struct Scene {
    admission: Admission,
    principals: Mutex<BTreeMap<String, Arc<Principal>>>,
}

impl Scene {
    fn new(config: AdmissionConfig) -> Self {
        let admission = Admission::with_clock(config, CAPACITY, Clock::Told(AtomicU64::new(0)));
        Self { admission: admission.expect("the limits make sense"), principals: Mutex::default() }
    }

    fn enter(&self, subject: &str) -> Result<Ticket, Refused> {
        self.enter_with(subject, "any", FUEL, Bytes::kib(64))
    }

    fn enter_with(&self, subject: &str, tool: &str, fuel: u64, memory: Bytes) -> Result<Ticket, Refused> {
        let tool: ToolName = tool.parse().expect("a tool name");
        self.admission.enter(&Ask { principal: &self.principal(subject), tool: &tool, fuel, memory })
    }

    /// Lets a call in that starts at once.
    fn start(&self, subject: &str) -> Permit {
        now(&mut self.enter(subject).expect("let in")).expect("started")
    }

    fn principal(&self, subject: &str) -> Arc<Principal> {
        let mut principals = self.principals.lock().expect("not poisoned");
        let principal = || Principal::named("tidegate:test", subject);
        principals.entry(subject.to_owned()).or_insert_with(|| Arc::new(principal())).clone()
    }

    /// Time passes, and what is due happens.
    fn pass(&self, time: Duration) {
        self.shared().turn(time);
        while self.shared().advance() == Some(Duration::ZERO) {}
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.admission.shared
    }

    fn look<T>(&self, look: impl FnOnce(&Gate, u64) -> T) -> T {
        self.shared().look(look)
    }
}

impl Shared {
    fn turn(&self, time: Duration) {
        if let Clock::Told(now) = self.clock() {
            now.fetch_add(u64::try_from(time.as_nanos()).expect("not for centuries"), Ordering::Relaxed);
        }
    }
}

/// The permit, if the ticket has become one.
fn now(ticket: &mut Ticket) -> Option<Permit> {
    told(ticket).map(|told| told.expect("it did not wait too long"))
}

fn told(ticket: &mut Ticket) -> Option<Result<Permit, Expired>> {
    ticket.now_or_never()
}

/// A gate with so many slots and places, and no other limit that matters.
fn config(slots: usize, queue: usize) -> AdmissionConfig {
    let principal = BudgetConfig { rate: Some(1 << 40), burst: Some(1 << 45), ..BudgetConfig::default() };
    let (max_wait, memory) = (Span::seconds(1_000_000), Bytes::mib(1 << 20));
    AdmissionConfig { slots, queue, max_wait, memory, queue_fuel: Some(1 << 50), principal, ..AdmissionConfig::default() }
}

/// The fuel that may be burned, or nothing while the guest is parked.
fn drawn(drawn: Drawn) -> Option<u64> {
    match drawn {
        Drawn::Now(drawn) => Some(drawn),
        Drawn::Later(parked) => parked.now_or_never(),
    }
}
