//! The states of a breaker, by example and by chance.

use proptest::prelude::*;

use super::*;

fn config() -> BreakerConfig {
    BreakerConfig::default()
}

/// Opens a breaker by failures in a row.
fn opened(config: &BreakerConfig) -> Arc<Breaker> {
    let breaker = Breaker::new("billing", config);
    for _ in 0..config.failures {
        breaker.ask().expect("it is closed").failed();
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

/// Waits until a probe may be sent.
async fn until_due(breaker: &Breaker) {
    let wait = breaker.wait().expect("it is open");
    tokio::time::advance(wait).await;
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let breaker = Breaker::new("billing", &config());
    for _ in 0..3 {
        for _ in 0..config().failures - 1 {
            breaker.ask().expect("it is closed").failed();
        }
        breaker.ask().expect("it is closed").succeeded();
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    let breaker = opened(&config());
    let wait = breaker.ask().err().expect("nothing may be sent");
    assert!(wait <= config().open.duration() && wait >= config().open.duration() / 2, "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn a_share_of_failures_opens_it_too_once_there_are_enough_requests() {
    let breaker = Breaker::new("billing", &config());
    for turn in 0..config().min_requests {
        assert_eq!(breaker.state(), BreakerState::Closed, "after {turn}");
        let pass = breaker.ask().expect("it is closed");
        if turn % 2 == 0 { pass.succeeded() } else { pass.failed() }
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_few_probes_are_let_through_and_close_it_if_all_go_well() {
    let breaker = opened(&config());
    until_due(&breaker).await;
    let probes: Vec<_> = (0..config().probes).map(|_| breaker.ask().expect("a probe may go")).collect();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(breaker.ask().err(), Some(config().open.duration()), "no more than that");
    for probe in probes {
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        probe.succeeded();
    }
    assert_eq!((breaker.state(), breaker.wait()), (BreakerState::Closed, None));
}

#[tokio::test(start_paused = true)]
async fn each_time_the_probes_fail_it_stays_open_longer_but_never_too_long() {
    let breaker = opened(&config());
    let mut longest = Duration::ZERO;
    for round in 0..10 {
        let wait = breaker.wait().expect("it is open");
        assert!(wait <= config().max_open.duration(), "{wait:?}");
        longest = longest.max(wait);
        until_due(&breaker).await;
        breaker.ask().expect("a probe may go").failed();
        assert_eq!(breaker.state(), BreakerState::Open, "after {round}");
    }
    assert!(longest >= config().max_open.duration() / 2, "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_gives_its_place_to_another() {
    let config = BreakerConfig { probes: 1, ..config() };
    let breaker = opened(&config);
    until_due(&breaker).await;
    for _ in 0..5 {
        let probe = breaker.ask().expect("a probe may go");
        assert!(breaker.ask().is_err());
        drop(probe);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }
    breaker.ask().expect("a probe may go").succeeded();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_it_opened_decides_nothing_afterwards() {
    let breaker = Breaker::new("billing", &config());
    let (early, other) = (breaker.ask().expect("it is closed"), breaker.ask().expect("it is closed"));
    for _ in 0..config().failures {
        breaker.ask().expect("it is closed").failed();
    }
    until_due(&breaker).await;
    let _probe = breaker.ask().expect("a probe may go");
    assert!(!early.is_current());
    early.succeeded();
    other.failed();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn a_breaker_that_could_never_close_or_always_opens_is_refused() {
    let wrong = [
        BreakerConfig { failures: 0, ..config() },
        BreakerConfig { probes: 0, ..config() },
        BreakerConfig { failure_rate: f64::NAN, ..config() },
        BreakerConfig { failure_rate: 0.0, ..config() },
        BreakerConfig { open: Span::seconds(0), ..config() },
        BreakerConfig { open: Span::seconds(60), ..config() },
        BreakerConfig { max_open: Span(Duration::MAX), ..config() },
    ];
    assert!(wrong.iter().all(|config| config.problem().is_some()) && config().problem().is_none());
}

/// Something that happens to a breaker.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    /// The n-th of the requests that are out ends so.
    End(usize, Verdict),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![Just(Verdict::Success), Just(Verdict::Failure), Just(Verdict::Failure), Just(Verdict::Nothing)];
    prop_oneof![
        4 => Just(Step::Ask),
        4 => (any::<usize>(), verdict).prop_map(|(which, verdict)| Step::End(which, verdict)),
        1 => (1u64..2000).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_sends_no_more_than_its_state_allows_and_always_comes_back(
        steps in proptest::collection::vec(step(), 0..400),
        failures in 1u32..6,
        probes in 1u32..4,
    ) {
        let config = BreakerConfig { failures, probes, min_requests: 10, ..config() };
        let mut now = Instant::now();
        let mut machine = Machine::new(&config, now);
        let mut out: Vec<u64> = Vec::new();
        for step in steps {
            let (state, epoch) = (machine.state(), machine.epoch());
            match step {
                Step::Ask => match machine.ask(now) {
                    Ok(epoch) => {
                        out.push(epoch);
                        prop_assert_ne!(machine.state(), BreakerState::Open);
                        let probing = out.iter().filter(|sent| **sent == epoch).count();
                        prop_assert!(machine.state() == BreakerState::Closed || probing <= probes as usize);
                    }
                    Err(wait) => {
                        prop_assert_ne!(state, BreakerState::Closed);
                        prop_assert!(!wait.is_zero() && wait <= config.max_open.duration());
                        prop_assert_eq!(machine.state(), state);
                    }
                },
                Step::End(_, _) if out.is_empty() => {}
                Step::End(which, verdict) => {
                    let sent = out.swap_remove(which % out.len());
                    machine.settle(sent, verdict, now);
                    // Only the words about requests of this very state move it, and only a failure opens it.
                    if machine.epoch() != epoch {
                        prop_assert_eq!(sent, epoch);
                        let expected = match verdict {
                            Verdict::Failure => BreakerState::Open,
                            _ => BreakerState::Closed,
                        };
                        prop_assert_eq!((machine.state(), verdict == Verdict::Nothing), (expected, false));
                    }
                }
                Step::Pass(millis) => now += Duration::from_millis(millis),
            }
        }
        // The requests that are out are given up, and the backend is well from here on: it closes.
        for sent in out {
            machine.settle(sent, Verdict::Nothing, now);
        }
        now += config.max_open.duration();
        for _ in 0..probes {
            let sent = machine.ask(now);
            prop_assert!(sent.is_ok());
            machine.settle(sent.unwrap_or_default(), Verdict::Success, now);
        }
        prop_assert_eq!(machine.state(), BreakerState::Closed);
    }
}
