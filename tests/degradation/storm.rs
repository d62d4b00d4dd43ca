//! Callers who go on while the backend stumbles through every fault there is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::harness::Log;

/// Callers at once.
const CALLERS: usize = 6;

/// What a caller may be told of a backend in trouble.
const CODES: [&str; 6] =
    ["backend_unavailable", "backend_timeout", "rate_limited", "outcome_unknown", "failed", "idempotency_in_flight"];

/// What one key stood for, and what became of it.
#[derive(Default)]
struct Told {
    result: bool,
    unknown: bool,
    /// The answer for good: it failed, and may have changed something.
    failed: bool,
}

impl Told {
    fn note(&mut self, key: &str, answer: &Answer) {
        assert_eq!(answer.status, 200, "{key}: {answer:?}");
        if answer.body["result"]["isError"] == json!(false) {
            answer.structured();
            self.result = true;
            return;
        }
        let (code, envelope) = (answer.error(), answer.envelope());
        assert!(CODES.contains(&code.as_str()), "{key}: {answer:?}");
        assert!(!self.result, "{key}: its caller has the result already: {answer:?}");
        self.unknown |= code == "outcome_unknown";
        self.failed |= code != "outcome_unknown" && envelope["effect"] == json!("possible");
    }
}

#[test]
fn through_every_fault_each_key_has_one_effect_at_most_and_nobody_is_told_of_one_that_is_not() {
    let mut demo = Demo::new(&[], "timeout = \"150ms\"\nbreaker = { open = \"20ms\", max_open = \"60ms\" }\n");
    let is_over = AtomicBool::new(false);
    let (results, failures) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let told: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (demo, is_over, results, failures) = (&demo, &is_over, &results, &failures);
                scope.spawn(move || work(demo, caller, is_over, results, failures))
            })
            .collect();
        let until = |more: usize, count: &AtomicUsize| {
            let (from, deadline) = (count.load(Ordering::Relaxed), Instant::now() + PATIENCE);
            while count.load(Ordering::Relaxed) < from + more {
                assert!(Instant::now() < deadline, "callers hang");
                thread::sleep(Duration::from_millis(1));
            }
        };
        until(20, &results);
        for fault in
            ["hang", "busy", "unavailable", "gateway", "garbage", "truncated", "headers", "hang changes", "gateway changes"]
        {
            demo.billing.fails(fault);
            until(50, &failures);
            demo.billing.fails("");
            until(20, &results);
        }
        is_over.store(true, Ordering::Relaxed);
        callers.into_iter().flat_map(|caller| caller.join().expect("no caller panics")).collect()
    });
    // The backend is well: whoever asks again gets the result, or the word that nobody knows.
    until_back(|| demo.list());
    let mut by_key = BTreeMap::new();
    for (key, mut told) in told {
        told.note(&key, &settled(|| demo.create(&key)));
        by_key.insert(key, told);
    }
    let invoices = demo.billing.invoices_from(1);
    for (key, told) in &by_key {
        let created = invoices.iter().filter(|invoice| invoice["description"] == json!(key)).count();
        assert!(created <= 1, "{key} was created {created} times");
        assert!(told.result || told.unknown || told.failed, "{key} came to nothing");
        assert!(!told.result || created == 1, "{key} was told to be created, and was not");
    }
    for invoice in invoices.iter().filter(|invoice| by_key.contains_key(invoice["description"].as_str().unwrap_or_default())) {
        let id = invoice["id"].as_str().expect("an id");
        let paid = settled(|| demo.pay(id, &format!("pay-{id}-00000000")));
        let effects = demo.billing.effects_on(id).len();
        assert!(effects <= 1 && (paid.body["result"]["isError"] == json!(true) || effects == 1), "{id}: {effects}");
    }
    assert!(demo.host.stop("-TERM").success());
    let (_, problems) = Log::of(&demo.host.data);
    assert!(problems.is_empty(), "{problems:?}");
}

/// Creates invoices and pays them, until told to end, and counts how that goes. Answers what was told about each key of a creation.
fn work(
    demo: &Demo,
    caller: usize,
    is_over: &AtomicBool,
    results: &AtomicUsize,
    failures: &AtomicUsize,
) -> BTreeMap<String, Told> {
    let mut told = BTreeMap::<String, Told>::new();
    let mut n = 0;
    while !is_over.load(Ordering::Relaxed) {
        let key = format!("storm-{caller}-{n:08}");
        let created = demo.create(&key);
        told.entry(key.clone()).or_default().note(&key, &created);
        let is_created = created.body["result"]["isError"] == json!(false);
        if is_created {
            let id = created.structured()["id"].as_str().expect("an id").to_owned();
            Told::default().note(&id, &demo.pay(&id, &format!("pay-{id}-00000000")));
        }
        if is_created { results } else { failures }.fetch_add(1, Ordering::Relaxed);
        if is_created || created.envelope()["effect"] != json!("none") {
            n += 1;
        } else {
            // What certainly changed nothing is asked for again.
            thread::sleep(Duration::from_millis(5));
        }
    }
    told
}

/// The answer once nothing keeps the backend from being asked.
fn settled(call: impl Fn() -> Answer) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = call();
        let is_error = answer.body["result"]["isError"] == json!(true);
        if !is_error || answer.envelope()["effect"] != json!("none") {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
