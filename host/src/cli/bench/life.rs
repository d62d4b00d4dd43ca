//! The life of one call: its first answer, what it waits for, which effect it had, how it ends.

use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Answer, Says};

/// One call, retries and polls included.
#[derive(Debug)]
pub struct Life {
    /// Which tool, by its place in the plan.
    pub tool: usize,
    /// From when on it is measured.
    pub began: Instant,
    /// Whether it has a key.
    pub is_keyed: bool,
    /// How long its first answer took.
    pub first: Option<Duration>,
    /// Whether it was ever pending.
    pub was_pending: bool,
    /// How often it was told to come again later.
    pub waits: u32,
    /// Whether two calls took effect, or may have, where there should be one.
    pub is_doubled: bool,
    /// Whether its last answer is that of an earlier attempt.
    pub is_replayed: bool,
    /// How it ended, and after how long.
    pub end: Option<(End, Duration)>,
    standing: Standing,
    /// The standing before it was last sent.
    before: Standing,
    effect: Option<String>,
}

/// How a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It succeeded.
    Done,
    /// It failed.
    Failed {
        /// Why.
        code: String,
        /// Whether it may have changed something all the same.
        may_have_changed: bool,
    },
    /// It was told to come again later, and there was no time left for that.
    Refused,
    /// It was sent and never answered, or accepted and never ended.
    Lost(&'static str),
}

/// What a call is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has never left.
    Unsent,
    /// An answer.
    Sent,
    /// What became of it.
    Pending,
    /// Nothing.
    Refused,
}

impl Life {
    /// A call that begins.
    pub fn new(tool: usize, is_keyed: bool, began: Instant) -> Self {
        Self {
            tool,
            began,
            is_keyed,
            first: None,
            was_pending: false,
            waits: 0,
            is_doubled: false,
            is_replayed: false,
            end: None,
            standing: Standing::Unsent,
            before: Standing::Unsent,
            effect: None,
        }
    }

    /// The call itself is about to leave, for the first time or again.
    pub fn sends(&mut self) {
        (self.before, self.standing) = (self.standing, Standing::Sent);
        // Without a key every attempt is a call of its own.
        if !self.is_keyed {
            self.effect = None;
        }
    }

    /// It has not left after all: there was no connection.
    pub fn stays(&mut self) {
        self.standing = self.before;
    }

    /// Takes note of an answer.
    ///
    /// INVARIANT: one key has one effect. Whatever the answers to it name as the call that took effect is the same call.
    pub fn hears(&mut self, answer: &Answer) {
        self.first.get_or_insert_with(|| self.began.elapsed());
        match (&self.effect, &answer.effect) {
            (Some(known), Some(told)) if known != told => self.is_doubled = true,
            (None, Some(told)) => self.effect = Some(told.clone()),
            _ => {}
        }
        // A repetition should be; the call itself was not.
        if self.end.is_none() {
            self.is_replayed = answer.is_replayed;
        }
        self.standing = match &answer.says {
            Says::Pending { .. } => {
                self.was_pending = true;
                Standing::Pending
            }
            // A poll that has to come again later says nothing about the call.
            Says::Later { .. } if self.standing == Standing::Pending && !answer.is_polled => Standing::Pending,
            Says::Later { .. } => {
                // Nothing came of it, so the next attempt may be another call; a call that has ended stays the one it was.
                if self.end.is_none() {
                    self.waits += 1;
                    self.effect = None;
                }
                Standing::Refused
            }
            _ => Standing::Refused,
        };
    }

    /// Its end, if it has to end now without any.
    pub fn abandoned(&self, why: &'static str) -> End {
        match self.standing {
            Standing::Unsent => End::Failed { code: "unreachable".to_owned(), may_have_changed: false },
            Standing::Sent => End::Lost(why),
            Standing::Pending => End::Lost("unresolved"),
            Standing::Refused => End::Refused,
        }
    }

    /// Takes note of its end, once.
    pub fn ends(&mut self, end: End) {
        let took = self.began.elapsed();
        self.end.get_or_insert((end, took));
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Poll;
    use super::*;

    fn says(says: Says, effect: Option<&str>) -> Answer {
        Answer { says, effect: effect.map(str::to_owned), is_replayed: false, is_polled: false }
    }

    fn pending(call: &str) -> Answer {
        let poll = Poll::Tool { tool: "get_call_result".into(), call: call.into() };
        says(Says::Pending { poll, after: Duration::ZERO }, Some(call))
    }

    fn later() -> Answer {
        says(Says::Later { code: "overloaded".into(), after: Duration::ZERO }, None)
    }

    fn life(is_keyed: bool) -> Life {
        let mut life = Life::new(0, is_keyed, Instant::now());
        life.sends();
        life
    }

    #[test]
    fn one_key_with_two_calls_is_doubled() {
        let mut honest = life(true);
        for answer in [later(), pending("call_1"), pending("call_1"), says(Says::Done, Some("call_1"))] {
            honest.sends();
            honest.hears(&answer);
        }
        assert!(!honest.is_doubled && honest.was_pending && honest.waits == 1, "{honest:?}");
        let mut twice = life(true);
        twice.hears(&pending("call_1"));
        twice.hears(&says(Says::Done, Some("call_2")));
        assert!(twice.is_doubled);
        // Without a key a second attempt is another call.
        let mut reads = life(false);
        reads.hears(&says(Says::Done, Some("call_1")));
        reads.sends();
        reads.hears(&says(Says::Done, Some("call_2")));
        assert!(!reads.is_doubled);
    }

    #[test]
    fn an_accepted_call_that_was_turned_away_after_all_may_run_as_another() {
        let mut turned_away = life(true);
        turned_away.hears(&pending("call_1"));
        turned_away.hears(&Answer { is_polled: true, ..later() });
        turned_away.sends();
        turned_away.hears(&says(Says::Done, Some("call_2")));
        assert!(!turned_away.is_doubled && turned_away.waits == 1, "{turned_away:?}");
    }

    #[test]
    fn a_repetition_that_is_turned_away_leaves_the_effect_of_the_call_that_ended() {
        let mut repeated = life(true);
        repeated.hears(&says(Says::Done, Some("call_1")));
        repeated.ends(End::Done);
        repeated.sends();
        repeated.hears(&later());
        assert_eq!(repeated.waits, 0, "the call itself never waited");
        repeated.sends();
        repeated.hears(&says(Says::Done, Some("call_2")));
        assert!(repeated.is_doubled, "{repeated:?}");
    }

    #[test]
    fn what_a_call_is_owed_decides_how_it_ends_unended() {
        let unreachable = End::Failed { code: "unreachable".into(), may_have_changed: false };
        let mut stays = life(true);
        stays.stays();
        assert_eq!(stays.abandoned("unanswered"), unreachable);
        assert_eq!(life(true).abandoned("unanswered"), End::Lost("unanswered"));
        let mut broken = life(true);
        broken.sends();
        broken.stays();
        assert_eq!(broken.abandoned("unanswered"), End::Lost("unanswered"), "an earlier attempt may have arrived");
        let mut waits = life(true);
        waits.hears(&later());
        assert_eq!(waits.abandoned("unanswered"), End::Refused);
        waits.sends();
        assert_eq!(waits.abandoned("unanswered"), End::Lost("unanswered"), "a retry under way is owed an answer");
        waits.hears(&pending("call_1"));
        // The poll is turned away, the call is not.
        waits.hears(&later());
        assert_eq!((waits.abandoned("unanswered"), waits.waits), (End::Lost("unresolved"), 1));
    }
}
