//! Who starts next: fair, and only when slot, memory and fuel are there. And what comes back when a call ends.

use super::flow::{CallKey, FlowId, Standing};
use super::fuel::Account;
use super::gate::{AT_ONCE, Gate, Running, Terms, Timer, Word};
use super::order::{self, Tag, Turn};
use super::ticket::Start;

impl Gate {
    /// Whether a call that just came may start before anybody who waits: nobody who waits could take its slot.
    pub(super) fn starts_at_once(&mut self, id: FlowId, tool: usize, terms: &Terms, now: u64) -> bool {
        let flow = &self.flows[id];
        flow.queue.waiting == 0
            && flow.parked.is_empty()
            && flow.running < self.free
            && self.order.first(self.free).is_none()
            && flow.until(terms) == Some(0)
            && self.tools[tool].blocked.is_empty()
            && self.has_memory(terms)
            && self.shared_until(tool, terms.need, now) == Some(0)
    }

    /// Finds out anew what a principal's next call waits for, after anything about the principal has changed.
    pub(super) fn refresh(&mut self, id: FlowId, now: u64, words: &mut Vec<Word>) {
        self.stand_down(id);
        let wake = self.feed(id, now, words);
        let Self { flows, waiting, order, timers, .. } = self;
        let flow = &mut flows[id];
        flow.account.refill(now);
        let head = flow.queue.head(|place| waiting.contains_key(&place));
        let dry = match (flow.parked.is_empty(), head) {
            // Who runs goes before who waits: new calls would eat what the parked ones wait for.
            (false, _) => wake,
            (true, None) => return self.note_idle(id, now),
            (true, Some(place)) => {
                let terms = &waiting[&place].terms;
                match flow.until(terms) {
                    Some(0) => {
                        let tag = *flow.tag.get_or_insert_with(|| order.tag(flow.finish));
                        let turn = (tag, place, id);
                        flow.standing = Standing::Ready(turn);
                        return order.add(flow.running, turn);
                    }
                    until => until,
                }
            }
        };
        let at = dry.map_or(u64::MAX, |until| now.saturating_add(until));
        flow.standing = Standing::Dry(at);
        // Without a time it is looked at again when one of its own calls gives something back.
        if at < u64::MAX {
            timers.insert((at, Timer::Flow(id)));
        }
    }

    /// Starts everybody who can, in fair order; if there are many to look at, the rest right after.
    pub(super) fn schedule(&mut self, now: u64, words: &mut Vec<Word>) {
        for _ in 0..AT_ONCE {
            let Some(turn) = self.order.first(self.free) else { return };
            let (tag, place, id) = turn;
            let (tool, terms) = (self.waiting[&place].tool, self.waiting[&place].terms);
            // While it waited for a slot, calls of its own principal may have drawn what it needs.
            if self.flows[id].until(&terms) != Some(0) {
                self.refresh(id, now, words);
                continue;
            }
            // Whoever needs more memory than there is waits for it with all behind it: small ones would keep it waiting for ever.
            if !self.has_memory(&terms) {
                return;
            }
            let host = self.host.as_mut().map_or(Some(0), |host| until(host, terms.need, now));
            if host != Some(0) {
                return self.wake_host(now.saturating_add(host.unwrap_or(u64::MAX)));
            }
            // Nobody overtakes those who wait for the tool's account, not even when it has been refilled and nobody told them yet.
            let is_behind = self.tools[tool].blocked.first().is_some_and(|first| *first < turn);
            if is_behind || self.tools[tool].account.as_mut().is_some_and(|account| until(account, terms.need, now) != Some(0)) {
                self.block(tool, turn, now);
                continue;
            }
            let waiting = self.waiting.remove(&place).expect("whose turn it is waits");
            self.left(&waiting, now);
            let start = self.start(id, tool, terms, tag, waiting.entered, now);
            words.push(Word::Start(waiting.sender, start));
            self.refresh(id, now, words);
        }
        self.wake_host(now);
    }

    /// Gives a call its slot, its first fuel and its memory.
    pub(super) fn start(&mut self, id: FlowId, tool: usize, terms: Terms, tag: Tag, entered: u64, now: u64) -> Start {
        let call = self.number();
        self.stand_down(id);
        let flow = &mut self.flows[id];
        flow.account.draw(terms.need);
        let promised = flow.account.promise(terms.slack);
        debug_assert!(promised, "it was looked at before that the floor allows it");
        flow.tag = None;
        flow.finish = self.order.start(tag, terms.estimate, flow.weight, self.weights);
        flow.running += 1;
        flow.starts(call, &terms);
        self.draw_shared(id, tool, terms.need, now);
        self.tools[tool].starts();
        self.free -= 1;
        let memory = terms.memory.min(self.memory_free);
        self.memory_free -= memory;
        self.drain.started(terms.estimate, now);
        let running = Running {
            flow: id,
            tool,
            terms,
            drawn: terms.need,
            promised: terms.slack,
            committed: false,
            settled: false,
            memory,
            since: now,
        };
        self.running.insert(call, running);
        Start { call, fuel: terms.fuel, drawn: terms.need, share: id as u64, queued: now - entered }
    }

    /// A call's guest is gone, or never was. `took`: the fuel it burned and its peak memory. Charges it, gives back what it did not need,
    /// and answers what was charged. The slot stays with the call.
    pub(super) fn settle(&mut self, call: CallKey, took: Option<(u64, u64)>, now: u64, words: &mut Vec<Word>) -> u64 {
        let Some(id) = self.running.get(&call).filter(|running| !running.settled).map(|running| running.flow) else { return 0 };
        self.unpark_all(call, id, now);
        let running = self.running.get_mut(&call).expect("it was there just above");
        running.settled = true;
        let Running { tool, terms, drawn, promised, memory, .. } = *running;
        let flow = &mut self.flows[id];
        flow.account.refill(now);
        flow.commits_or_ends(call, &terms);
        let charged = flow.account.settle(drawn, promised, took.map_or(0, |(burned, _)| burned));
        // What it really had counts, not what it was expected to have.
        let (expected, had) = (order::share(terms.estimate, flow.weight), order::share(charged, flow.weight));
        flow.finish = flow.finish.saturating_add(had).saturating_sub(expected);
        for account in [self.tools[tool].account.as_mut(), self.host.as_mut()].into_iter().flatten() {
            account.refill(now);
            account.settle(drawn, 0, charged);
        }
        self.count_burned(id, tool, charged as f64 - drawn as f64, now);
        self.tools[tool].charged(charged);
        if let Some((burned, peak)) = took {
            self.tools[tool].fuel.note(burned);
            self.tools[tool].memory.note(peak);
        }
        self.memory_free += memory;
        self.refresh(id, now, words);
        self.unblock(tool, now);
        self.schedule(now, words);
        charged
    }

    /// A call gives its slot back.
    pub(super) fn release(&mut self, call: CallKey, now: u64, words: &mut Vec<Word>) {
        self.settle(call, None, now, words);
        let Some(running) = self.running.remove(&call) else { return };
        self.stand_down(running.flow);
        self.flows[running.flow].running -= 1;
        self.tools[running.tool].ends();
        self.drain.ended(now.saturating_sub(running.since));
        self.free += 1;
        self.refresh(running.flow, now, words);
        self.schedule(now, words);
    }

    /// Takes a principal out of wherever its next call stands.
    pub(super) fn stand_down(&mut self, id: FlowId) {
        let flow = &mut self.flows[id];
        match std::mem::replace(&mut flow.standing, Standing::Idle) {
            Standing::Idle => {}
            Standing::Ready(turn) => self.order.remove(flow.running, turn),
            Standing::Dry(at) => drop(self.timers.remove(&(at, Timer::Flow(id)))),
            Standing::AtTool(tool, turn) => drop(self.tools[tool].blocked.remove(&turn)),
        }
    }

    /// Lets those on whom a tool's account held back, as many as it has fuel for.
    pub(super) fn unblock(&mut self, tool: usize, now: u64) {
        let Some(account) = &mut self.tools[tool].account else { return };
        account.refill(now);
        let (available, burst) = (account.available(), account.burst());
        let mut left = available;
        while let Some(&turn) = self.tools[tool].blocked.first() {
            let (_, place, id) = turn;
            let need = self.waiting[&place].terms.need;
            if need > left {
                // Those who go on have yet to draw what they need.
                let all = (available - left + need).min(burst);
                return self.wake_tool(tool, all, now);
            }
            left -= need;
            self.stand_down(id);
            self.flows[id].standing = Standing::Ready(turn);
            self.order.add(self.flows[id].running, turn);
        }
    }

    /// Draws from the accounts that calls of several principals share.
    pub(super) fn draw_shared(&mut self, id: FlowId, tool: usize, fuel: u64, now: u64) {
        for account in [self.tools[tool].account.as_mut(), self.host.as_mut()].into_iter().flatten() {
            account.draw(fuel);
        }
        self.count_burned(id, tool, fuel as f64, now);
    }

    /// Nanoseconds until those accounts have `fuel`.
    pub(super) fn shared_until(&mut self, tool: usize, fuel: u64, now: u64) -> Option<u64> {
        let shared = [self.tools[tool].account.as_mut(), self.host.as_mut()].into_iter().flatten();
        shared.map(|account| until(account, fuel, now)).try_fold(0, |latest, until| Some(latest.max(until?)))
    }

    fn block(&mut self, tool: usize, turn: Turn, now: u64) {
        let (_, _, id) = turn;
        self.stand_down(id);
        self.flows[id].standing = Standing::AtTool(tool, turn);
        self.tools[tool].blocked.insert(turn);
        let need = self.tools[tool].blocked.first().map_or(0, |(_, place, _)| self.waiting[place].terms.need);
        self.wake_tool(tool, need, now);
    }

    /// Looks at the host's account again at `at`.
    fn wake_host(&mut self, at: u64) {
        if let Some(before) = self.host_wake.replace(at) {
            self.timers.remove(&(before, Timer::Host));
        }
        self.timers.insert((at, Timer::Host));
    }

    /// Looks at those who wait for a tool's account again when it has `fuel`.
    fn wake_tool(&mut self, tool: usize, fuel: u64, now: u64) {
        let state = &mut self.tools[tool];
        if let Some(at) = state.wake.take() {
            self.timers.remove(&(at, Timer::Tool(tool)));
        }
        let Some(account) = &mut state.account else { return };
        if let Some(until) = until(account, fuel, now) {
            // Not in this very moment: whoever was let on has to draw first.
            let at = now.saturating_add(until.max(1));
            state.wake = Some(at);
            self.timers.insert((at, Timer::Tool(tool)));
        }
    }

    fn has_memory(&self, terms: &Terms) -> bool {
        terms.memory <= self.memory_free || self.running.is_empty()
    }

    fn count_burned(&mut self, id: FlowId, tool: usize, fuel: f64, now: u64) {
        self.flows[id].burning.add(fuel, now);
        self.tools[tool].burning.add(fuel, now);
        self.burning.add(fuel, now);
    }
}

fn until(account: &mut Account, fuel: u64, now: u64) -> Option<u64> {
    account.refill(now);
    account.until(fuel, 0)
}
