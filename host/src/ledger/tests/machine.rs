//! The idempotency machine against a model of it, with crashes between any two steps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What can happen next. Numbers choose among what there is at that moment.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A call comes with a key, and arguments of one of two kinds.
    Claim { key: u8, arguments: bool },
    /// A claimed call starts.
    Intend(u8),
    /// A claimed call is given up.
    GiveUp(u8),
    /// A running call ends.
    End(u8, Disposition),
    /// The task of a running call is lost.
    Lose(u8),
    /// Time passes.
    Pass(u8),
    /// The sweep comes.
    Sweep,
    /// The host is killed and started again.
    Crash,
}

/// Where a key stands in the model.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Claimed { call: CallId, arguments: bool },
    Running { call: CallId, arguments: bool },
    Done { call: CallId, arguments: bool, expires: u64 },
    Unknown { call: CallId, arguments: bool },
}

const KEYS: u8 = 4;

/// Keys below this belong to writes.
const WRITES: u8 = 2;

fn step() -> impl Strategy<Value = Step> {
    let disposition =
        prop_oneof![3 => Just(Disposition::Done), 1 => Just(Disposition::Released), 1 => Just(Disposition::Unknown)];
    prop_oneof![
        8 => (0..KEYS, prop::bool::weighted(0.8)).prop_map(|(key, arguments)| Step::Claim { key, arguments }),
        6 => any::<u8>().prop_map(Step::Intend),
        1 => any::<u8>().prop_map(Step::GiveUp),
        5 => (any::<u8>(), disposition).prop_map(|(n, disposition)| Step::End(n, disposition)),
        1 => any::<u8>().prop_map(Step::Lose),
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
    intents: BTreeMap<u8, Intent>,
    /// How many intents were recorded, and must have one outcome each in the end.
    started: u64,
}

fn keyed(key: u8, arguments: bool) -> Call {
    let effect = if key < WRITES { Effect::Write } else { Effect::Read };
    call(effect, &format!("key-{key}")).with(json!({ "amount": if arguments { 1 } else { 2 } }))
}

impl Run {
    fn new() -> Self {
        // Outcomes of reads wait for an urgent commit, for as long as it takes: so a crash loses them predictably.
        let world = World::with(StoreConfig { linger: Span::seconds(3600), min_free: Bytes(0), ..StoreConfig::default() });
        Self { world, model: BTreeMap::new(), leases: BTreeMap::new(), intents: BTreeMap::new(), started: 0 }
    }

    fn now(&self) -> u64 {
        self.world.now.load(Ordering::SeqCst)
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Claim { key, arguments } => self.claim(key, arguments),
            Step::Intend(n) => {
                let Some((&key, _)) = pick(&self.leases, n) else { return };
                let (call, lease) = self.leases.remove(&key).expect("picked");
                let arguments = matches!(self.model[&key], Model::Claimed { arguments: true, .. });
                self.intents.insert(key, self.world.intent(&call, Some(lease)).await.expect("the key was reserved"));
                self.started += 1;
                self.model.insert(key, Model::Running { call: call.id, arguments });
            }
            Step::GiveUp(n) => {
                let Some((&key, _)) = pick(&self.leases, n) else { return };
                self.leases.remove(&key);
                self.model.remove(&key);
            }
            Step::End(n, disposition) => self.end(n, disposition).await,
            Step::Lose(n) => {
                let Some((&key, _)) = pick(&self.intents, n) else { return };
                self.intents.remove(&key);
                self.world.settle().await;
                match self.model.remove(&key) {
                    Some(Model::Running { call, arguments }) if key < WRITES => {
                        self.model.insert(key, Model::Unknown { call, arguments });
                    }
                    _ => {}
                }
            }
            Step::Pass(hours) => self.world.pass(u64::from(hours) * HOUR),
            Step::Sweep => {
                self.world.ledger.inner.forget_expired().expect("writable");
            }
            Step::Crash => self.crash(),
        }
    }

    fn claim(&mut self, key: u8, same: bool) {
        let now = self.now();
        if matches!(self.model.get(&key), Some(Model::Done { expires, .. }) if *expires <= now) {
            self.model.remove(&key);
        }
        let call = keyed(key, same);
        let got = self.world.claim(&call).expect("readable");
        match (self.model.get(&key), got) {
            (None, Claim::Fresh(lease)) => {
                self.model.insert(key, Model::Claimed { call: call.id, arguments: same });
                self.leases.insert(key, (call, lease));
            }
            (Some(Model::Claimed { call, arguments } | Model::Running { call, arguments }), Claim::InFlight { first, .. }) => {
                assert_eq!((*arguments, *call), (same, first))
            }
            (Some(Model::Done { call, arguments, .. }), Claim::Replay(replay)) => {
                assert_eq!((*arguments, *call), (same, replay.first));
                assert_eq!(replay.response, answer(&call.to_string()), "the answer of that very call");
            }
            (Some(Model::Unknown { call, arguments }), Claim::Unknown { first }) => {
                assert_eq!((*arguments, *call), (same, first))
            }
            (
                Some(
                    Model::Claimed { call, arguments }
                    | Model::Running { call, arguments }
                    | Model::Done { call, arguments, .. }
                    | Model::Unknown { call, arguments },
                ),
                Claim::Reused { first },
            ) => assert_eq!((!*arguments, *call), (same, first)),
            (model, got) => panic!("key {key}: the model says {model:?}, the ledger {got:?}"),
        }
    }

    async fn end(&mut self, n: u8, disposition: Disposition) {
        let Some((&key, _)) = pick(&self.intents, n) else { return };
        let intent = self.intents.remove(&key).expect("picked");
        let Some(Model::Running { call, arguments }) = self.model.remove(&key) else { panic!("an intent runs") };
        self.world.end(intent, disposition, &answer(&call.to_string())).await.expect("recorded");
        let then = after(disposition, call, arguments, self.now() + 24 * HOUR);
        self.model.extend(then.map(|then| (key, then)));
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
        for (key, model) in std::mem::take(&mut self.model) {
            match model {
                Model::Claimed { .. } => {}
                Model::Running { call, arguments } if key < WRITES => {
                    unknown += 1;
                    self.model.insert(key, Model::Unknown { call, arguments });
                }
                Model::Running { .. } => interrupted += 1,
                durable @ (Model::Done { .. } | Model::Unknown { .. }) => drop(self.model.insert(key, durable)),
            }
        }
        let world = std::mem::replace(&mut self.world, World::new());
        self.world = world.crash();
        assert_eq!((self.world.recovery.interrupted, self.world.recovery.outcome_unknown), (interrupted, unknown));
    }
}

/// Where a key stands after its call has ended.
fn after(disposition: Disposition, call: CallId, arguments: bool, expires: u64) -> Option<Model> {
    match disposition {
        Disposition::Done => Some(Model::Done { call, arguments, expires }),
        Disposition::Released => None,
        Disposition::Unknown => Some(Model::Unknown { call, arguments }),
    }
}

fn pick<V>(map: &BTreeMap<u8, V>, n: u8) -> Option<(&u8, &V)> {
    map.iter().nth(usize::from(n) % map.len().max(1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_ledger_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut run = Run::new();
            for step in steps {
                run.take(step).await;
            }
            // Whatever happened: after one more crash every intent has exactly one outcome.
            run.crash();
            let verification = run.world.verified();
            prop_assert_eq!(verification.open_calls, 0);
            prop_assert_eq!(verification.records, 2 * run.started);
            Ok(())
        })?;
    }
}
