//! What the gate knows of each tool: what its calls take, how many there are, and its account if it has one.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::config::ToolBudget;
use super::drain::Rate;
use super::estimate::Estimate;
use super::fuel::Account;
use super::order::Turn;
use crate::model::ToolName;

/// The first guess at a call's fuel, as a part of what its manifest allows.
const FUEL_GUESS: u64 = 16;
/// The first guess at a call's memory.
const MEMORY_GUESS: u64 = 4;

/// What the gate knows of one tool.
#[derive(Debug)]
pub(super) struct ToolState {
    pub name: ToolName,
    pub fuel: Estimate,
    pub memory: Estimate,
    pub account: Option<Account>,
    /// Principals whose next call waits for the tool's account, in the fair order.
    pub blocked: BTreeSet<Turn>,
    /// When the first of them may start.
    pub wake: Option<u64>,
    pub running: usize,
    pub waiting: usize,
    /// The fuel that its waiting calls are expected to burn.
    pub backlog: u64,
    pub parked: usize,
    pub parked_ns: u64,
    pub rejects: u64,
    pub burning: Rate,
    instruments: Instruments,
}

/// The tool's numbers in `/metrics`, looked up once.
#[derive(Debug)]
struct Instruments {
    running: Gauge,
    queued: Gauge,
    fuel: Counter,
    parked: Histogram,
    rejects: Counter,
}

impl ToolState {
    /// A tool that has not been called yet.
    pub fn new(name: &ToolName, budget: Option<&ToolBudget>, now: u64) -> Self {
        Self {
            name: name.clone(),
            fuel: Estimate::starting_at(FUEL_GUESS),
            memory: Estimate::starting_at(MEMORY_GUESS),
            account: budget.map(|budget| Account::bottomless(budget.rate, budget.burst, now)),
            blocked: BTreeSet::new(),
            wake: None,
            running: 0,
            waiting: 0,
            backlog: 0,
            parked: 0,
            parked_ns: 0,
            rejects: 0,
            burning: Rate::default(),
            instruments: Instruments::of(name),
        }
    }

    /// A call waits.
    pub fn joins(&mut self, fuel: u64) {
        self.waiting += 1;
        self.backlog += fuel;
        self.instruments.queued.increment(1.0);
    }

    /// It no longer does.
    pub fn leaves(&mut self, fuel: u64) {
        self.waiting -= 1;
        self.backlog -= fuel;
        self.instruments.queued.decrement(1.0);
    }

    /// A call runs.
    pub fn starts(&mut self) {
        self.running += 1;
        self.instruments.running.increment(1.0);
    }

    /// It no longer does.
    pub fn ends(&mut self) {
        self.running -= 1;
        self.instruments.running.decrement(1.0);
    }

    /// A call was charged so much.
    pub fn charged(&self, fuel: u64) {
        self.instruments.fuel.increment(fuel);
    }

    /// One of its guests waited for fuel for `nanoseconds`.
    pub fn was_parked(&mut self, nanoseconds: u64) {
        self.parked -= 1;
        self.parked_ns += nanoseconds;
        self.instruments.parked.record(Duration::from_nanos(nanoseconds));
    }

    /// A call was refused.
    pub fn rejects(&mut self) {
        self.rejects += 1;
        self.instruments.rejects.increment(1);
    }
}

impl Instruments {
    fn of(tool: &ToolName) -> Self {
        let tool = || tool.to_string();
        Self {
            running: metrics::gauge!("tidegate_running_calls", "tool" => tool()),
            queued: metrics::gauge!("tidegate_queued_calls", "tool" => tool()),
            fuel: metrics::counter!("tidegate_charged_fuel_total", "tool" => tool()),
            parked: metrics::histogram!("tidegate_parked_seconds", "tool" => tool()),
            rejects: metrics::counter!("tidegate_overloaded_total", "tool" => tool()),
        }
    }
}
