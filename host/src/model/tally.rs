//! How many rows the policies allowed and denied, and which policies did.

use std::collections::BTreeSet;

use super::{Decision, Verdict};

/// Decisions about rows, counted. What is kept of their reasons is bounded: a call may deliver thousands of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowTally {
    /// Rows that were allowed.
    pub allowed: u64,
    /// Rows that were not.
    pub denied: u64,
    /// The policies that decided, up to [`RowTally::REASONS`].
    pub policies: BTreeSet<String>,
    /// The errors that denied, up to [`RowTally::REASONS`].
    pub errors: BTreeSet<String>,
    /// Rows that policies on trial would have decided otherwise.
    pub would_differ: u64,
    /// Those policies, up to [`RowTally::REASONS`].
    pub trials: BTreeSet<String>,
}

impl RowTally {
    /// The most policies, and the most errors, that are kept.
    pub const REASONS: usize = 16;

    /// Counts one decision; answers whether it was to allow.
    pub fn note(&mut self, verdict: &Verdict) -> bool {
        let allowed = verdict.decision == Decision::Allow;
        *(if allowed { &mut self.allowed } else { &mut self.denied }) += 1;
        keep(&mut self.policies, &verdict.policies);
        keep(&mut self.errors, &verdict.errors);
        if let Some(shadow) = &verdict.shadow {
            self.would_differ += 1;
            keep(&mut self.trials, &shadow.policies);
        }
        allowed
    }

    /// Counts what `other` counted, too.
    pub fn add(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        keep(&mut self.policies, &other.policies);
        keep(&mut self.errors, &other.errors);
        self.would_differ += other.would_differ;
        keep(&mut self.trials, &other.trials);
    }

    /// Whether nothing was decided.
    pub fn is_empty(&self) -> bool {
        self.allowed == 0 && self.denied == 0
    }
}

fn keep<'a>(kept: &mut BTreeSet<String>, reasons: impl IntoIterator<Item = &'a String>) {
    for reason in reasons {
        if kept.len() >= RowTally::REASONS {
            return;
        }
        if !kept.contains(reason) {
            kept.insert(reason.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_counted_and_their_reasons_bounded() {
        let mut tally = RowTally::default();
        for number in 0..100 {
            let decision = if number % 4 == 0 { Decision::Allow } else { Decision::Deny };
            let verdict = Verdict { decision, policies: vec![format!("p{number}")], ..Verdict::denied() };
            assert_eq!(tally.note(&verdict), decision == Decision::Allow);
        }
        assert_eq!((tally.allowed, tally.denied, tally.policies.len()), (25, 75, RowTally::REASONS));
        let mut both = tally.clone();
        both.add(&tally);
        assert_eq!((both.allowed, both.denied, both.policies), (50, 150, tally.policies));
    }
}
