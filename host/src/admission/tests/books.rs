//! Whatever callers do and in whatever order, the books are right: no slot, no memory, no fuel is lost or made up.

use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;
use crate::admission::config::ToolBudget;
use crate::admission::fuel::Account;

/// What a caller may do next. Numbers pick among those there are.
#[derive(Clone, Debug)]
enum Step {
    Enter { principal: usize, tool: usize, fuel: u64 },
    EnterAccepted { principal: usize },
    Pass(u64),
    Look(usize),
    GoAway(usize),
    Draw { call: usize, more: u64 },
    Commit(usize),
    StopWaiting(usize),
    Grow { call: usize, bytes: u64 },
    Settle { call: usize, burned: u64 },
    End(usize),
}

struct Call {
    permit: Permit,
    /// What it may burn so far, and has committed to burn.
    drawn: u64,
    committed: bool,
    settled: bool,
}

/// A gate, its callers, and what they were charged.
struct World {
    scene: Scene,
    tickets: Vec<Ticket>,
    calls: Vec<Call>,
    parked: Vec<(u64, BoxFuture<'static, u64>)>,
    committing: Vec<(u64, BoxFuture<'static, ()>)>,
    charged: u128,
}

const SLOTS: usize = 6;
const DEBT: u64 = 3_000_000;

fn step() -> impl Strategy<Value = Step> {
    let any = any::<usize>;
    prop_oneof![
        4 => (0_usize..4, 0_usize..3, 1_u64..2_500_000).prop_map(|(principal, tool, fuel)| Step::Enter { principal, tool, fuel }),
        1 => (0_usize..4).prop_map(|principal| Step::EnterAccepted { principal }),
        3 => (0_u64..40_000_000).prop_map(Step::Pass),
        4 => any().prop_map(Step::Look),
        1 => any().prop_map(Step::GoAway),
        3 => (any(), 1_u64..800_000).prop_map(|(call, more)| Step::Draw { call, more }),
        1 => any().prop_map(Step::Commit),
        1 => any().prop_map(Step::StopWaiting),
        1 => (any(), 0_u64..1 << 21).prop_map(|(call, bytes)| Step::Grow { call, bytes }),
        3 => (any(), 0_u64..100).prop_map(|(call, burned)| Step::Settle { call, burned }),
        3 => any().prop_map(Step::End),
    ]
}

impl World {
    fn new(has_host: bool) -> Self {
        let principal =
            BudgetConfig { rate: Some(3_000_000), burst: Some(2_000_000), debt: Some(DEBT), ..BudgetConfig::default() };
        let tools = [("t0".parse().expect("a name"), ToolBudget { rate: 2_000_000, burst: 500_000 })];
        let scene = Scene::new(AdmissionConfig {
            principal,
            principals: [("u1".to_owned(), BudgetConfig { weight: Some(3), ..BudgetConfig::default() })].into(),
            tools: tools.into(),
            capacity: has_host.then_some(5_000_000),
            memory: Bytes::mib(8),
            ..config(SLOTS, 12)
        });
        let (tickets, calls, parked, committing) = Default::default();
        Self { scene, tickets, calls, parked, committing, charged: 0 }
    }

    fn ask<T>(&self, principal: usize, tool: usize, fuel: u64, ask: impl FnOnce(&Admission, &Ask<'_>) -> T) -> T {
        let (principal, tool) = (self.scene.principal(&format!("u{principal}")), format!("t{tool}").parse().expect("a name"));
        ask(&self.scene.admission, &Ask { principal: &principal, tool: &tool, fuel, memory: Bytes::mib(2) })
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Enter { principal, tool, fuel } => {
                self.tickets.extend(self.ask(principal, tool, fuel, |admission, ask| admission.enter(ask)).ok());
            }
            Step::EnterAccepted { principal } => {
                let waited = Duration::from_secs(1);
                let ticket = self.ask(principal, 0, 1_000_000, |admission, ask| admission.enter_accepted(ask, waited));
                self.tickets.push(ticket);
            }
            Step::Pass(time) => self.scene.pass(Duration::from_nanos(time)),
            Step::Look(_) if self.tickets.is_empty() => {}
            Step::Look(ticket) => {
                let ticket = ticket % self.tickets.len();
                if let Some(permit) = now(&mut self.tickets[ticket]) {
                    self.tickets.swap_remove(ticket);
                    let drawn = permit.purse().drawn();
                    self.calls.push(Call { permit, drawn, committed: false, settled: false });
                }
            }
            Step::GoAway(ticket) if !self.tickets.is_empty() => {
                drop(self.tickets.swap_remove(ticket % self.tickets.len()));
            }
            Step::StopWaiting(parked) if !self.parked.is_empty() => {
                drop(self.parked.swap_remove(parked % self.parked.len()));
            }
            Step::GoAway(_) | Step::StopWaiting(_) => {}
            Step::Draw { call, .. }
            | Step::Commit(call)
            | Step::Grow { call, .. }
            | Step::Settle { call, .. }
            | Step::End(call) => {
                if !self.calls.is_empty() {
                    let call = call % self.calls.len();
                    // A call that was settled has no guest that could ask for anything.
                    if !self.calls[call].settled || matches!(step, Step::End(_)) {
                        self.act_on(call, step);
                    }
                }
            }
        }
    }

    fn act_on(&mut self, index: usize, step: Step) {
        let call = &mut self.calls[index];
        match step {
            Step::Draw { more, .. } => match call.permit.purse().draw(call.drawn + more) {
                Drawn::Now(drawn) => call.drawn = call.drawn.max(drawn),
                Drawn::Later(parked) => {
                    assert!(!call.committed, "whoever has committed is never parked");
                    self.parked.push((call.permit.purse().share(), parked));
                }
            },
            Step::Commit(_) => {
                let mut commit = Box::pin(call.permit.purse().commit());
                match (&mut commit).now_or_never() {
                    Some(()) => call.committed = true,
                    None => self.committing.push((call.permit.purse().share(), commit)),
                }
            }
            Step::Grow { bytes, .. } => {
                call.permit.purse().grow(bytes);
            }
            Step::Settle { burned, .. } => {
                // Somewhere between nothing and all that it may have burned, and now and then a little beyond, as host calls do.
                let most = if call.committed { call.permit.fuel() } else { call.drawn + 900_000 };
                let burned = (most * burned / 99).min(call.permit.fuel());
                let charged = call.permit.settle(burned, burned % (2 << 20));
                // The little beyond was promised at the start, so even at the floor it is paid in full.
                assert_eq!(charged, burned);
                self.charged += u128::from(charged);
                call.settled = true;
            }
            Step::End(_) => drop(self.calls.swap_remove(index)),
            _ => {}
        }
    }

    fn check(&self) {
        self.scene.look(|gate, _| {
            assert_eq!(gate.free + gate.running.len(), SLOTS, "every slot is free or held");
            let memory: u64 = gate.running.values().filter(|running| !running.settled).map(|running| running.memory).sum();
            assert_eq!(gate.memory_free + memory, 8 << 20, "all memory is free or promised");
            for (id, flow) in &gate.flows {
                let held = gate.running.values().filter(|running| running.flow == id).count();
                let promised: u64 = gate
                    .running
                    .values()
                    .filter(|running| running.flow == id && !running.settled)
                    .map(|running| running.promised)
                    .sum();
                assert_eq!((flow.running, flow.account.promised()), (held, promised));
                assert!(flow.account.level() - flow.account.promised() as i64 >= -(DEBT as i64), "the floor holds");
                let waiting: Vec<_> = gate.waiting.values().filter(|waiting| waiting.flow == id).collect();
                assert_eq!(flow.queue.waiting, waiting.len());
                assert_eq!(flow.queue.backlog, waiting.iter().map(|waiting| waiting.terms.estimate).sum::<u64>());
            }
            let parked: usize = gate.flows.iter().map(|(_, flow)| flow.parked.len()).sum();
            assert_eq!(parked, gate.parked);
            assert_eq!(gate.backlog, gate.waiting.values().map(|waiting| waiting.terms.estimate).sum::<u64>());
            // Nobody waits for what is there: whose turn it is lacks memory, or the host's fuel.
            if let Some((_, place, _)) = gate.order.first(gate.free) {
                let terms = &gate.waiting[&place].terms;
                let host = gate.host.as_ref().is_some_and(|host| host.available() < terms.need);
                assert!(terms.memory > gate.memory_free || host, "somebody could start and does not");
            }
        });
    }

    /// Everybody ends, everybody who waits gets through, and then everything is as it was.
    fn end(mut self) {
        self.calls.clear();
        for _ in 0..200 {
            self.scene.pass(Duration::from_millis(500));
            self.tickets.retain_mut(|ticket| now(ticket).is_none());
            self.check();
        }
        assert!(self.tickets.is_empty(), "{} calls never got through", self.tickets.len());
        drop((self.parked, self.committing));
        self.scene.look(|gate, _| {
            assert_eq!((gate.free, gate.memory_free, gate.waiting.len(), gate.parked), (SLOTS, 8 << 20, 0, 0));
            assert!(gate.flows.iter().all(|(_, flow)| flow.account.promised() == 0));
            // Where it can be added up, everything comes to the same: principals, tools, host.
            let tools: u128 = gate.tools.iter().filter_map(|tool| tool.account.as_ref()).map(Account::charged).sum();
            assert!(tools <= self.charged);
            if let Some(host) = &gate.host {
                assert_eq!(host.charged(), self.charged);
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_is_lost_and_nothing_made_up(has_host: bool, steps in prop::collection::vec(step(), 1..250)) {
        let mut world = World::new(has_host);
        for step in steps {
            world.act(step);
            world.check();
        }
        world.end();
    }

    #[test]
    fn the_sum_of_what_principals_are_charged_is_the_sum_of_what_was_burned(steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new(true);
        for step in steps {
            world.act(step);
        }
        world.calls.clear();
        world.tickets.clear();
        // Before anybody is forgotten: that takes ten seconds, and these steps at most six.
        let principals: u128 = world.scene.look(|gate, _| gate.flows.iter().map(|(_, flow)| flow.account.charged()).sum());
        prop_assert_eq!(principals, world.charged);
    }
}
