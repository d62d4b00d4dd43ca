//! Budgets of fuel: who waits for them, who is parked, who is not.

use proptest::prelude::*;

use super::*;
use crate::admission::config::ToolBudget;

/// A gate for principals that earn `rate` a second, save up `burst`, and may owe `debt`.
fn poor(rate: u64, burst: u64, debt: u64) -> AdmissionConfig {
    let principal = BudgetConfig { rate: Some(rate), burst: Some(burst), debt: Some(debt), ..BudgetConfig::default() };
    AdmissionConfig { principal, ..config(100, 100) }
}

#[test]
fn a_call_that_costs_more_than_can_ever_be_promised_is_refused_for_good() {
    let scene = Scene::new(poor(1_000, 1_000_000, 500_000));
    assert_eq!(scene.enter("u1").err(), Some(Refused::TooCostly { fuel: FUEL, most: 1_500_000 }));
    assert_eq!((scene.admission.running(), scene.admission.waiting()), (0, 0));
}

#[test]
fn a_dry_principal_waits_until_it_has_earned_what_its_call_will_probably_burn_and_nobody_else_does() {
    let scene = Scene::new(poor(100_000, 1_000_000, 10_000_000));
    let spender = scene.start("dry");
    assert_eq!(spender.purse().commit().now_or_never(), Some(()));
    spender.settle(FUEL, 1 << 16);
    drop(spender);
    assert!(scene.look(|gate, now| gate.snapshot(now)).principals[0].balance < Some(0));
    let mut waiting = scene.enter("dry").expect("a place");
    let estimated = waiting.estimated_wait();
    assert!(estimated > Duration::from_secs(10), "{estimated:?}");
    assert!(now(&mut scene.enter("rich").expect("let in")).is_some());
    scene.pass(estimated - Duration::from_millis(1));
    assert!(now(&mut waiting).is_none());
    scene.pass(Duration::from_millis(2));
    assert!(now(&mut waiting).is_some());
}

#[test]
fn the_wait_that_is_shown_is_everybodys_and_not_what_a_dry_principal_owes() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let shown = || recorder.handle().render();
    let config = AdmissionConfig { max_wait: Span::seconds(10), ..poor(100_000, 1_000_000, 10_000_000) };
    let scene = metrics::with_local_recorder(&recorder, || Scene::new(config));
    let spender = scene.start("dry");
    assert_eq!(spender.purse().commit().now_or_never(), Some(()));
    spender.settle(FUEL, 1 << 16);
    drop(spender);
    assert!(matches!(scene.enter("dry").err(), Some(Refused::Overloaded { .. })), "it would wait for longer than anybody may");
    assert!(shown().contains("tidegate_estimated_wait_seconds 0\n"), "nobody waits: {}", shown());
}

#[test]
fn a_guest_of_a_dry_principal_is_parked_until_there_is_fuel_for_it() {
    let scene = Scene::new(poor(1_000_000, 300_000, 5_000_000));
    let permit = scene.start("u1");
    assert_eq!(permit.purse().drawn(), 200_000, "what it will probably burn, and a slice");
    assert_eq!(drawn(permit.purse().draw(250_000)), Some(300_000), "what is there is drawn ahead");
    let Drawn::Later(mut parked) = permit.purse().draw(400_000) else { panic!("nothing is left") };
    scene.pass(Duration::from_millis(99));
    assert_eq!((&mut parked).now_or_never(), None);
    assert_eq!(scene.look(|gate, _| gate.parked), 1);
    scene.pass(Duration::from_millis(1));
    assert_eq!(parked.now_or_never(), Some(400_000));
    assert_eq!((permit.settle(350_000, 1 << 16), scene.look(|gate, _| gate.parked)), (350_000, 0));
    let seen = scene.admission.snapshot();
    assert_eq!((seen.principals[0].balance, seen.tools[0].parked), (Some(50_000), 0));
}

#[test]
fn a_guest_that_needs_more_than_its_principal_ever_holds_gets_it_bit_by_bit() {
    let scene = Scene::new(poor(1_000_000, 200_000, 5_000_000));
    let permit = scene.start("u1");
    let Drawn::Later(mut parked) = permit.purse().draw(1_200_000) else { panic!("there is not that much") };
    for _ in 0..9 {
        scene.pass(Duration::from_millis(100));
        assert_eq!((&mut parked).now_or_never(), None);
    }
    scene.pass(Duration::from_millis(100));
    assert_eq!(parked.now_or_never(), Some(1_200_000));
}

#[test]
fn a_parked_guest_that_goes_away_leaves_the_fuel_to_the_next() {
    let scene = Scene::new(poor(1_000_000, 400_000, 5_000_000));
    let (first, second) = (scene.start("u1"), scene.start("u1"));
    let Drawn::Later(parked) = first.purse().draw(500_000) else { panic!("nothing is left") };
    let Drawn::Later(next) = second.purse().draw(300_000) else { panic!("nothing is left") };
    drop(parked);
    scene.pass(Duration::from_millis(100));
    assert_eq!(next.now_or_never(), Some(300_000));
    // A call that ends while one of its guests is parked answers nobody, rather than let it go on.
    let Drawn::Later(parked) = second.purse().draw(500_000) else { panic!("nothing is left") };
    second.settle(200_000, 1 << 16);
    scene.pass(Duration::from_secs(10));
    assert_eq!((parked.now_or_never(), scene.look(|gate, _| gate.parked)), (None, 0));
}

#[test]
fn whoever_has_committed_is_never_parked_and_its_debt_is_paid_before_others_go_on() {
    let scene = Scene::new(poor(100_000, 100_000, 2_000_000));
    let permit = scene.start("u1");
    let Drawn::Later(mut parked) = permit.purse().draw(200_000) else { panic!("nothing is left") };
    assert!((&mut parked).now_or_never().is_none());
    assert_eq!(permit.purse().commit().now_or_never(), Some(()), "the floor is far below");
    assert_eq!(parked.now_or_never(), Some(FUEL), "which wakes its guests");
    assert_eq!(drawn(permit.purse().draw(FUEL)), Some(FUEL));
    let mut next = scene.enter("u1").expect("a place");
    assert_eq!(permit.settle(FUEL, 1 << 16), FUEL);
    drop(permit);
    assert_eq!(scene.admission.snapshot().principals[0].balance, Some(-1_500_000));
    scene.pass(Duration::from_secs(15));
    assert!(now(&mut next).is_none(), "the debt is just paid");
    scene.pass(Duration::from_secs(15));
    assert!(now(&mut next).is_some());
}

#[test]
fn a_commit_that_could_lead_below_the_floor_waits_until_it_can_not() {
    let scene = Scene::new(poor(1_000_000, 1_000_000, 2_000_000));
    let (first, second) = (scene.start("u1"), scene.start("u1"));
    assert_eq!(first.purse().commit().now_or_never(), Some(()));
    let mut commit = Box::pin(second.purse().commit());
    assert_eq!((&mut commit).now_or_never(), None, "both together may burn more than there is and may be owed");
    first.settle(1_000, 1 << 16);
    assert_eq!(commit.now_or_never(), Some(()));
}

/// The budget of a principal that saves up for one call of so much fuel, and may owe nothing.
const BURST: u64 = 50_000_000;

#[test]
fn two_writes_of_a_principal_that_may_owe_nothing_do_not_wait_for_each_other() {
    let scene = Scene::new(poor(100_000_000, BURST, 0));
    let write = || scene.enter_with("u1", "write", BURST, Bytes::kib(64)).expect("let in");
    // From now on less is drawn for a call at its start than it is promised.
    for _ in 0..40 {
        now(&mut write()).expect("started").settle(10_000, 1 << 16);
    }
    scene.pass(Duration::from_secs(1));
    let (first, mut second) = (now(&mut write()).expect("started"), write());
    assert!(now(&mut second).is_none(), "beside it the first could never commit");
    scene.pass(Duration::from_secs(1));
    assert!(now(&mut second).is_none(), "however much was saved up");
    assert_eq!(first.purse().commit().now_or_never(), Some(()));
    first.settle(BURST, 1 << 16);
    drop(first);
    scene.pass(Duration::from_secs(1));
    let second = now(&mut second).expect("started");
    assert_eq!(second.purse().commit().now_or_never(), Some(()));
    assert_eq!(second.settle(BURST, 1 << 16), BURST);
}

#[test]
fn a_read_does_not_wait_behind_a_write_that_waits_for_another_write_to_end() {
    let scene = Scene::new(poor(100_000_000, BURST, 0));
    let start = |tool, fuel| now(&mut scene.enter_with("u1", tool, fuel, Bytes::kib(64)).expect("let in")).expect("started");
    let (first, second, read) = (start("write", BURST), start("write", BURST), start("read", 2_000_000));
    scene.pass(Duration::from_secs(1));
    assert_eq!(first.purse().commit().now_or_never(), Some(()));
    let mut commit = Box::pin(second.purse().commit());
    scene.pass(Duration::from_secs(1));
    assert_eq!((&mut commit).now_or_never(), None, "both together may burn more than there ever is");
    // The read waits for more than there is beside what the first may burn, but only until that is earned.
    let Drawn::Later(mut parked) = read.purse().draw(2_000_000) else { panic!("there is not that much") };
    assert_eq!((&mut parked).now_or_never(), None);
    scene.pass(Duration::from_secs(1));
    assert_eq!((parked.now_or_never(), (&mut commit).now_or_never()), (Some(2_000_000), None));
    first.settle(BURST, 1 << 16);
    scene.pass(Duration::from_secs(1));
    assert_eq!(commit.now_or_never(), Some(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn of_the_calls_of_one_principal_one_always_goes_on(
        burst in 50_000_u64..3_000_000,
        debt in prop_oneof![Just(0), 0_u64..2_000_000],
        calls in prop::collection::vec((0_u64..100, any::<bool>(), 0_usize..3), 1..16),
    ) {
        let scene = Scene::new(poor(10_000_000, burst, debt));
        let mut tickets: Vec<_> = calls
            .iter()
            .map(|&(part, is_write, tool)| {
                let fuel = ((burst + debt) * (part + 1) / 100).max(1);
                let ticket = scene.enter_with("u1", &format!("t{tool}"), fuel, Bytes::kib(64));
                (ticket.expect("a place"), is_write)
            })
            .collect();
        let mut running: Vec<(Permit, futures::future::BoxFuture<'static, ()>)> = Vec::new();
        // Never more than the burst is earned in one.
        for _ in 0..1_500 {
            tickets.retain_mut(|(ticket, is_write)| match now(ticket) {
                Some(permit) => {
                    let wanted: futures::future::BoxFuture<'static, ()> = match (*is_write, permit.fuel()) {
                        (true, _) => Box::pin(permit.purse().commit()),
                        (false, fuel) => match permit.purse().draw(fuel) {
                            Drawn::Now(_) => Box::pin(std::future::ready(())),
                            Drawn::Later(parked) => Box::pin(parked.map(drop)),
                        },
                    };
                    running.push((permit, wanted));
                    false
                }
                None => true,
            });
            running.retain_mut(|(permit, wanted)| match wanted.now_or_never() {
                Some(()) => {
                    permit.settle(permit.fuel(), 1 << 16);
                    false
                }
                None => true,
            });
            if tickets.is_empty() && running.is_empty() {
                break;
            }
            scene.pass(Duration::from_millis(500));
        }
        prop_assert_eq!((tickets.len(), running.len()), (0, 0), "waiting and running for ever");
    }
}

#[test]
fn whoever_comes_late_does_not_overtake_those_who_wait_for_the_fuel_of_a_tool() {
    let tools = [("dear".parse().expect("a name"), ToolBudget { rate: 200_000, burst: 200_000 })];
    let scene = Scene::new(AdmissionConfig { tools: tools.into(), ..config(100, 1_000) });
    let dear = |subject: &str| scene.enter_with(subject, "dear", FUEL, Bytes::kib(64)).expect("let in");
    let _first = now(&mut dear("u0")).expect("the tool's budget is full");
    let (mut early, mut later) = (dear("u1"), dear("u2"));
    // The account is full again, and nobody told those who wait for it.
    scene.shared().turn(Duration::from_secs(1));
    let mut late = dear("u3");
    assert!(now(&mut early).is_none() && now(&mut late).is_none());
    let mut order = Vec::new();
    for _ in 0..4 {
        scene.pass(Duration::from_secs(1));
        let all = [("early", &mut early), ("later", &mut later), ("late", &mut late)];
        for (name, ticket) in all.into_iter().filter(|(_, ticket)| ticket.is_waiting()).collect::<Vec<_>>() {
            if let Some(permit) = now(ticket) {
                order.push(name);
                permit.settle(200_000, 1 << 16);
            }
        }
    }
    assert_eq!(order, ["early", "later", "late"]);
}

#[test]
fn what_a_tool_makes_wait_is_told_of_that_tool_alone() {
    let tools = [("dear".parse().expect("a name"), ToolBudget { rate: 100_000, burst: 100_000 })];
    let scene = Scene::new(AdmissionConfig { tools: tools.into(), ..config(2, 1_000) });
    let enter = |subject: &str, tool| scene.enter_with(subject, tool, FUEL, Bytes::kib(64)).expect("let in");
    let _running = [now(&mut enter("u0", "dear")), now(&mut enter("u1", "any"))];
    let _dear: Vec<_> = (0..10).map(|number| enter(&format!("dear-{number}"), "dear")).collect();
    let _any: Vec<_> = (0..10).map(|number| enter(&format!("any-{number}"), "any")).collect();
    let seen = scene.admission.snapshot();
    let of = |name: &str| seen.tools.iter().find(|load| load.name == name).expect("it was called").estimated_wait_ms;
    assert!((9_000..=11_000).contains(&of("dear")), "ten times 100,000 fuel, earned in a second each: {}", of("dear"));
    assert!(of("any") <= seen.host.estimated_wait_ms / 2 + 1, "half of the queue");
}

#[test]
fn a_tool_with_a_budget_holds_back_its_own_calls_alone() {
    let tools = [("dear".parse().expect("a name"), ToolBudget { rate: 100_000, burst: 100_000 })];
    let scene = Scene::new(AdmissionConfig { tools: tools.into(), ..config(100, 1_000) });
    let dear = |subject: &str| scene.enter_with(subject, "dear", FUEL, Bytes::kib(64)).expect("let in");
    let _first = now(&mut dear("u0")).expect("the tool's budget is full");
    let mut waiting: Vec<_> = (0..100).map(|number| dear(&format!("u{number}"))).collect();
    assert!(waiting.iter_mut().all(|ticket| now(ticket).is_none()));
    assert!(now(&mut scene.enter("other").expect("let in")).is_some());
    assert!(waiting[99].estimated_wait() > Duration::from_secs(60));
    let mut started = 0;
    for second in 1..=10 {
        scene.pass(Duration::from_secs(1));
        for permit in waiting.iter_mut().filter_map(now) {
            permit.settle(100_000, 1 << 16);
            started += 1;
        }
        waiting.retain(Ticket::is_waiting);
        assert_eq!(started, second);
    }
}

#[test]
fn a_host_whose_operator_said_what_it_may_burn_burns_no_more() {
    let scene = Scene::new(AdmissionConfig { capacity: Some(1_000_000), ..config(100, 1_000) });
    let mut started = 0;
    let mut waiting: Vec<_> = (0..100).map(|number| scene.enter(&format!("u{number}")).expect("let in")).collect();
    for second in 1..=3 {
        for ticket in &mut waiting {
            if let Some(permit) = now(ticket) {
                permit.settle(100_000, 1 << 16);
                started += 1;
            }
        }
        waiting.retain(Ticket::is_waiting);
        // A little is always held by calls that burn less than they drew.
        assert!((second * 9..=second * 10).contains(&started), "{started} in {second} s");
        scene.pass(Duration::from_secs(1));
    }
}

#[test]
fn principals_without_calls_are_forgotten_once_their_accounts_are_full() {
    let scene = Scene::new(poor(1_000_000, 100_000_000, 10_000_000));
    for number in 0..1_000 {
        scene.start(&format!("u{number}")).settle(FUEL, 1 << 16);
    }
    scene.start("burned-much").settle(50_000_000, 1 << 16);
    assert_eq!(scene.look(|gate, _| gate.flows.len()), 1_001);
    scene.pass(Duration::from_secs(11));
    for _ in 0..1_000 {
        drop(scene.start("still-here"));
    }
    assert_eq!(scene.look(|gate, _| gate.flows.len()), 2, "one is still here, one has not earned back what it burned");
    let seen = scene.admission.snapshot();
    assert_eq!(seen.principals_known, 2);
    assert!(seen.principals.iter().any(|load| load.name == "burned-much"));
}

#[tokio::test]
async fn a_dry_principal_is_woken_by_the_clock_alone() {
    let admission = Admission::new(poor(20_000_000, 1_000_000, 10_000_000), CAPACITY).expect("the limits make sense");
    let scene = Scene { admission, principals: Mutex::default() };
    scene.start("u1").settle(FUEL, 1 << 16);
    let permit = scene.enter("u1").expect("a place").await.expect("soon enough");
    assert!(permit.queued() > Duration::from_millis(1));
    let Drawn::Later(parked) = permit.purse().draw(FUEL) else { panic!("nothing is left") };
    assert_eq!(parked.await, FUEL);
}
