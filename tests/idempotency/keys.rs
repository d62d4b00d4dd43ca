//! What burns a key of a write and what does not, and what a second call with it is told.

use super::*;
use crate::harness::tidegate;

#[test]
fn what_never_ran_never_burns_a_key() {
    let (host, billing, _plugins) = demo(&["--latency", "700ms"], "[admission]\nslots = 1\nqueue = 1\n");
    let (client, invoices) = (host.client(), billing.open_invoices("u1"));
    let key = "never-ran-000001";
    let invalid = client.call_keyed("pay_invoice", json!({ "invoice_id": 7 }), key);
    assert_eq!(invalid.error(), "invalid_arguments");
    // Others take the only slot and the only place in the queue.
    let callers: Vec<_> = [1, 2]
        .map(|other| {
            let (client, invoice) = (host.client(), invoices[other].clone());
            std::thread::spawn(move || pay(&client, &invoice, &format!("never-ran-00000{}", other + 1)))
        })
        .into();
    wait_until(&host, "\"queued\":1");
    let refused = pay(&client, &invoices[0], key);
    assert_eq!((refused.error().as_str(), &refused.envelope()["effect"]), ("overloaded", &json!("none")));
    for caller in callers {
        caller.join().expect("no panic").structured();
    }
    wait_until_running(&host, 0);
    let paid = pay(&client, &invoices[0], key);
    assert!(!paid.is_replayed());
    paid.structured();
}

#[test]
fn a_call_the_policies_deny_does_not_burn_its_key() {
    let (billing, plugins) = (Billing::start(&[]), plugins(&["invoices"]));
    let policies = tempfile::tempdir().expect("a temporary folder");
    let wall = policies.path().join("wall.cedar");
    std::fs::write(&wall, "@id(\"wall\") forbid(principal, action == Tidegate::Action::\"pay_invoice\", resource);")
        .expect("writable");
    let walled = &["--policies", &policies.path().display().to_string()];
    let mut host = serve(&billing, &plugins, "").with(walled).start();
    let invoice = billing.open_invoices("u1").remove(0);
    let denied = pay(&host.client(), &invoice, "denied-000000001");
    assert_eq!(denied.error(), "permission_denied");
    assert!(host.stop("-TERM").success());
    std::fs::write(wall, "// No wall any more.\n").expect("writable");
    let host = serve(&billing, &plugins, "").with(walled).on(&host.data).start();
    let paid = pay(&host.client(), &invoice, "denied-000000001");
    assert!(!paid.is_replayed());
    paid.structured();
}

#[test]
fn a_write_that_failed_before_it_asked_for_a_change_gives_its_key_back() {
    let (host, mut billing, _plugins) = demo(&["--latency", "60s"], "");
    // Billing never even says what the invoice is like.
    let failed = pay(&host.client(), "any", "too-early-000001");
    assert_eq!((failed.error().as_str(), &failed.envelope()["effect"]), ("backend_timeout", &json!("none")));
    assert_eq!(failed.envelope()["retryable"], json!(true));
    billing.kill();
    billing.restart();
    let invoice = billing.open_invoices("u1").remove(0);
    let paid = pay(&host.client(), &invoice, "too-early-000001");
    assert!(!paid.is_replayed(), "the key is free, for other arguments too");
    paid.structured();
}

#[test]
fn a_write_that_was_stopped_before_it_asked_for_a_change_gives_its_key_back() {
    let (billing, plugins) = (Billing::start(&[]), plugins(&["invoices"]));
    let manifest = plugins.path().join("invoices/plugin.toml");
    let written = std::fs::read_to_string(&manifest).expect("it is there");
    let starved = written.replace("fuel = 10_000_000", "fuel = 1_000");
    assert_ne!(written, starved);
    std::fs::write(&manifest, starved).expect("writable");
    let mut host = serve(&billing, &plugins, "").start();
    let invoice = billing.open_invoices("u1").remove(0);
    let stopped = pay(&host.client(), &invoice, "starved-00000001");
    assert_eq!((stopped.error().as_str(), &stopped.envelope()["effect"]), ("fuel_exhausted", &json!("none")));
    assert!(host.stop("-TERM").success());

    std::fs::write(&manifest, written).expect("writable");
    let host = serve(&billing, &plugins, "").on(&host.data).start();
    let paid = pay(&host.client(), &invoice, "starved-00000001");
    assert!(!paid.is_replayed());
    paid.structured();
}

#[test]
fn a_failure_after_the_change_was_asked_for_is_the_answer_for_good() {
    let (host, billing, _plugins) = demo(&["--fault", "unavailable changes"], "");
    let client = host.client();
    let create = || client.call_keyed("create_invoice", json!({ "user_id": "u1", "amount_cents": 4321 }), "for-good-0000001");
    let failed = create();
    assert_eq!(failed.error(), "backend_unavailable");
    let envelope = failed.envelope();
    assert_eq!((&envelope["retryable"], &envelope["effect"]), (&json!(false), &json!("possible")), "{envelope}");
    assert_eq!(envelope.get("retry_after_seconds"), None);
    billing.fails("");
    let again = create();
    assert!(again.is_replayed());
    assert_eq!(again.envelope(), envelope);
}

#[test]
fn whoever_comes_with_the_key_of_a_call_that_runs_gets_its_handle_and_a_time_to_come_back() {
    let (host, billing, _plugins) = demo(&["--latency", "500ms"], "");
    let invoice = billing.open_invoices("u1").remove(0);
    let caller = std::thread::spawn({
        let (client, invoice) = (host.client(), invoice.clone());
        move || pay(&client, &invoice, "in-flight-000001")
    });
    wait_until_running(&host, 1);
    let second = loop {
        let second = pay(&host.client(), &invoice, "in-flight-000001");
        if second.is_pending() {
            break second;
        }
        // Until its intent is durable, there is no handle to give.
        assert_eq!(second.error(), "idempotency_in_flight");
        let envelope = second.envelope();
        assert_eq!((&envelope["effect"], &envelope["retryable"]), (&json!("possible"), &json!(true)));
        assert!(envelope["retry_after_seconds"].as_u64().is_some_and(|seconds| (1..=30).contains(&seconds)), "{envelope}");
    };
    let pending = second.structured();
    assert!(pending["retry_after_seconds"].as_u64().is_some_and(|seconds| (1..=30).contains(&seconds)), "{pending}");
    let first = caller.join().expect("no panic");
    first.structured();
    assert_eq!(pending["call_id"], call_id(&first));
}

#[test]
fn a_retry_of_a_payment_whose_answer_was_erased_with_its_caller_is_not_told_that_nothing_happened() {
    let (host, billing, _plugins) = demo(&[], "");
    let invoice = billing.open_invoices("u1").remove(0);
    pay(&host.client(), &invoice, "erased-000000001").structured();
    let data = host.data.display().to_string();
    let erased = tidegate(&["audit", "erase", "--subject", "u1", "--reason", "asked by letter", "--data", &data]);
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));

    let told = pay(&host.client(), &invoice, "erased-000000001");
    let envelope = told.envelope();
    assert_eq!((told.error().as_str(), &envelope["effect"]), ("outcome_unknown", &json!("possible")));
    assert_eq!(envelope["retryable"], json!(false));
    assert!(!envelope["message"].to_string().contains("ask again"), "nobody can read it ever again: {envelope}");
}
