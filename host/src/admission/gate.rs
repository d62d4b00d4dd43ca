//! The gate itself, under one lock and without a clock of its own: who is let in, who waits, who leaves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use metrics::Gauge;
use slab::Slab;
use tokio::sync::oneshot;

use super::calendar::Calendar;
use super::config::{AdmissionConfig, Budget};
use super::drain::{Drain, Rate};
use super::flow::{CallKey, Flow, FlowId, Place, Standing};
use super::fuel::Account;
use super::order::Order;
use super::ticket::{Answered, Start};
use super::tools::ToolState;
use super::{Ask, Expired, Refused};
use crate::model::ToolName;

/// What one call may owe at its end beyond what it drew: promised from the start, so that no call takes its principal below the floor.
pub(super) const SLACK: u64 = 1_000_000;
/// What is worth drawing by itself, and waking a parked guest for: about a slice.
pub(super) const MORSEL: u64 = 100_000;
/// How long a principal is remembered after its last call, in nanoseconds; longer if its account is not full yet.
const REMEMBERED: u64 = 10_000_000_000;
/// Principals without calls that are remembered at most.
const MAX_REMEMBERED: usize = 50_000;
/// Principals forgotten at most in one operation, so that none takes long.
const FORGOTTEN_AT_ONCE: usize = 4;
/// Calls looked at most in one hold of the lock, for each reason to look; who is left is looked at right after.
pub(super) const AT_ONCE: usize = 64;

/// Everything that admission knows.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) config: AdmissionConfig,
    pub(super) capacity: u64,
    pub(super) queue_fuel: u64,
    /// Slots that nobody holds.
    pub(super) free: usize,
    /// Memory that no guest was promised.
    pub(super) memory_free: u64,
    pub(super) flows: Slab<Flow>,
    by_name: HashMap<Box<str>, HashMap<Box<str>, FlowId>>,
    pub(super) tools: Vec<ToolState>,
    by_tool: HashMap<ToolName, usize>,
    /// The host's own account, if its operator said what all guests together may burn.
    pub(super) host: Option<Account>,
    pub(super) host_wake: Option<u64>,
    pub(super) running: HashMap<CallKey, Running>,
    /// In the order they came, and so in the order they grow too old.
    pub(super) waiting: BTreeMap<Place, Waiting>,
    /// Principals with waiting calls, and the sum of their weights.
    pub(super) queueing: usize,
    pub(super) weights: u64,
    /// The fuel that waiting calls are expected to burn.
    pub(super) backlog: u64,
    pub(super) order: Order,
    pub(super) timers: BTreeSet<(u64, Timer)>,
    /// Principals without calls, by when they are forgotten.
    pub(super) idle: BTreeSet<(u64, FlowId)>,
    pub(super) drain: Drain,
    pub(super) calendar: Calendar,
    pub(super) burning: Rate,
    pub(super) parked: usize,
    pub(super) rejects: u64,
    estimated_wait: Gauge,
    /// The last number given to a place, a call or a parked guest.
    last: u64,
}

/// A call that waits for a slot.
#[derive(Debug)]
pub(super) struct Waiting {
    pub flow: FlowId,
    pub tool: usize,
    pub terms: Terms,
    pub entered: u64,
    /// Behind how much fuel of its principal's, see [`super::flow::Queue::ahead`].
    pub after: u64,
    pub sender: oneshot::Sender<Answered>,
}

/// A call that holds a slot.
#[derive(Debug)]
pub(super) struct Running {
    pub flow: FlowId,
    pub tool: usize,
    pub terms: Terms,
    /// What was drawn from all accounts.
    pub drawn: u64,
    /// What the principal's account promised besides.
    pub promised: u64,
    /// The rest of what it may burn is promised: it is never parked.
    pub committed: bool,
    /// It was charged, and has nothing left but its slot.
    pub settled: bool,
    pub memory: u64,
    pub since: u64,
}

/// What a call takes with it when it starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The most it may burn.
    pub fuel: u64,
    /// What it is expected to burn.
    pub estimate: u64,
    /// What is drawn at the start: the estimate and a slice more, so that most calls never ask again; or as much of it as the accounts
    /// ever hold.
    pub need: u64,
    /// What is promised at the start.
    pub slack: u64,
    /// The memory it is expected to take.
    pub memory: u64,
}

impl Terms {
    /// What a call with these terms lacks at its start of all that it may burn.
    pub fn rest(&self) -> u64 {
        (self.fuel - self.need).saturating_sub(self.slack)
    }
}

/// What happens by itself at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The host's account has enough for the next call, or somebody was not looked at yet.
    Host,
    /// A tool's account has.
    Tool(usize),
    /// A principal's account has, or enough for one of its parked guests.
    Flow(FlowId),
}

/// What is to be told to somebody once the lock is released.
#[derive(Debug)]
pub(super) enum Word {
    /// A waiting call may start.
    Start(oneshot::Sender<Answered>, Start),
    /// It waited too long.
    Expire(oneshot::Sender<Answered>, Expired),
    /// A parked guest may go on: all that its call may burn so far.
    Feed(oneshot::Sender<u64>, u64),
}

/// The answer to a call at the gate.
pub(super) enum Entry {
    /// It may start.
    Now(Start),
    /// It waits.
    Later(Place, oneshot::Receiver<Answered>),
}

impl Gate {
    /// A gate with everything free, of a host that burns `capacity` fuel a second.
    pub fn new(config: AdmissionConfig, capacity: u64) -> Self {
        let host = config.capacity.map(|rate| Account::bottomless(rate, rate, 0));
        Self {
            queue_fuel: config.queue_fuel(capacity),
            free: config.slots,
            memory_free: config.memory.0,
            flows: Slab::new(),
            by_name: HashMap::new(),
            tools: Vec::new(),
            by_tool: HashMap::new(),
            host,
            host_wake: None,
            running: HashMap::new(),
            waiting: BTreeMap::new(),
            queueing: 0,
            weights: 0,
            backlog: 0,
            order: Order::default(),
            timers: BTreeSet::new(),
            idle: BTreeSet::new(),
            drain: Drain::new(config.slots),
            calendar: Calendar::new(),
            burning: Rate::default(),
            parked: 0,
            rejects: 0,
            estimated_wait: metrics::gauge!("tidegate_estimated_wait_seconds"),
            last: 0,
            config,
            capacity,
        }
    }

    /// Lets a call in, queues it, or refuses it. `accepted`: it was let in before, so no limit refuses it now.
    pub fn enter(&mut self, ask: &Ask<'_>, accepted: bool, now: u64, words: &mut Vec<Word>) -> Result<Entry, Refused> {
        self.forget_some(now);
        let tool = self.tool(ask.tool, now);
        let budget = self.config.budget(ask.principal, self.capacity);
        let fuel = ask.fuel.min(self.config.max_fuel);
        if fuel > budget.most() && !accepted {
            return Err(Refused::TooCostly { fuel, most: budget.most() });
        }
        let id = self.flow(ask, budget, now);
        let terms = self.terms(id, tool, fuel, ask.memory.0);
        if self.starts_at_once(id, tool, &terms, now) {
            let tag = self.order.tag(self.flows[id].finish);
            return Ok(Entry::Now(self.start(id, tool, terms, tag, now, now)));
        }
        let wait = self.wait(id, tool, &terms, self.flows[id].queue.backlog, now);
        if !accepted && (self.is_full_for(id, &terms) || wait > self.config.max_wait.duration()) {
            return Err(self.refuse(id, tool, &terms, wait, now));
        }
        let (sender, receiver) = oneshot::channel();
        let place = self.number();
        let flow = &mut self.flows[id];
        let after = flow.queue.join(place, terms.estimate);
        if flow.queue.waiting == 1 {
            self.queueing += 1;
            self.weights += u64::from(flow.weight);
        }
        self.backlog += terms.estimate;
        self.show_wait(now);
        self.tools[tool].joins(terms.estimate);
        if self.waiting.is_empty() {
            self.drain.backlog(true, now);
        }
        self.waiting.insert(place, Waiting { flow: id, tool, terms, entered: now, after, sender });
        if self.flows[id].queue.waiting == 1 {
            self.refresh(id, now, words);
        }
        self.schedule(now, words);
        Ok(Entry::Later(place, receiver))
    }

    /// A waiting call gives up its place.
    pub fn leave(&mut self, place: Place, now: u64, words: &mut Vec<Word>) {
        if let Some(waiting) = self.waiting.remove(&place) {
            self.left(&waiting, now);
            self.refresh(waiting.flow, now, words);
            self.schedule(now, words);
        }
    }

    /// Does what is due: calls that waited too long leave, accounts that filled up let somebody on. If much is due, a part of it:
    /// [`Gate::next_time`] has then come already, and others get the lock in between.
    pub fn advance(&mut self, now: u64, words: &mut Vec<Word>) {
        for _ in 0..AT_ONCE {
            let oldest = self.waiting.first_entry();
            let Some(entry) = oldest.filter(|entry| entry.get().entered.saturating_add(max_wait(&self.config)) <= now) else {
                break;
            };
            let waiting = entry.remove();
            self.left(&waiting, now);
            self.refresh(waiting.flow, now, words);
            let expired = Expired { retry_after: self.appointment(&waiting.terms, now) };
            self.count_reject(waiting.flow, waiting.tool);
            words.push(Word::Expire(waiting.sender, expired));
        }
        for _ in 0..AT_ONCE {
            let Some(&(_, timer)) = self.timers.first().filter(|(at, _)| *at <= now) else { break };
            self.timers.pop_first();
            match timer {
                Timer::Host => self.host_wake = None,
                Timer::Tool(tool) => {
                    self.tools[tool].wake = None;
                    self.unblock(tool, now);
                }
                Timer::Flow(id) => self.refresh(id, now, words),
            }
        }
        self.forget_some(now);
        self.schedule(now, words);
    }

    /// When [`Gate::advance`] has something to do next.
    pub fn next_time(&self) -> Option<u64> {
        let oldest = self.waiting.first_key_value().map(|(_, waiting)| waiting.entered.saturating_add(max_wait(&self.config)));
        let timer = self.timers.first().map(|&(at, _)| at);
        oldest.into_iter().chain(timer).min()
    }

    /// A number that none had before.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Counts that a call waits no longer.
    pub(super) fn left(&mut self, waiting: &Waiting, now: u64) {
        let Self { flows, waiting: still, tools, .. } = self;
        let flow = &mut flows[waiting.flow];
        flow.queue.leave(waiting.terms.estimate, |place| still.contains_key(&place));
        tools[waiting.tool].leaves(waiting.terms.estimate);
        if flow.queue.waiting == 0 {
            flow.tag = None;
            self.queueing -= 1;
            self.weights -= u64::from(flow.weight);
        }
        self.backlog -= waiting.terms.estimate;
        if self.waiting.is_empty() {
            self.drain.backlog(false, now);
        }
        self.show_wait(now);
    }

    /// Tells of the wait of everybody: nobody's own debts are in it.
    fn show_wait(&self, now: u64) {
        self.estimated_wait.set(self.backlog_wait(now).as_secs_f64());
    }

    /// A principal without calls is remembered for a while, then forgotten.
    pub(super) fn note_idle(&mut self, id: FlowId, now: u64) {
        let flow = &mut self.flows[id];
        if flow.is_idle() && flow.forgotten_at.is_none() {
            let at = now.saturating_add(flow.account.until_full().max(REMEMBERED));
            flow.forgotten_at = Some(at);
            self.idle.insert((at, id));
        }
        if self.running.is_empty() && self.waiting.is_empty() {
            self.order.rest();
        }
    }

    fn forget_some(&mut self, now: u64) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some(&(at, id)) = self.idle.first() else { return };
            if at > now && self.idle.len() <= MAX_REMEMBERED {
                return;
            }
            self.idle.pop_first();
            let flow = self.flows.remove(id);
            debug_assert!(flow.is_idle() && flow.standing == Standing::Idle && flow.parked.is_empty());
            if let Some(subjects) = self.by_name.get_mut(&flow.issuer) {
                subjects.remove(&flow.subject);
                if subjects.is_empty() {
                    self.by_name.remove(&flow.issuer);
                }
            }
        }
    }

    fn flow(&mut self, ask: &Ask<'_>, budget: Budget, now: u64) -> FlowId {
        let (issuer, subject) = (ask.principal.issuer.as_str(), ask.principal.subject.as_str());
        let known = self.by_name.get(issuer).and_then(|subjects| subjects.get(subject)).copied();
        let id = known.unwrap_or_else(|| {
            let id = self.flows.insert(Flow::new(ask.principal, budget, now));
            self.by_name.entry(issuer.into()).or_default().insert(subject.into(), id);
            id
        });
        let flow = &mut self.flows[id];
        flow.account.refill(now);
        if let Some(at) = flow.forgotten_at.take() {
            self.idle.remove(&(at, id));
        }
        id
    }

    fn tool(&mut self, name: &ToolName, now: u64) -> usize {
        if let Some(&tool) = self.by_tool.get(name) {
            return tool;
        }
        // Bounded by the tools that were ever loaded: only those are asked for.
        self.tools.push(ToolState::new(name, self.config.tools.get(name), now));
        self.by_tool.insert(name.clone(), self.tools.len() - 1);
        self.tools.len() - 1
    }

    fn terms(&self, id: FlowId, tool: usize, fuel: u64, memory: u64) -> Terms {
        let (account, tool) = (&self.flows[id].account, &self.tools[tool]);
        let estimate = tool.fuel.of(fuel);
        let most = account.burst().saturating_add(account.debt());
        let slack = SLACK.min(fuel).min(most / 4);
        let bursts = [Some(account), tool.account.as_ref(), self.host.as_ref()].into_iter().flatten().map(Account::burst);
        let need = bursts.fold(estimate.saturating_add(MORSEL).min(fuel).min(most - slack), u64::min);
        Terms { fuel, estimate, need, slack, memory: tool.memory.of(memory).min(self.config.memory.0) }
    }
}

/// In nanoseconds.
pub(super) fn max_wait(config: &AdmissionConfig) -> u64 {
    u64::try_from(config.max_wait.duration().as_nanos()).unwrap_or(u64::MAX)
}
