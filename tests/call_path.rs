//! The main job: a client lists tools and calls them, through every stage, down to a real backend and back.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Billing, Host, POLL_TOOL, Started, plugins, tidegate, until_back};

/// A host that serves echo and invoices, and its backend.
fn demo(flags: &[&str]) -> (Started, Billing, tempfile::TempDir) {
    let billing = Billing::start(flags);
    let plugins = plugins(&["echo", "invoices"]);
    let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
    (host, billing, plugins)
}

#[test]
fn a_client_lists_the_tools_in_name_order_and_calls_them() {
    let (host, _billing, _plugins) = demo(&[]);
    let client = host.client();
    assert_eq!(client.tools(), ["create_invoice", "echo", "get_invoice", "list_invoices", "pay_invoice"]);
    assert_eq!(client.call("echo", json!({"text": "hello"})).structured(), &json!({"text": "hello"}));

    let open = client.call("list_invoices", json!({"user_id": "u1", "status": "open"}));
    let invoices = open.structured()["invoices"].as_array().expect("a list of invoices").clone();
    assert!(invoices.len() >= 3, "the seed holds at least three open invoices of u1: {invoices:?}");
    assert!(invoices.iter().all(|invoice| invoice["user_id"] == "u1" && invoice["status"] == "open"));

    let id = invoices[0]["id"].as_str().expect("an id");
    let one = client.call("get_invoice", json!({"invoice_id": id}));
    assert_eq!(one.structured().pointer("/id").or(one.structured().pointer("/invoice/id")), Some(&json!(id)));
}

#[test]
fn paying_twice_with_one_key_pays_once_and_says_the_same() {
    let (host, billing, _plugins) = demo(&[]);
    let (client, invoice) = (host.client(), billing.open_invoices("u1").remove(0));
    let first = client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "pay-once-0000001");
    let second = client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "pay-once-0000001");
    assert_eq!(first.structured(), second.structured());
    assert!(!first.is_replayed() && second.is_replayed());
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn a_replay_is_the_first_answer_to_the_byte_and_says_of_which_call() {
    let (host, billing, _plugins) = demo(&[]);
    let (client, invoice) = (host.client(), billing.open_invoices("u1").remove(0));
    // One that succeeds, and one that fails after billing was asked: both are answers to keep.
    let paid = |key| client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), key);
    for key in ["to-the-byte-00001", "to-the-byte-00002"] {
        let (first, second) = (paid(key), paid(key));
        let (first, second) = (&first.body["result"], &second.body["result"]);
        for member in ["content", "structuredContent", "isError"] {
            assert_eq!(first[member].to_string(), second[member].to_string(), "{member}");
        }
        let meta = &second["_meta"];
        assert_eq!((&meta["dev.tidegate/replayed"], &first["_meta"]["dev.tidegate/replayed"]), (&json!(true), &json!(null)));
        assert_eq!(meta["dev.tidegate/replay-of"], first["_meta"]["dev.tidegate/call-id"]);
        assert_ne!(meta["dev.tidegate/call-id"], first["_meta"]["dev.tidegate/call-id"]);
        let completed = humantime::parse_rfc3339(meta["dev.tidegate/completed-at"].as_str().expect("a time")).expect("RFC 3339");
        assert!(completed.elapsed().expect("it is past") < Duration::from_secs(60));
    }
    assert_eq!(paid("to-the-byte-00002").error(), "conflict", "the invoice was paid before with another key");
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn how_long_answers_are_kept_is_configured_and_told_with_every_tool() {
    let (billing, plugins) = (Billing::start(&[]), plugins(&["invoices"]));
    let host = Host::dev(plugins.path())
        .with(&["--backend", &format!("billing={}", billing.url)])
        .config("[ledger]\nkeep_answers = \"1s\"\n")
        .start();
    let (client, invoice) = (host.client(), billing.open_invoices("u1").remove(0));
    let listed = client.request("tools/list", json!({}));
    let tools = listed.body["result"]["tools"].as_array().expect("a list");
    let takes_keys = |tool: &&Value| tool["name"] != POLL_TOOL;
    let mut told = tools.iter().filter(takes_keys).map(|tool| &tool["_meta"]["dev.tidegate/idempotency-ttl-seconds"]);
    assert!(told.all(|seconds| *seconds == json!(1)), "{tools:?}");
    let pay = tools.iter().find(|tool| tool["name"] == "pay_invoice").expect("listed");
    let told = pay["inputSchema"]["properties"]["idempotency_key"]["description"].as_str().expect("a text");
    assert!(told.ends_with("is returned for 1s."), "{told}");

    let pay = || client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "short-lived-0001");
    pay().structured();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    // Once the answer is forgotten the key names a new call, which finds the invoice paid.
    while pay().is_replayed() {
        assert!(std::time::Instant::now() < deadline, "the answer is never forgotten");
        std::thread::yield_now();
    }
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn a_storm_of_retries_with_one_key_pays_once() {
    let (host, billing, _plugins) = demo(&["--latency", "100ms"]);
    let invoice = billing.open_invoices("u1").remove(0);
    let start = Arc::new(Barrier::new(16));
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (client, invoice, start) = (host.client(), invoice.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "storm-0000000001")
            })
        })
        .collect();
    let answers: Vec<_> = callers.into_iter().map(|caller| caller.join().expect("no panic")).collect();
    let paid = answers.iter().filter(|answer| answer.body["result"]["isError"] != json!(true)).count();
    let in_flight = answers.iter().filter(|answer| answer.body["result"]["isError"] == json!(true));
    assert!(paid >= 1);
    in_flight.for_each(|answer| assert_eq!(answer.error(), "idempotency_in_flight"));
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn the_key_may_come_as_argument_header_or_meta_but_must_agree() {
    let (host, billing, _plugins) = demo(&[]);
    let (client, invoice) = (host.client(), billing.open_invoices("u1").remove(0));
    let as_argument = client.call("pay_invoice", json!({"invoice_id": invoice, "idempotency_key": "one-key-00000001"}));
    as_argument.structured();
    let params = json!({"name": "pay_invoice", "arguments": {"invoice_id": invoice}});
    let as_header = client.request_with("tools/call", params, &[("idempotency-key", "\"one-key-00000001\"")]);
    assert!(as_header.is_replayed(), "{as_header:?}");
    let params = json!({"name": "pay_invoice", "arguments": {"invoice_id": invoice}, "_meta": {"dev.tidegate/idempotency-key": "another-key-0001"}});
    let disagreeing = client.request_with("tools/call", params, &[("idempotency-key", "\"one-key-00000001\"")]);
    assert_eq!(disagreeing.error(), "invalid_arguments");
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn a_write_without_a_key_is_told_how_to_bring_one() {
    let (host, billing, _plugins) = demo(&[]);
    let invoice = billing.open_invoices("u1").remove(0);
    let answer = host.client().call("pay_invoice", json!({"invoice_id": invoice}));
    assert_eq!(answer.error(), "idempotency_key_required");
    assert!(answer.envelope()["message"].as_str().expect("a message").contains("idempotency_key"));
    assert_eq!(answer.envelope()["effect"], "none");
    assert!(billing.effects_on(&invoice).is_empty());
}

#[test]
fn a_key_used_with_other_arguments_is_refused() {
    let (host, billing, _plugins) = demo(&[]);
    let (client, invoices) = (host.client(), billing.open_invoices("u1"));
    client.call_keyed("pay_invoice", json!({"invoice_id": invoices[0]}), "reused-000000001").structured();
    let reused = client.call_keyed("pay_invoice", json!({"invoice_id": invoices[1]}), "reused-000000001");
    assert_eq!(reused.error(), "idempotency_key_reused");
    assert!(billing.effects_on(&invoices[1]).is_empty());
}

#[test]
fn a_dead_backend_is_told_as_such_and_the_key_stays_free() {
    let (host, mut billing, _plugins) = demo(&[]);
    let (client, invoice) = (host.client(), billing.open_invoices("u1").remove(0));
    billing.kill();
    let read = client.call("list_invoices", json!({"user_id": "u1"}));
    assert_eq!(read.status, 200);
    assert_eq!(read.error(), "backend_unavailable");
    assert_eq!(read.envelope()["retry_after_seconds"], json!(30), "nobody knows when it will be back");
    let write = client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "dead-backend-001");
    assert_eq!((write.error().as_str(), write.envelope()["effect"].as_str()), ("backend_unavailable", Some("none")));
    let (status, detail) = host.admin("/readyz");
    assert_eq!(status, 200, "a dead backend is detail, not unreadiness");
    assert!(detail.contains("\"last\":\"unavailable\""), "{detail}");

    billing.restart();
    let again = || client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "dead-backend-001");
    let again = until_back(again);
    assert!(!again.is_replayed());
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn without_a_policy_everything_is_denied() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[policies]\ngenerate = false\n").start();
    let client = host.client();
    assert_eq!(client.tools(), Vec::<String>::new());
    let answer = client.call("echo", json!({"text": "hello"}));
    assert_eq!(answer.body["error"]["code"], json!(-32602), "a hidden tool looks like an unknown one: {answer:?}");
    let misfit = client.call("echo", json!({"text": 7}));
    assert_eq!(misfit.body["error"], answer.body["error"], "nor does its schema show in what is said of bad arguments");
}

#[test]
fn an_admins_wall_stops_what_the_manifest_permits() {
    let policies = tempfile::tempdir().expect("a temporary folder");
    let wall = "@id(\"wall\")\nforbid (principal, action == Tidegate::Action::\"echo\", resource);\n";
    std::fs::write(policies.path().join("wall.cedar"), wall).expect("it can be written");
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).with(&["--policies", &policies.path().display().to_string()]).start();
    let answer = host.client().call("echo", json!({"text": "hello"}));
    assert_eq!(answer.error(), "permission_denied");
}

#[test]
fn what_an_admin_hides_can_not_be_called_either_and_the_log_says_why() {
    let policies = tempfile::tempdir().expect("a temporary folder");
    let wall =
        "@id(\"veil\")\nforbid (principal, action == Tidegate::Action::\"list_tool\", resource == Tidegate::Tool::\"echo\");\n";
    std::fs::write(policies.path().join("veil.cedar"), wall).expect("it can be written");
    let plugins = plugins(&["echo", "invoices"]);
    let flags = ["--policies", &policies.path().display().to_string(), "--backend", "billing=http://127.0.0.1:9"];
    let mut host = Host::dev(plugins.path()).with(&flags).start();
    let (hidden, unknown) = (host.client().call("echo", json!({"text": "hello"})), host.client().call("ohce", json!({})));
    let told = |answer: &crate::harness::Answer| answer.body["error"]["message"].to_string().replace("ohce", "echo");
    assert_eq!((&hidden.body["error"]["code"], told(&hidden)), (&json!(-32602), told(&unknown)));
    host.stop("-TERM");
    let listed = tidegate(&["audit", "list", "--output", "json", "--data", &host.data.display().to_string()]);
    let records: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let of_echo: Vec<_> = records.iter().map(|record| &record["body"]).filter(|body| body["tool"] == "echo").collect();
    assert_eq!(of_echo.len(), 1, "it did not run: {records:?}");
    assert_eq!((&of_echo[0]["hidden"], &of_echo[0]["policies"]), (&json!(true), &json!(["veil"])));
}

#[test]
fn a_missing_scope_is_a_step_up_over_http() {
    let plugins = plugins(&["echo"]);
    let config = "[auth.anonymous]\nsubject = \"u2\"\nscopes = []\n";
    let host = Host::dev(plugins.path()).config(config).serve().start();
    let answer = host.client().call("echo", json!({"text": "hello"}));
    assert_eq!(answer.status, 403, "{answer:?}");
    let challenge = answer.headers["www-authenticate"].to_str().expect("text");
    assert!(challenge.contains("insufficient_scope") && challenge.contains("use:echo"), "{challenge}");
}

#[test]
fn arguments_that_do_not_fit_are_named_by_place() {
    let (host, _billing, _plugins) = demo(&[]);
    let answer = host.client().call("echo", json!({"text": 7}));
    assert_eq!(answer.error(), "invalid_arguments");
    assert!(answer.envelope()["message"].as_str().expect("a message").contains("/text"));
    let unknown = host.client().call("no_such_tool", json!({}));
    assert_eq!((unknown.status, &unknown.body["error"]["code"]), (200, &json!(-32602)));
}

#[test]
fn a_trace_id_goes_from_client_to_answer_and_envelope() {
    let (host, _billing, _plugins) = demo(&[]);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let meta = json!({"traceparent": format!("00-{trace}-00f067aa0ba902b7-01")});
    let good = host.client().request("tools/call", json!({"name": "echo", "arguments": {"text": "x"}, "_meta": meta}));
    assert!(good.body["result"]["_meta"]["traceparent"].as_str().expect("echoed").contains(trace));
    let bad = host.client().request("tools/call", json!({"name": "echo", "arguments": {}, "_meta": meta}));
    assert_eq!(bad.envelope()["trace_id"], json!(trace));
}

#[test]
fn more_calls_than_slots_and_queue_are_overloaded_with_a_time_to_come_back() {
    let billing = Billing::start(&["--latency", "1s"]);
    let plugins = plugins(&["invoices"]);
    let host = Host::dev(plugins.path())
        .with(&["--backend", &format!("billing={}", billing.url)])
        .config("[admission]\nslots = 1\nqueue = 1\nmax_wait = \"30s\"\n")
        .start();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let client = host.client();
            std::thread::spawn(move || client.call("list_invoices", json!({"user_id": "u1"})))
        })
        .collect();
    let answers: Vec<_> = callers.into_iter().map(|caller| caller.join().expect("no panic")).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body["result"]["isError"] == json!(true)).collect();
    assert_eq!(refused.len(), 6, "one runs, one waits: {answers:?}");
    for answer in refused {
        assert_eq!(answer.error(), "overloaded");
        assert!(answer.envelope()["retry_after_seconds"].as_u64().expect("a time") >= 1);
    }
}

#[test]
fn a_call_that_costs_more_than_its_callers_budget_ever_holds_is_refused_for_good() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[admission.principal]\nburst = 1_000_000\ndebt = 500_000\n").start();
    let refused = host.client().call("echo", json!({"text": "hello"}));
    assert_eq!(refused.error(), "fuel_exhausted");
    let envelope = refused.envelope();
    assert_eq!((&envelope["retryable"], &envelope["effect"]), (&json!(false), &json!("none")));
    let message = envelope["message"].as_str().expect("a message");
    assert!(
        message.contains("10000000 fuel") && message.contains("1500000") && message.contains("admission.principal"),
        "{message}"
    );
}

#[test]
fn ctrl_c_lets_a_running_call_end_and_exits_with_zero() {
    let (mut host, billing, _plugins) = demo(&["--latency", "700ms"]);
    let (client, invoice) = (host.client(), billing.open_invoices("u1").remove(0));
    let caller = std::thread::spawn({
        let invoice = invoice.clone();
        move || client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "draining-0000001")
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !host.admin("/readyz").1.contains("\"running\":1") {
        assert!(std::time::Instant::now() < deadline, "the call never ran");
        std::thread::yield_now();
    }
    assert!(host.stop("-INT").success());
    caller.join().expect("no panic").structured();
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}
