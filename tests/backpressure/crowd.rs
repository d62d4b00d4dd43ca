//! More callers than there is room for: each is answered, told when to come back, and gets in then.

use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::{Scene, handle, log, resolved};
use crate::harness::{Answer, Client, Host, plugins};

#[test]
fn whoever_comes_back_when_told_gets_in() {
    let scene = Scene::new("[admission]\nslots = 1\nqueue = 4\nsync_budget = \"100ms\"\n");
    let host = scene.host().start();
    scene.block(&host);
    let client = host.client();
    let queued: Vec<String> = (0..2).map(|n| handle(&client.call("echo", json!({"text": n.to_string()})))).collect();
    let refused = client.call("echo", json!({"text": "one too many"}));
    let envelope = refused.envelope();
    assert_eq!((&envelope["error"], &envelope["effect"]), (&json!("overloaded"), &json!("none")));
    let wait = envelope["retry_after_seconds"].as_u64().expect("a time to come back");
    assert!((1..=60).contains(&wait), "{wait}");
    scene.billing.signal("-CONT");
    queued.iter().for_each(|handle| drop(resolved(&client, handle)));
    let again = client.call("echo", json!({"text": "one too many"}));
    assert_eq!(again.structured(), &json!({"text": "one too many"}));
}

#[test]
fn whoever_calls_too_often_is_told_when_to_call_again_and_nobody_else_is() {
    let scene = Scene::new("[admission.principal]\ncalls = 1\ncalls_burst = 3\n[admission.principals.u2]\ncalls = 1000\n");
    let mut host = scene.host().start();
    let (client, other) = (host.client(), host.caller(&json!({"subject": "u2", "scopes": ["use:echo"]})));
    // Names that are tried count as well.
    let tried = ["echo", "echo", "no_such_tool"].map(|tool| client.call(tool, json!({"text": "hello"})));
    assert_eq!(tried[2].body["error"]["code"], json!(-32602), "{tried:?}");
    let mut refused = [(); 20].map(|()| client.call("echo", json!({"text": "hello"})));
    let early = refused.iter_mut().find(|answer| answer.body["result"]["isError"] == json!(true)).expect("it has called often");
    let envelope = early.envelope();
    assert_eq!((&envelope["error"], &envelope["effect"]), (&json!("rate_limited"), &json!("none")));
    assert_eq!((&envelope["retryable"], &envelope["retry_after_seconds"]), (&json!(true), &json!(1)));
    for _ in 0..20 {
        assert_eq!(other.call("echo", json!({"text": "hello"})).structured(), &json!({"text": "hello"}));
    }
    assert!(host.stop("-TERM").success());
    // However many there were, they are few records.
    let records = log(&host);
    assert!(records.rejected("rate_limited") <= 5, "{}", records.rejected("rate_limited"));
}

#[test]
fn what_waiting_calls_ask_for_has_its_limit_too() {
    let scene = Scene::new("[admission]\nslots = 1\nqueue_bytes = \"2KiB\"\nsync_budget = \"100ms\"\n");
    let host = scene.host().start();
    let blocking = scene.block(&host);
    let client = host.client();
    let queued = handle(&client.call("echo", json!({"text": "short"})));
    assert_eq!(client.call("echo", json!({"text": "x".repeat(2_000)})).error(), "overloaded");
    scene.billing.signal("-CONT");
    [queued, blocking].iter().for_each(|handle| drop(resolved(&client, handle)));
    // With room again, it may wait as well, or need not.
    let long = client.call("echo", json!({"text": "x".repeat(900)}));
    assert!(long.is_pending() || long.structured()["text"].is_string(), "{long:?}");
}

#[test]
fn a_crowd_that_is_told_pending_is_answered_to_the_last_and_nothing_happens_twice() {
    const CALLERS: usize = 16;
    const CALLS: usize = 12;
    let scene = Scene::new("[admission]\nslots = 2\nsync_budget = \"0s\"\n");
    let mut host = scene.host().start();
    let call = |caller: usize, client: &Client| {
        let mut created = BTreeSet::new();
        for n in 0..CALLS {
            let answer = match n % 3 {
                0 => client.call_keyed(
                    "create_invoice",
                    json!({"user_id": format!("c{caller}"), "amount_cents": 100 + n, "description": "crowd"}),
                    &format!("crowd-{caller}-{n}-000000"),
                ),
                _ => client.call("list_invoices", json!({"user_id": format!("c{caller}")})),
            };
            let answer = if answer.is_pending() { resolved(client, &handle(&answer)) } else { answer };
            match n % 3 {
                0 => assert!(created.insert(id_of(answer.structured())), "{}", answer.body),
                _ => {
                    let listed = answer.structured()["invoices"].as_array().expect("a list");
                    assert_eq!(listed.iter().map(id_of).collect::<BTreeSet<_>>(), created);
                }
            }
        }
        created.len()
    };
    let created: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let client = host.caller(&json!({"subject": format!("c{caller}")}));
                scope.spawn(move || call(caller, &client))
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("nobody was let down")).sum()
    });
    assert_eq!(created, CALLERS * CALLS / 3);
    assert!(host.stop("-TERM").success());
    let log = log(&host);
    assert_eq!(log.runs_of("create_invoice").len(), created);
    assert_eq!(log.runs_of("list_invoices").len(), CALLERS * CALLS - created);
}

fn id_of(invoice: &Value) -> String {
    invoice["id"].as_str().expect("an id").to_owned()
}

#[test]
fn one_caller_with_a_long_queue_does_not_hold_up_the_first_call_of_another() {
    let scene = Scene::new("[admission]\nslots = 2\nsync_budget = \"100ms\"\n");
    let host = scene.host().start();
    scene.billing.signal("-STOP");
    let greedy = host.client();
    let held: Vec<Answer> = (0..20).map(|_| greedy.call("list_invoices", json!({"user_id": "u1"}))).collect();
    let other = host.caller(&json!({"subject": "u2", "scopes": ["use:echo"]}));
    // The backend is still stopped: it is not that the queue drained.
    assert_eq!(other.call("echo", json!({"text": "hi"})).structured(), &json!({"text": "hi"}));
    scene.billing.signal("-CONT");
    held.iter().for_each(|answer| drop(resolved(&greedy, &handle(answer)).structured().clone()));
}

#[test]
fn a_call_that_no_budget_will_ever_allow_is_told_so_at_once() {
    let plugins = plugins(&["echo"]);
    let config = "[admission.principal]\nrate = 1000\nburst = 1000\ndebt = 1000\n";
    let host = Host::dev(plugins.path()).config(config).start();
    let envelope = host.client().call("echo", json!({"text": "hi"})).envelope();
    assert_eq!((&envelope["error"], &envelope["retryable"]), (&json!("fuel_exhausted"), &json!(false)), "{envelope}");
}

#[test]
fn limits_that_make_no_sense_keep_the_host_from_starting_and_are_named() {
    let plugins = plugins(&["echo"]);
    for (config, named) in [
        ("[admission]\nslots = 0\n", "slots"),
        ("[admission]\nslots = -1\n", "data.toml:2:9: invalid value: integer `-1`"),
        ("[admission]\nqueue = 0\n", "queue"),
        ("[admission]\nmax_fuel = 0\n", "max_fuel"),
        ("[admission.principal]\nrate = 0\n", "rate"),
        ("[admission.principal]\nburst = -5\n", "data.toml:2:9: invalid value: integer `-5`"),
        ("[admission]\nmax_wiat = \"1s\"\n", "max_wait"),
        ("[admission]\nslots = 100000\n", "max_instances"),
    ] {
        let said = Host::dev(plugins.path()).config(config).try_start().err().unwrap_or_else(|| panic!("{config} is served"));
        assert!(said.contains(named), "{config}: {said}");
    }
}
