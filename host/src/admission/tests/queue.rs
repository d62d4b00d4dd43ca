//! Who runs, who waits, in which order, and who is told to come back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;
use crate::admission::gate::AT_ONCE;

#[test]
fn one_call_more_than_slots_and_queue_is_told_when_to_come_back() {
    let scene = Scene::new(config(1, 1));
    let running = scene.start("u1");
    let mut waiting = scene.enter("u1").expect("a place");
    assert!(waiting.is_waiting() && now(&mut waiting).is_none());
    let Err(Refused::Overloaded { retry_after }) = scene.enter("u1") else { panic!("no place is left") };
    assert!(retry_after >= Duration::from_secs(1));
    assert_eq!((scene.admission.running(), scene.admission.waiting()), (1, 1));
    drop(running);
    assert!(now(&mut waiting).is_some(), "the waiting call runs once the slot is free");
}

#[test]
fn a_caller_that_goes_away_gives_its_place_back() {
    let scene = Scene::new(config(1, 1));
    let running = scene.start("u1");
    drop(scene.enter("u1").expect("a place"));
    assert_eq!(scene.admission.waiting(), 0);
    // And its slot, if it had been given one without having looked.
    let granted = scene.enter("u1").expect("a place");
    drop(running);
    assert_eq!(scene.admission.running(), 1);
    drop(granted);
    assert_eq!((scene.admission.running(), scene.admission.waiting()), (0, 0));
}

#[test]
fn no_call_gets_more_fuel_than_the_host_allows() {
    let scene = Scene::new(AdmissionConfig { max_fuel: 100, ..config(1, 1) });
    let mut ticket = scene.enter_with("u1", "any", u64::MAX, Bytes::kib(64)).expect("let in");
    assert_eq!(now(&mut ticket).expect("started").fuel(), 100);
}

#[test]
fn a_principal_alone_leaves_half_the_slots_and_half_the_queue_to_newcomers() {
    let scene = Scene::new(config(8, 8));
    let mut greedy: Vec<_> = std::iter::from_fn(|| scene.enter("greedy").ok()).collect();
    assert_eq!((scene.admission.running(), scene.admission.waiting()), (4, 4));
    assert!(now(&mut scene.enter("new").expect("let in")).is_some(), "who is new starts at once");
    assert!(greedy.iter_mut().skip(4).all(|ticket| now(ticket).is_none()));
}

#[test]
fn an_endless_row_of_newcomers_does_not_hold_up_those_who_were_here_before() {
    let scene = Scene::new(config(1, 1_000));
    let mut running = scene.start("old");
    let mut second = scene.enter("old").expect("a place");
    let mut newcomers = std::collections::VecDeque::new();
    for number in 0..50 {
        newcomers.push_back(scene.enter(&format!("new-{number}")).expect("a place"));
        newcomers.push_back(scene.enter(&format!("newer-{number}")).expect("a place"));
        drop(running);
        if now(&mut second).is_some() {
            return;
        }
        running = newcomers.iter_mut().find_map(now).expect("somebody has the slot");
    }
    panic!("the second call of the first principal never ran");
}

#[test]
fn within_one_principal_who_came_first_runs_first() {
    let scene = Scene::new(config(1, 100));
    let mut running = scene.start("u1");
    let mut waiting: Vec<_> = (0..20).map(|_| scene.enter("u1").expect("a place")).collect();
    drop(waiting.remove(3));
    while !waiting.is_empty() {
        drop(running);
        running = now(&mut waiting.remove(0)).expect("the oldest is next");
    }
}

#[test]
fn a_call_that_waited_too_long_is_told_so_when_its_time_is_over_and_one_that_would_is_told_at_once() {
    let scene = Scene::new(AdmissionConfig { max_wait: Span::seconds(10), ..config(1, 100_000) });
    let _running = scene.start("u1");
    let mut waiting = scene.enter("u1").expect("a place");
    scene.pass(Duration::from_secs(9));
    assert!(told(&mut waiting).is_none());
    scene.pass(Duration::from_secs(1));
    let expired = told(&mut waiting).expect("its time is over").expect_err("nothing was free");
    assert!(expired.retry_after >= Duration::from_secs(1));
    let mut queue = Vec::new();
    let refused = loop {
        match scene.enter("u1") {
            Ok(ticket) => queue.push(ticket),
            Err(refused) => break refused,
        }
    };
    assert!(queue.len() < 50_000, "long before the queue is full: {}", queue.len());
    assert!(queue.last().expect("some wait").estimated_wait() <= Duration::from_secs(10));
    assert!(matches!(refused, Refused::Overloaded { .. }), "{refused:?}");
}

#[test]
fn when_many_have_waited_too_long_others_get_the_lock_in_between() {
    let scene = Scene::new(AdmissionConfig { max_wait: Span::seconds(10), ..config(1, 100_000) });
    let _running = scene.start("u0");
    let mut waiting: Vec<_> = (0..200).map(|number| scene.enter(&format!("u{number}")).expect("a place")).collect();
    scene.shared().turn(Duration::from_secs(10));
    assert_eq!(scene.shared().advance(), Some(Duration::ZERO), "there is more to do, at once");
    assert_eq!(scene.admission.waiting(), 200 - AT_ONCE);
    scene.pass(Duration::ZERO);
    assert!(waiting.iter_mut().all(|ticket| matches!(told(ticket), Some(Err(Expired { .. })))));
}

#[test]
fn what_was_accepted_before_is_refused_by_no_limit_and_has_waited_longer() {
    let scene = Scene::new(config(1, 1));
    let running = scene.start("u1");
    let tool: ToolName = "any".parse().expect("a tool name");
    let principal = scene.principal("u1");
    let ask = Ask { principal: &principal, tool: &tool, fuel: u64::MAX, memory: Bytes::kib(64) };
    let mut accepted: Vec<_> = (0..10).map(|_| scene.admission.enter_accepted(&ask, Duration::from_secs(7))).collect();
    scene.pass(Duration::from_secs(2));
    drop(running);
    let permit = now(&mut accepted[0]).expect("the first is next");
    assert_eq!(permit.queued(), Duration::from_secs(9));
}

#[test]
fn memory_is_given_by_what_calls_took_before_and_growth_beyond_it_only_while_there_is_some() {
    let scene = Scene::new(AdmissionConfig { memory: Bytes::mib(100), ..config(100, 100) });
    let enter = || scene.enter_with("u1", "any", FUEL, Bytes::mib(80)).expect("let in");
    for _ in 0..40 {
        now(&mut enter()).expect("started").settle(1_000, 30 << 20);
    }
    let (first, second, third) = (now(&mut enter()), now(&mut enter()), now(&mut enter()));
    let [first, second, third] = [first, second, third].map(|permit| permit.expect("three times 30 MiB"));
    let mut fourth = enter();
    assert!(now(&mut fourth).is_none(), "there are 10 MiB left");
    assert!(first.purse().grow(40 << 20) && !second.purse().grow(31 << 20), "and now nothing is");
    assert!(second.purse().grow(30 << 20), "which it has");
    third.settle(1_000, 30 << 20);
    assert!(now(&mut fourth).is_some(), "memory comes back with the guest, before the slot");
    assert!(!third.purse().grow(1 << 20), "whoever has ended takes nothing");
}

#[test]
fn callers_who_come_back_when_they_were_told_get_in() {
    const CALLERS: usize = 10_000;
    const HELD: u64 = 20;
    let scene = Scene::new(config(16, 200));
    // The host has been in use before.
    for _ in 0..100 {
        let permit = scene.start("before");
        scene.pass(Duration::from_millis(HELD));
        permit.settle(50_000, 1 << 16);
    }
    // Milliseconds, earliest first: they all come within a second, and again when they were told.
    let mut knocks: BinaryHeap<_> = (0..CALLERS).map(|caller| (Reverse(caller as u64 / 10), caller)).collect();
    let (mut waiting, mut running): (Vec<Ticket>, Vec<(u64, Permit)>) = Default::default();
    let (mut tries, mut last, mut done, mut time) = (vec![0; CALLERS], 0, 0, 0);
    while done < CALLERS {
        while let Some(&(Reverse(at), caller)) = knocks.peek()
            && at <= time
        {
            knocks.pop();
            tries[caller] += 1;
            match scene.enter(&format!("caller-{caller}")) {
                Ok(ticket) => waiting.push(ticket),
                // Envelopes speak in whole seconds.
                Err(Refused::Overloaded { retry_after }) => {
                    let retry_after = retry_after.as_millis().div_ceil(1000) as u64 * 1000;
                    last = last.max(retry_after);
                    knocks.push((Reverse(time + retry_after), caller));
                }
                Err(refused) => panic!("{refused:?}"),
            }
        }
        waiting.retain_mut(|ticket| match now(ticket) {
            Some(permit) => {
                running.push((time + HELD, permit));
                false
            }
            None => true,
        });
        running.retain(|(until, permit)| {
            let goes_on = *until > time;
            if !goes_on {
                permit.settle(50_000, 1 << 16);
                done += 1;
            }
            goes_on
        });
        time += 1;
        scene.pass(Duration::from_millis(1));
    }
    let ideal = CALLERS as u64 * HELD / 16;
    let mut sorted = tries.clone();
    sorted.sort_unstable();
    let (typical, most) = (sorted[CALLERS * 95 / 100], sorted[CALLERS - 1]);
    assert!(typical <= 2 && most <= 3, "95% got in after {typical} tries, all after {most}");
    assert!(time < ideal * 3 / 2, "it took {time} ms where {ideal} ms were possible, the longest wait told was {last} ms");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn ten_thousand_queued_calls_of_one_delay_the_first_of_another_by_one_start_a_slot(
        slots in 1_usize..9, burned in prop::collection::vec(1_000_u64..FUEL, 1..40),
    ) {
        let scene = Scene::new(config(slots, 40_000));
        let mut greedy: Vec<_> = (0..10_000).map(|_| scene.enter("greedy").expect("a place")).collect();
        let mut running = Vec::new();
        let mut burned = burned.into_iter().cycle();
        let mut end = |permit: Permit| {
            permit.settle(burned.next().expect("endless"), 1 << 16);
        };
        // It goes on for a while, so that its account and its place in the order are what they are.
        for _ in 0..200 {
            collect(&mut greedy, 2 * slots, &mut running);
            end(running.swap_remove(0));
        }
        // Everybody else's slots are taken too.
        let mut others: Vec<_> = (0..slots).map_while(|number| scene.enter(&format!("other-{number}")).ok()).collect();
        collect(&mut others, slots, &mut running);
        let mut first = scene.enter("new").expect("a place");
        let (others_waiting, mut ended) = (others.len(), 0);
        let started = loop {
            if let Some(started) = now(&mut first) {
                break started;
            }
            collect(&mut greedy, 2 * slots, &mut running);
            collect(&mut others, slots, &mut running);
            end(running.swap_remove(0));
            ended += 1;
        };
        drop(started);
        prop_assert!(ended <= slots + others_waiting, "{ended} calls ended before it started, {others_waiting} others waited");
    }
}

/// Takes the permits of those among the first `look` who have one.
fn collect(waiting: &mut Vec<Ticket>, look: usize, running: &mut Vec<Permit>) {
    for index in (0..look.min(waiting.len())).rev() {
        if let Some(permit) = now(&mut waiting[index]) {
            waiting.remove(index);
            running.push(permit);
        }
    }
}

#[test]
fn whoever_waits_is_told_to_look_again_no_later_than_experience_reaches() {
    let scene = Scene::new(AdmissionConfig { slots: 1, ..AdmissionConfig::default() });
    let seconds = Duration::from_secs;
    let poll_after = |wait| scene.admission.poll_after(wait);
    let running = scene.start("u1");
    let waiting = scene.enter("u2").expect("let in");
    assert_eq!(poll_after(seconds(3)), seconds(3));
    assert_eq!(poll_after(seconds(60)), seconds(5), "nobody has waited yet");
    assert_eq!(poll_after(Duration::ZERO), seconds(1));
    scene.pass(seconds(4));
    let later = scene.enter("u3").expect("let in");
    assert_eq!(poll_after(seconds(60)), seconds(8), "twice what the first has waited");
    scene.pass(seconds(20));
    assert_eq!(poll_after(seconds(60)), seconds(15), "at most");
    drop((running, waiting, later));
    assert_eq!(poll_after(seconds(60)), seconds(5), "nobody waits");
}
