//! Fuel for guests that run: drawn ahead of burning, waited for when the account is dry, promised before the first unsafe request.

use tokio::sync::oneshot;

use super::flow::{CallKey, FlowId, Parked, Wants};
use super::gate::{Gate, MORSEL, Word};

/// Drawn at once if it is there, so that not every slice asks: about a millisecond of a guest.
const AHEAD: u64 = 1_000_000;

/// The answer to a guest that wants to burn more.
#[derive(Debug)]
pub(super) enum Fed {
    /// It may burn so much in all.
    Now(u64),
    /// It may when this answers. The number is for [`Gate::unpark`].
    Later(u64, oneshot::Receiver<u64>),
    /// Its call has ended.
    Gone,
}

impl Gate {
    /// Draws until a call may burn `total` in all, or parks it.
    pub fn draw(&mut self, call: CallKey, total: u64, now: u64, words: &mut Vec<Word>) -> Fed {
        let Some(running) = self.running.get(&call).filter(|running| !running.settled) else { return Fed::Gone };
        let total = total.min(running.terms.fuel);
        if running.committed {
            return Fed::Now(running.terms.fuel);
        }
        if total <= running.drawn {
            return Fed::Now(running.drawn);
        }
        let (id, wanted) = (running.flow, total - running.drawn);
        let ahead = AHEAD.min(running.terms.fuel - running.drawn);
        if self.flows[id].parked.is_empty() {
            let available = self.available(call, now);
            if available >= wanted {
                self.take(call, available.min(wanted.max(ahead)), now);
                return Fed::Now(self.running[&call].drawn);
            }
        }
        self.park(id, call, Wants::Drawn(total), now, words)
    }

    /// Promises a call the rest of what it may burn, or parks it until that can be done.
    pub fn commit(&mut self, call: CallKey, now: u64, words: &mut Vec<Word>) -> Fed {
        let Some(running) = self.running.get(&call).filter(|running| !running.settled) else { return Fed::Gone };
        let (id, fuel) = (running.flow, running.terms.fuel);
        if running.committed {
            return Fed::Now(fuel);
        }
        self.flows[id].account.refill(now);
        if self.promise(call) {
            // Guests of the same call that wait for fuel have it now, and whoever waits behind them may be next.
            self.refresh(id, now, words);
            self.schedule(now, words);
            return Fed::Now(fuel);
        }
        self.park(id, call, Wants::Promise, now, words)
    }

    /// A parked guest waits no longer: its call was ended.
    pub fn unpark(&mut self, call: CallKey, ticket: u64, now: u64, words: &mut Vec<Word>) {
        let Some(id) = self.running.get(&call).map(|running| running.flow) else { return };
        if let Some(index) = self.flows[id].parked.iter().position(|parked| parked.ticket == ticket) {
            self.remove_parked(id, index, now);
            self.refresh(id, now, words);
            self.schedule(now, words);
        }
    }

    /// Takes memory beyond what a call was admitted with, up to `total`; `false` if there is none.
    pub fn grow(&mut self, call: CallKey, total: u64) -> bool {
        let Some(running) = self.running.get_mut(&call).filter(|running| !running.settled) else { return false };
        let more = total.saturating_sub(running.memory);
        let fits = more <= self.memory_free;
        if fits {
            running.memory += more;
            self.memory_free -= more;
        }
        fits
    }

    /// Gives a principal's parked guests what there is, in order. Answers when there will be more, if any still wait.
    pub(super) fn feed(&mut self, id: FlowId, now: u64, words: &mut Vec<Word>) -> Option<u64> {
        self.flows[id].account.refill(now);
        self.feed_committed(id, now, words);
        let (mut index, mut promise_waits) = (0, false);
        while let Some(parked) = self.flows[id].parked.get(index) {
            let (call, wants) = (parked.call, parked.wants);
            match wants {
                Wants::Promise if promise_waits => index += 1,
                Wants::Promise if self.promise(call) => self.feed_committed(id, now, words),
                Wants::Promise => {
                    let running = &self.running[&call];
                    let more = (running.terms.fuel - running.drawn).saturating_sub(running.promised);
                    if let Some(until) = self.flows[id].account.until_promise(more) {
                        return Some(until);
                    }
                    // It waits for other calls to end, not for fuel, and so only other promises wait behind it.
                    promise_waits = true;
                    index += 1;
                }
                Wants::Drawn(total) => {
                    if let Some(until) = self.feed_morsel(call, total, now) {
                        return until;
                    }
                    let drawn = self.running[&call].drawn;
                    let parked = self.remove_parked(id, index, now);
                    words.push(Word::Feed(parked.sender, drawn));
                }
            }
        }
        None
    }

    /// Those whose calls were promised everything need not wait for the others.
    fn feed_committed(&mut self, id: FlowId, now: u64, words: &mut Vec<Word>) {
        let mut index = 0;
        while let Some(parked) = self.flows[id].parked.get(index) {
            match self.running.get(&parked.call) {
                Some(running) if running.committed => {
                    let fuel = running.terms.fuel;
                    let parked = self.remove_parked(id, index, now);
                    words.push(Word::Feed(parked.sender, fuel));
                }
                _ => index += 1,
            }
        }
    }

    /// Every guest of a call that ends waits no longer.
    pub(super) fn unpark_all(&mut self, call: CallKey, id: FlowId, now: u64) {
        while let Some(index) = self.flows[id].parked.iter().position(|parked| parked.call == call) {
            self.remove_parked(id, index, now);
        }
    }

    /// Draws what there is for a parked guest. `None`: it has all it wants; else when there is more, if that is known.
    fn feed_morsel(&mut self, call: CallKey, total: u64, now: u64) -> Option<Option<u64>> {
        loop {
            let running = &self.running[&call];
            let (id, tool) = (running.flow, running.tool);
            let missing = total.saturating_sub(running.drawn);
            if missing == 0 {
                return None;
            }
            let morsel = self.morsel(id, tool, running.terms.slack).min(missing);
            let available = self.available(call, now);
            if available < morsel {
                let own = self.flows[id].account.until(morsel, 0);
                let shared = self.shared_until(tool, morsel, now);
                return Some(own.zip(shared).map(|(own, shared)| own.max(shared)));
            }
            self.take(call, available.min(missing), now);
        }
    }

    /// The least that is worth waking a guest for: no more than any of its accounts ever holds beside the `slack` its call was promised.
    fn morsel(&self, id: FlowId, tool: usize, slack: u64) -> u64 {
        let own = &self.flows[id].account;
        let most = own.burst().saturating_add(own.debt()) - slack;
        let bursts = [Some(own), self.tools[tool].account.as_ref(), self.host.as_ref()];
        bursts.into_iter().flatten().map(|account| account.burst()).fold(MORSEL.min(most), u64::min)
    }

    /// What a call could draw now.
    fn available(&mut self, call: CallKey, now: u64) -> u64 {
        let running = &self.running[&call];
        let own = Some(&mut self.flows[running.flow].account);
        let accounts = [own, self.tools[running.tool].account.as_mut(), self.host.as_mut()];
        let available = accounts.into_iter().flatten().map(|account| {
            account.refill(now);
            account.available()
        });
        available.min().unwrap_or(0)
    }

    fn take(&mut self, call: CallKey, fuel: u64, now: u64) {
        let running = self.running.get_mut(&call).expect("it was looked at before");
        running.drawn += fuel;
        let (id, tool) = (running.flow, running.tool);
        self.flows[id].account.draw(fuel);
        self.draw_shared(id, tool, fuel, now);
    }

    /// Promises a call the rest of what it may burn, if its principal's floor allows it.
    fn promise(&mut self, call: CallKey) -> bool {
        let running = self.running.get_mut(&call).expect("it was looked at before");
        let rest = running.terms.fuel - running.drawn;
        // What it was promised at the start is part of it.
        let more = rest.saturating_sub(running.promised);
        let fits = self.flows[running.flow].account.promise(more);
        if fits {
            running.promised += more;
            running.committed = true;
            self.flows[running.flow].commits_or_ends(call, &running.terms);
        }
        fits
    }

    fn park(&mut self, id: FlowId, call: CallKey, wants: Wants, now: u64, words: &mut Vec<Word>) -> Fed {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.number();
        self.flows[id].parked.push_back(Parked { ticket, call, wants, since: now, sender });
        self.parked += 1;
        let tool = self.running[&call].tool;
        self.tools[tool].parked += 1;
        self.refresh(id, now, words);
        self.schedule(now, words);
        Fed::Later(ticket, receiver)
    }

    fn remove_parked(&mut self, id: FlowId, index: usize, now: u64) -> Parked {
        let flow = &mut self.flows[id];
        let parked = flow.parked.remove(index).expect("it was looked at before");
        let waited = now.saturating_sub(parked.since);
        flow.parked_ns += waited;
        self.parked -= 1;
        let tool = self.running[&parked.call].tool;
        self.tools[tool].was_parked(waited);
        parked
    }
}
