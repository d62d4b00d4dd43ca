//! The idempotency machine against a model of it, with crashes between any two steps.

mod waiting;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::calls::Verdict;
use super::super::listing::CallsQuery;
use super::super::reask::{Again, Reasking};
use super::super::resolve::Resolution;
use super::*;

/// What can happen next. Numbers choose among what there is at that moment.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A call comes with a key, arguments of one of two kinds, and one of two things to run it.
    Claim { key: u8, arguments: bool, executor: bool },
    /// A claimed call starts.
    Intend(u8),
    /// A claimed call has to wait.
    Wait(u8),
    /// A waiting call starts.
    Start(u8),
    /// A waiting call is let go of, and taken up again.
    LetGo(u8),
    /// A waiting call ends without having run.
    Dequeue(u8),
    /// A claimed call is given up.
    GiveUp(u8),
    /// A running call asks its caller something, and waits for the answer.
    Ask(u8),
    /// The caller of a call that waits, and maybe asks, answers.
    Answer(u8),
    /// A running call ends.
    End(u8, Disposition),
    /// The task of a running call is lost.
    Lose(u8),
    /// An operator says what became of the call of a key.
    Resolve(u8, Verdict),
    /// Time passes.
    Pass(u8),
    /// The sweep comes.
    Sweep,
    /// The host is killed and started again.
    Crash,
}

/// Where a key stands in the model.
#[derive(Clone, Debug, Default)]
struct Model {
    /// The call of this process that has it.
    held: Option<Held>,
    /// What a restart finds of earlier calls.
    stored: Option<Stored>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    call: CallId,
    arguments: bool,
    executor: bool,
    again: Option<Again>,
    waits: bool,
    /// Since when; not yet, if it is only claimed, or waits.
    running: Option<u64>,
}

#[derive(Clone, Debug)]
enum Stored {
    Done { first: CallId, arguments: bool, answer: StoredResponse, expires: u64 },
    Unknown { first: CallId, arguments: bool, executor: bool, started: u64, attempts: u32 },
}

impl Stored {
    fn first(&self) -> (CallId, bool) {
        match self {
            Self::Done { first, arguments, .. } | Self::Unknown { first, arguments, .. } => (*first, *arguments),
        }
    }
}

const KEYS: u8 = 4;

/// Keys below this belong to writes.
const WRITES: u8 = 2;

/// The key of writes whose backend honours keys, for so many hours.
const KEYED: u8 = 0;
const WINDOW: u64 = 24 * HOUR;

fn step() -> impl Strategy<Value = Step> {
    let disposition =
        prop_oneof![3 => Just(Disposition::Done), 1 => Just(Disposition::Released), 2 => Just(Disposition::Unknown)];
    // Half of everything happens to the key that can be asked for again.
    let key = prop_oneof![1 => Just(KEYED), 1 => 0..KEYS];
    let verdict = prop_oneof![Just(Verdict::Executed), Just(Verdict::NotExecuted)];
    prop_oneof![
        8 => (key.clone(), prop::bool::weighted(0.8), prop::bool::weighted(0.8))
            .prop_map(|(key, arguments, executor)| Step::Claim { key, arguments, executor }),
        4 => any::<u8>().prop_map(Step::Intend),
        4 => any::<u8>().prop_map(Step::Wait),
        3 => any::<u8>().prop_map(Step::Start),
        1 => any::<u8>().prop_map(Step::LetGo),
        1 => any::<u8>().prop_map(Step::Dequeue),
        1 => any::<u8>().prop_map(Step::GiveUp),
        5 => (any::<u8>(), disposition).prop_map(|(n, disposition)| Step::End(n, disposition)),
        2 => any::<u8>().prop_map(Step::Ask),
        2 => any::<u8>().prop_map(Step::Answer),
        1 => any::<u8>().prop_map(Step::Lose),
        2 => (key, verdict).prop_map(|(key, verdict)| Step::Resolve(key, verdict)),
        2 => (1_u8..30).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        1 => Just(Step::Crash),
    ]
}

/// The real ledger, the model, and what the callers hold.
struct Run {
    world: World,
    model: BTreeMap<u8, Model>,
    leases: BTreeMap<u8, (Call, Lease)>,
    waiting: BTreeMap<u8, (Call, QueuedCall)>,
    /// The calls that wait, in the order of their coming.
    queue: Vec<(CallId, u8)>,
    intents: BTreeMap<u8, Intent>,
    /// How many intents were recorded, and must have one outcome each in the end.
    started: u64,
    /// How many calls an operator settled, with one record each.
    resolved: u64,
}

fn keyed(key: u8, arguments: bool) -> Call {
    let effect = if key < WRITES { Effect::Write } else { Effect::Read };
    call(effect, &format!("key-{key}")).with(json!({ "amount": if arguments { 1 } else { 2 } }))
}

impl Run {
    fn new() -> Self {
        let (leases, waiting, intents) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let queue = Vec::new();
        Self { world: World::new(), model: BTreeMap::new(), leases, waiting, queue, intents, started: 0, resolved: 0 }
    }

    fn now(&self) -> u64 {
        self.world.now.load(Ordering::SeqCst)
    }

    fn model(&mut self, key: u8) -> &mut Model {
        self.model.entry(key).or_default()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Claim { key, arguments, executor } => self.claim(key, arguments, executor),
            Step::Intend(n) => {
                let Some((&key, _)) = pick(&self.leases, n) else { return };
                let (call, lease) = self.leases.remove(&key).expect("picked");
                self.begin(key, call, Origin::New(Some(lease))).await;
            }
            Step::Wait(n) => self.wait(n).await,
            Step::Start(n) => self.start(n).await,
            Step::LetGo(n) => self.let_go(n),
            Step::Dequeue(n) => self.dequeue(n).await,
            Step::Ask(n) => self.ask(n).await,
            Step::Answer(n) => self.answer(n).await,
            Step::GiveUp(n) => {
                let Some((&key, _)) = pick(&self.leases, n) else { return };
                self.leases.remove(&key);
                self.model(key).held = None;
            }
            Step::End(n, disposition) => {
                let Some((&key, _)) = pick(&self.intents, n) else { return };
                let intent = self.intents.remove(&key).expect("picked");
                let held = self.model(key).held.take().expect("an intent runs");
                let told = answer(&held.call.to_string());
                self.world.end(intent, disposition, &told).await.expect("recorded");
                self.settle(key, held, disposition, told);
            }
            Step::Lose(n) => {
                let Some((&key, _)) = pick(&self.intents, n) else { return };
                self.intents.remove(&key);
                self.world.settle().await;
                let held = self.model(key).held.take().expect("an intent runs");
                let disposition = if key < WRITES { Disposition::Unknown } else { Disposition::Released };
                self.settle(key, held, disposition, answer("lost"));
            }
            Step::Resolve(key, verdict) => self.resolve(key, verdict),
            Step::Pass(hours) => self.world.pass(u64::from(hours) * HOUR),
            Step::Sweep => drop(self.world.ledger.inner.forget_expired().expect("writable")),
            Step::Crash => self.crash(),
        }
    }

    fn claim(&mut self, key: u8, same: bool, executor: bool) {
        let now = self.now();
        let call = keyed(key, same);
        let digest = Digest([u8::from(executor); 32]);
        let reasking = (key == KEYED).then_some(Reasking { executor: digest, window: Duration::from_millis(WINDOW) });
        let got = self.world.ledger.claim(&ClaimRequest { reasking, ..call.request() }).expect("readable");
        let model = self.model(key);
        if matches!(model.stored, Some(Stored::Done { expires, .. }) if expires <= now) {
            model.stored = None;
        }
        if let Some(held) = &model.held {
            match got {
                Claim::InFlight { first, handle, .. } => {
                    assert_eq!((held.arguments, held.call), (same, first));
                    assert_eq!(held.waits || held.running.is_some(), handle);
                }
                Claim::Reused { first } => assert_eq!((!held.arguments, held.call), (same, first)),
                got => panic!("key {key}: {held:?} has it, and yet: {got:?}"),
            }
            return;
        }
        let again = match &model.stored {
            Some(Stored::Unknown { first, arguments, executor: before, started, attempts })
                if key == KEYED && *arguments == same && *before == executor && now < started + WINDOW =>
            {
                Some(Again { first: *first, attempt: attempts + 1 })
            }
            _ => None,
        };
        match (&model.stored, got) {
            (stored, Claim::Fresh(lease)) if stored.is_none() || again.is_some() => {
                assert_eq!(lease.again(), again);
                model.held = Some(Held { call: call.id, arguments: same, executor, again, waits: false, running: None });
                self.leases.insert(key, (call, lease));
            }
            (Some(stored), Claim::Reused { first }) => assert_eq!(stored.first(), (first, !same)),
            (Some(Stored::Done { first, arguments, answer, .. }), Claim::Replay(replay)) => {
                assert_eq!((*first, *arguments, answer), (replay.first, same, &replay.response));
            }
            (Some(Stored::Unknown { first, arguments, .. }), Claim::Unknown { first: told }) if again.is_none() => {
                assert_eq!((*first, *arguments), (told, same));
            }
            (stored, got) => panic!("key {key}: the model says {stored:?}, the ledger {got:?}"),
        }
    }

    async fn begin(&mut self, key: u8, call: Call, origin: Origin) {
        let now = self.now();
        let intent = self.world.ledger.record_intent(&call.facts(), origin).await;
        let model = self.model(key);
        let held = model.held.as_mut().expect("a lease holds the key");
        let stands = match (held.again, &mut model.stored) {
            (None, _) => true,
            (Some(again), Some(Stored::Unknown { first, attempts, .. })) if again.first == *first => {
                *attempts = again.attempt;
                true
            }
            // An operator was quicker.
            (Some(_), _) => false,
        };
        match intent {
            Ok(intent) if stands => {
                (held.waits, held.running) = (false, Some(now));
                self.intents.insert(key, intent);
                self.started += 1;
            }
            Err(LedgerError::Claimed { .. }) if !stands => model.held = None,
            other => panic!("key {key}: the model says {stands}, the ledger {other:?}"),
        }
    }

    /// What the end of a call leaves behind.
    fn settle(&mut self, key: u8, held: Held, disposition: Disposition, answer: StoredResponse) {
        let expires = self.now() + 24 * HOUR;
        let Held { call, arguments, executor, again, running, .. } = held;
        let first = again.map_or(call, |again| again.first);
        let model = self.model(key);
        match (disposition, again) {
            (Disposition::Done, _) => model.stored = Some(Stored::Done { first, arguments, answer, expires }),
            // Whatever the second try did not do: the first may have.
            (_, Some(_)) => {}
            (Disposition::Waiting, None) => unreachable!("what waits has not ended"),
            (Disposition::Released, None) => model.stored = None,
            (Disposition::Unknown, None) => {
                let started = running.expect("only what ran is unknown");
                model.stored = Some(Stored::Unknown { first, arguments, executor, started, attempts: 1 });
            }
        }
    }

    fn resolve(&mut self, key: u8, verdict: Verdict) {
        let expires = self.now() + 24 * HOUR;
        let model = self.model(key).clone();
        let running = model.held.filter(|held| held.running.is_some() || held.waits);
        let Some(call) = model.stored.as_ref().map(|stored| stored.first().0).or(running.map(|held| held.call)) else { return };
        let told = answer("an operator says so");
        let resolution =
            || Resolution { call, verdict, answer: told.clone(), by: "root (uid 0)".to_owned(), note: Some("seen".to_owned()) };
        let got = self.world.ledger.resolve(resolution());
        match (model.stored, running) {
            (Some(Stored::Unknown { arguments, .. }), None) => {
                got.expect("it is unknown, and nobody asks again");
                self.resolved += 1;
                self.model(key).stored = match verdict {
                    Verdict::Executed => Some(Stored::Done { first: call, arguments, answer: told.clone(), expires }),
                    Verdict::NotExecuted => None,
                };
                let twice = self.world.ledger.resolve(resolution()).expect_err("it is resolved");
                assert!(twice.to_string().contains("already"), "{twice}");
            }
            (stored, running) => {
                let refused = got.expect_err("there is nothing to settle");
                let is_told = matches!(refused, LedgerError::NotUnknown { .. } | LedgerError::Forgotten { .. });
                assert!(is_told, "{stored:?} {running:?}: {refused}");
            }
        }
    }

    fn crash(&mut self) {
        // The callers die with the host, without a word to the ledger.
        for (_, intent) in std::mem::take(&mut self.intents) {
            std::mem::forget(intent);
        }
        for (_, (_, lease)) in std::mem::take(&mut self.leases) {
            std::mem::forget(lease);
        }
        let (mut interrupted, mut unknown) = (0, 0);
        for key in 0..KEYS {
            let Some(held) = self.model(key).held.filter(|held| !held.waits) else { continue };
            self.model(key).held = None;
            if held.running.is_none() {
                continue;
            }
            let disposition = if key < WRITES { Disposition::Unknown } else { Disposition::Released };
            match disposition {
                Disposition::Unknown => unknown += 1,
                _ => interrupted += 1,
            }
            self.settle(key, held, disposition, answer("lost"));
        }
        let world = std::mem::replace(&mut self.world, World::new());
        self.world = world.crash();
        assert_eq!((self.world.recovery.interrupted, self.world.recovery.outcome_unknown), (interrupted, unknown));
        self.requeue();
    }

    /// The calls that an operator would be shown as unknown.
    fn listed(&self) -> Vec<CallId> {
        let query = CallsQuery { state: Some(CallStatus::Unknown), after: None, limit: 100 };
        let page = self.world.ledger.calls(&query).expect("readable");
        let mut calls: Vec<_> = page.calls.iter().map(|listed| listed.call).collect();
        calls.sort();
        calls
    }

    fn unknown(&self) -> Vec<CallId> {
        let unknown = |model: &Model| match model.stored {
            Some(Stored::Unknown { first, .. }) => Some(first),
            _ => None,
        };
        let mut calls: Vec<_> = self.model.values().filter_map(unknown).collect();
        calls.sort();
        calls
    }
}

fn pick<V>(map: &BTreeMap<u8, V>, n: u8) -> Option<(&u8, &V)> {
    map.iter().nth(usize::from(n) % map.len().max(1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_ledger_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut run = Run::new();
            for step in steps {
                run.take(step).await;
                // What is asked for again at this moment is unknown all the while.
                prop_assert_eq!(run.listed(), run.unknown());
            }
            // Whatever happened: after one more crash every intent has exactly one outcome.
            run.crash();
            let verification = run.world.verified();
            prop_assert_eq!(verification.open_calls, 0);
            prop_assert_eq!(verification.records, 2 * run.started + run.resolved);
            prop_assert_eq!(run.listed(), run.unknown());
            Ok(())
        })?;
    }
}
