//! How long a call would wait, whether it may, and what one that may not is told.

use std::time::Duration;

use super::Refused;
use super::calendar::Room;
use super::flow::{FlowId, Place};
use super::gate::{Gate, Terms};

/// The longest wait that is told.
const LONGEST: f64 = 86_400.0;

/// How far an estimate reaches at least.
const FORESIGHT: Duration = Duration::from_secs(5);

impl Gate {
    /// How long a call probably waits that comes after `own` fuel of its principal's: until the backlog ahead of it is drained, and
    /// until the accounts have earned what it needs.
    pub(super) fn wait(&self, id: FlowId, tool: usize, terms: &Terms, own: u64, now: u64) -> Duration {
        let (flow, tool) = (&self.flows[id], &self.tools[tool]);
        let is_new = flow.queue.waiting == 0;
        let (queueing, weights) = match is_new {
            true => (self.queueing + 1, self.weights + u64::from(flow.weight)),
            false => (self.queueing, self.weights),
        };
        let until_it_is_served = own.saturating_add(terms.estimate);
        // While it is served, everybody else is too, by weight; but nobody has more than there is.
        let fair = u128::from(until_it_is_served) * u128::from(weights) / u128::from(flow.weight.max(1));
        let ahead = fair.min(u128::from(self.backlog.saturating_add(terms.estimate)));
        let queue = ahead as f64 / self.drain.rate(queueing, now);
        let own = flow.account.seconds_until(own.saturating_add(terms.need), now);
        let tool = tool.account.as_ref().map_or(0.0, |account| account.seconds_until(tool.backlog + terms.need, now));
        let host = self.host.as_ref().map_or(0.0, |account| account.seconds_until(ahead as u64, now));
        Duration::from_secs_f64(queue.max(own).max(tool).max(host).min(LONGEST))
    }

    /// How much longer a waiting call probably waits; nothing once it does not wait.
    pub fn wait_of(&self, place: Place, now: u64) -> Duration {
        self.waiting.get(&place).map_or(Duration::ZERO, |waiting| {
            let own = self.flows[waiting.flow].queue.ahead(waiting.after);
            self.wait(waiting.flow, waiting.tool, &waiting.terms, own, now)
        })
    }

    /// Whether the queue takes no further call of this principal: like slots, its places are given by a dynamic threshold, so that
    /// nobody fills it alone.
    pub(super) fn is_full_for(&self, id: FlowId, terms: &Terms) -> bool {
        let queue = &self.flows[id].queue;
        let places = self.config.queue.saturating_sub(self.waiting.len());
        let fuel = self.queue_fuel.saturating_sub(self.backlog);
        let estimate = terms.estimate.min(self.queue_fuel);
        queue.waiting >= places || estimate > fuel || queue.backlog > fuel - estimate
    }

    /// Refuses a call, and says when one like it will probably be let in.
    pub(super) fn refuse(&mut self, id: FlowId, tool: usize, terms: &Terms, wait: Duration, now: u64) -> Refused {
        self.count_reject(id, tool);
        let too_long = wait.saturating_sub(self.config.max_wait.duration());
        let retry_after = self.appointment(terms, now).max(too_long);
        self.note_idle(id, now);
        Refused::Overloaded { retry_after }
    }

    /// When a call like this one may come (back).
    pub(super) fn appointment(&mut self, terms: &Terms, now: u64) -> Duration {
        // Half the backlog: when they come, the queue is neither full nor idle.
        let earliest = (self.backlog / 2).saturating_add(terms.estimate) as f64 / self.drain.rate(self.queueing, now);
        let room = Room {
            per_second: self.drain.calls(self.queueing, now),
            queue: self.config.queue,
            earliest: Duration::from_secs_f64(earliest.min(LONGEST)),
        };
        self.calendar.book(room, now)
    }

    /// How long the whole backlog takes.
    pub fn backlog_wait(&self, now: u64) -> Duration {
        Duration::from_secs_f64((self.backlog as f64 / self.drain.rate(self.queueing, now)).min(LONGEST))
    }

    /// How far an estimate reaches: twice as long as somebody has waited already who still does, 5 s at least. While a crowd comes in
    /// little drains, and an estimate made then is many times too long.
    pub fn foresight(&self, now: u64) -> Duration {
        let longest = self.waiting.first_key_value().map_or(0, |(_, waiting)| now.saturating_sub(waiting.entered));
        Duration::from_nanos(longest.saturating_mul(2)).max(FORESIGHT)
    }

    /// Counts a refused call.
    pub(super) fn count_reject(&mut self, id: FlowId, tool: usize) {
        self.flows[id].rejects += 1;
        self.tools[tool].rejects();
        self.rejects += 1;
    }
}
