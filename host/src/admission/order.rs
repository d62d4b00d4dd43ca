//! The fair order of those who are ready to start: start-time fair queueing across principals, slots by a dynamic threshold.

use std::collections::{BTreeMap, BTreeSet};

use super::flow::{FlowId, Place};

/// A point in virtual time: fuel had, times [`SCALE`], divided by the weight.
pub(super) type Tag = u128;
/// A principal's next call in the fair order: its start tag, then its place in the order of arrival, then whose it is.
pub(super) type Turn = (Tag, Place, FlowId);

/// So that dividing by a weight loses nothing that matters.
const SCALE: u128 = 1 << 20;

/// Principals whose next call could start, by how many slots they hold and then by their turn.
///
/// Each principal appears once, with the first of its queue: an operation costs the logarithm of how many there are, times the
/// number of different holdings, which is less than the root of twice the slots.
#[derive(Debug, Default)]
pub(super) struct Order {
    by_held: BTreeMap<usize, BTreeSet<Turn>>,
    /// Virtual time: what a principal of weight 1 has had that always wanted more. Whoever is new starts from here.
    now: Tag,
    /// The latest finish tag that was ever given.
    latest: Tag,
}

impl Order {
    /// Adds a principal that holds `held` slots.
    pub fn add(&mut self, held: usize, turn: Turn) {
        self.by_held.entry(held).or_default().insert(turn);
    }

    /// Takes it away again.
    pub fn remove(&mut self, held: usize, turn: Turn) {
        if let Some(turns) = self.by_held.get_mut(&held) {
            turns.remove(&turn);
            if turns.is_empty() {
                self.by_held.remove(&held);
            }
        }
    }

    /// Whose turn it is while `free` slots are free: a principal takes one more only while it holds fewer than are free, so one that
    /// takes all it can leaves as many for others, and whoever is new starts at once.
    pub fn first(&self, free: usize) -> Option<Turn> {
        self.by_held.range(..free).filter_map(|(_, turns)| turns.first().copied()).min()
    }

    /// The start tag of a call whose principal's calls have tags up to `finish`.
    pub fn tag(&self, finish: Tag) -> Tag {
        self.now.max(finish)
    }

    /// A call started at `tag` that is expected to burn `fuel`, while principals of `others` weight in all wait: virtual time moves on,
    /// for an endless row of newcomers, who all start from now, must not hold up those who were here before. Answers its finish tag.
    pub fn start(&mut self, tag: Tag, fuel: u64, weight: u32, others: u64) -> Tag {
        self.now = self.now.max(tag) + u128::from(fuel) * SCALE / (u128::from(weight) + u128::from(others));
        let finish = tag + share(fuel, weight);
        self.latest = self.latest.max(finish);
        finish
    }

    /// Nobody runs and nobody waits: who had how much before no longer matters.
    pub fn rest(&mut self) {
        self.now = self.latest;
    }
}

/// The virtual time that `fuel` takes a principal of this weight.
pub(super) fn share(fuel: u64, weight: u32) -> Tag {
    u128::from(fuel) * SCALE / u128::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_had_less_for_its_weight_goes_first() {
        let mut order = Order::default();
        let (mut heavy, mut light) = (order.start(0, 300, 3, 4), order.start(0, 300, 1, 4));
        assert!(heavy < light);
        let mut started = [0, 0];
        for place in 0..400 {
            order.add(0, (heavy, place, 0));
            order.add(0, (light, place, 1));
            let (tag, _, flow) = order.first(1).expect("both are ready");
            order.remove(0, (heavy, place, 0));
            order.remove(0, (light, place, 1));
            started[flow] += 1;
            let finish = order.start(tag, 300, if flow == 0 { 3 } else { 1 }, 4);
            *(if flow == 0 { &mut heavy } else { &mut light }) = finish;
        }
        assert_eq!(started, [300, 100]);
    }

    #[test]
    fn whoever_holds_as_many_slots_as_are_free_waits_for_those_who_hold_fewer() {
        let mut order = Order::default();
        order.add(4, (1, 1, 7));
        assert_eq!(order.first(4), None);
        assert_eq!(order.first(5), Some((1, 1, 7)));
        order.add(0, (9, 9, 8));
        assert_eq!(order.first(4), Some((9, 9, 8)));
        assert_eq!(order.first(5), Some((1, 1, 7)));
    }
}
