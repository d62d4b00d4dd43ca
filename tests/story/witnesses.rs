//! Callers who go on calling whatever the operator does, each with a token of its own, and what they can witness of it.

use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::json;

use super::{NAME, SCOPES};
use crate::harness::{Calls, Client, Provider, Started, while_calling};

/// How many they are.
const CALLERS: usize = 16;

/// How far the operator has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The first version is in force.
    First,
    /// The second takes its place.
    Swap,
    /// The second version is in force.
    Second,
    /// The first takes its place again.
    Return,
    /// The first version is in force.
    FirstAgain,
}

/// Callers of a host.
pub struct Witnesses {
    clients: Vec<Client>,
}

/// The moment, as callers see it.
pub struct Clock(AtomicU8);

/// A call that was answered.
#[derive(Debug)]
struct Answered {
    /// How it was greeted.
    greeting: String,
    /// The moment before it was sent.
    sent: Moment,
    /// The moment after it was answered.
    heard: Moment,
}

/// What each of them was told.
pub struct Told(Vec<Vec<Answered>>);

impl Witnesses {
    /// Callers of this host, who hold what both versions ask for.
    pub fn of(host: &Started, provider: &Provider) -> Self {
        let token = |caller: usize| provider.user_token(&format!("u{caller}"), &SCOPES, &host.mcp);
        Self { clients: (0..CALLERS).map(|caller| host.client().with_token(&token(caller))).collect() }
    }

    /// Has them call without a pause while `beside` goes on.
    pub fn watch(&self, beside: impl FnOnce(&Calls, &Clock)) -> Told {
        let clock = Clock(AtomicU8::new(Moment::First as u8));
        let call = |caller: usize| {
            let sent = clock.now();
            let answer =
                self.clients[caller].try_call(json!({ "name": NAME, "arguments": { "name": format!("caller {caller}") } }));
            let answer = answer.expect("the host lives");
            let greeting = answer.structured()["greeting"].as_str().expect("a text").to_owned();
            Answered { greeting, sent, heard: clock.now() }
        };
        Told(while_calling(CALLERS, call, |calls| beside(calls, &clock)))
    }
}

impl Clock {
    /// Does something that begins a moment, and is over with another one.
    pub fn pass(&self, during: Moment, after: Moment, act: impl FnOnce()) {
        self.0.store(during as u8, Ordering::SeqCst);
        act();
        self.0.store(after as u8, Ordering::SeqCst);
    }

    fn now(&self) -> Moment {
        const ALL: [Moment; 5] = [Moment::First, Moment::Swap, Moment::Second, Moment::Return, Moment::FirstAgain];
        ALL[usize::from(self.0.load(Ordering::SeqCst))]
    }
}

impl Told {
    /// Every answer is that of one version, of one that was in force during the call, and each caller saw the second come and go at
    /// most once. Answers how many each version has given, which greet with these words.
    pub fn check(&self, words: [&str; 2]) -> [usize; 2] {
        let mut given = [0; 2];
        for (caller, answers) in self.0.iter().enumerate() {
            let mut versions: Vec<usize> = Vec::new();
            for answered in answers {
                let version = words.iter().position(|word| answered.greeting == format!("{word}, caller {caller}!"));
                let version = version.unwrap_or_else(|| panic!("caller {caller} was told something else: {answered:?}"));
                let could_be = match version {
                    0 => answered.sent <= Moment::Swap || answered.heard >= Moment::Return,
                    _ => answered.heard >= Moment::Swap && answered.sent <= Moment::Return,
                };
                assert!(could_be, "that version was not in force: {answered:?}");
                given[version] += 1;
                versions.push(version);
            }
            versions.dedup();
            assert!([&[0][..], &[0, 1], &[0, 1, 0]].contains(&&versions[..]), "caller {caller} saw {versions:?}");
        }
        given
    }
}
