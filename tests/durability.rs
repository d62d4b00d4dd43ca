//! What survives `kill -9`: no call runs without a durable intent, no intent stays without an outcome, nothing is paid twice.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Billing, Host, Started, plugins, tidegate};

/// The audit records in the data folder of a stopped host.
fn records(host: &Started) -> Vec<Value> {
    let listed = tidegate(&["audit", "list", "--output", "json", "--data", &host.data.display().to_string()]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    serde_json::from_slice::<Value>(&listed.stdout).expect("JSON").as_array().expect("an array").clone()
}

/// How the call ended that belongs to the only intent for `tool`.
fn outcome_of(records: &[Value], tool: &str) -> Value {
    let of_kind = |kind: &'static str| move |record: &&Value| record["kind"] == kind;
    let intent = records.iter().filter(of_kind("intent")).find(|record| record["body"]["tool"] == tool).expect("an intent");
    let outcomes: Vec<_> = records.iter().filter(of_kind("outcome")).filter(|record| record["call"] == intent["call"]).collect();
    assert_eq!(outcomes.len(), 1, "exactly one outcome for {intent}: {outcomes:?}");
    outcomes[0]["body"]["ended"].clone()
}

fn wait_until_running(host: &Started, calls: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !host.admin("/readyz").1.contains(&format!("\"running\":{calls}")) {
        assert!(Instant::now() < deadline, "the calls never ran: {}", host.admin("/readyz").1);
        std::thread::yield_now();
    }
}

/// Waits until the backend was asked, so that the intent is certainly durable.
fn wait_until_asked(host: &Started) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !host
        .admin("/metrics")
        .1
        .lines()
        .any(|line| line.starts_with("tidegate_stage_seconds_count{stage=\"record_intent\"}") && !line.ends_with(" 0"))
    {
        assert!(Instant::now() < deadline, "no intent was recorded");
        std::thread::yield_now();
    }
}

#[test]
fn a_write_cut_off_by_a_crash_is_unknown_and_never_run_again_by_itself() {
    let new = json!({"user_id": "u1", "amount_cents": 100});
    let billing = Billing::start(&["--latency", "60s"]);
    let plugins = plugins(&["invoices"]);
    let backend = format!("billing={}", billing.url);
    let mut host = Host::dev(plugins.path()).with(&["--backend", &backend]).start();
    let caller = std::thread::spawn({
        let (client, new) = (host.client(), new.clone());
        move || client.call_keyed("create_invoice", new, "crash-00000000001")
    });
    wait_until_running(&host, 1);
    wait_until_asked(&host);
    host.kill();
    assert!(caller.join().is_err(), "the host died before it could answer");

    let mut again = Host::dev(plugins.path()).with(&["--backend", &backend]).on(&host.data).start();
    let retried = again.client().call_keyed("create_invoice", new, "crash-00000000001");
    assert_eq!(retried.error(), "outcome_unknown");
    assert_eq!(retried.envelope()["retryable"], json!(false));
    assert_eq!(retried.envelope()["effect"], json!("possible"), "an agent that reads `none` would pay again with a new key");
    assert!(again.stop("-TERM").success());
    assert_eq!(outcome_of(&records(&again), "create_invoice"), json!("outcome_unknown"));
}

#[test]
fn a_read_cut_off_by_a_crash_is_closed_as_interrupted() {
    let billing = Billing::start(&["--latency", "60s"]);
    let plugins = plugins(&["invoices"]);
    let backend = format!("billing={}", billing.url);
    let mut host = Host::dev(plugins.path()).with(&["--backend", &backend]).start();
    let opened = |log: &str| log.lines().find(|line| line.contains("the ledger is open")).expect("it says so").to_owned();
    assert!(opened(&host.log()).contains("recovery"), "it tells how long that took, also if it was nothing");
    let caller = std::thread::spawn({
        let client = host.client();
        move || client.call("list_invoices", json!({"user_id": "u1"}))
    });
    wait_until_running(&host, 1);
    wait_until_asked(&host);
    host.kill();
    assert!(caller.join().is_err(), "the host died before it could answer");

    let mut again = Host::dev(plugins.path()).with(&["--backend", &backend]).on(&host.data).start();
    assert!(again.stop("-TERM").success());
    assert_eq!(outcome_of(&records(&again), "list_invoices"), json!("interrupted"));
    assert!(opened(&again.log()).contains("closed the calls that the last stop cut off"), "{}", opened(&again.log()));
}

#[test]
fn payments_acknowledged_before_a_crash_are_replayed_after_it() {
    let billing = Billing::start(&[]);
    let plugins = plugins(&["invoices"]);
    let backend = format!("billing={}", billing.url);
    let mut host = Host::dev(plugins.path()).with(&["--backend", &backend]).start();
    let invoices = billing.open_invoices("u1");
    let key = |invoice: &str| format!("before-crash-{invoice}");
    let first: Vec<_> = invoices
        .iter()
        .map(|invoice| {
            host.client().call_keyed("pay_invoice", json!({"invoice_id": invoice}), &key(invoice)).structured().clone()
        })
        .collect();
    host.kill();
    let again = Host::dev(plugins.path()).with(&["--backend", &backend]).on(&host.data).start();
    for (invoice, first) in invoices.iter().zip(first) {
        let replayed = again.client().call_keyed("pay_invoice", json!({"invoice_id": invoice}), &key(invoice));
        assert!(replayed.is_replayed());
        assert_eq!(replayed.structured(), &first);
        assert_eq!(billing.effects_on(invoice).len(), 1);
    }
}

#[test]
fn a_caller_that_hangs_up_does_not_stop_a_running_payment() {
    let billing = Billing::start(&["--latency", "500ms"]);
    let plugins = plugins(&["invoices"]);
    let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
    let invoice = billing.open_invoices("u1").remove(0);
    let mut socket =
        std::net::TcpStream::connect(host.mcp.trim_start_matches("http://").trim_end_matches("/mcp")).expect("it listens");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "pay_invoice", "arguments": {"invoice_id": invoice},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            "dev.tidegate/idempotency-key": "hang-up-000000001"}}})
    .to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: pay_invoice\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut socket, request.as_bytes()).expect("sent");
    wait_until_running(&host, 1);
    drop(socket);
    let deadline = Instant::now() + Duration::from_secs(30);
    while billing.effects_on(&invoice).is_empty() {
        assert!(Instant::now() < deadline, "the payment was lost with its caller");
        std::thread::yield_now();
    }
    wait_until_running(&host, 0);
    let retried = host.client().call_keyed("pay_invoice", json!({"invoice_id": invoice}), "hang-up-000000001");
    assert!(retried.is_replayed(), "{retried:?}");
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn the_audit_log_of_a_host_that_worked_and_crashed_verifies() {
    let plugins = plugins(&["echo"]);
    let mut host = Host::dev(plugins.path()).start();
    for round in 0..20 {
        host.client().call("echo", json!({"text": round.to_string()})).structured();
    }
    host.kill();
    let mut again = Host::dev(plugins.path()).on(&host.data).start();
    again.client().call("echo", json!({"text": "after"})).structured();
    assert!(again.stop("-TERM").success());
    let verified = tidegate(&["audit", "verify", "--data", &again.data.display().to_string()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let records = records(&again);
    let count = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((count("intent"), count("outcome")), (21, 21), "no intent without exactly one outcome");
}

#[test]
fn demo_processes_end_with_a_host_that_is_killed() {
    // With its own backend, as a user starts it.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut host = Host::dev(&crate::harness::workspace().join("plugins")).on(&folder.path().join("data")).start();
    let pid = host.pid().to_string();
    let children = Command::new("pgrep").args(["-P", &pid]).output().expect("pgrep runs");
    let children: Vec<String> = String::from_utf8_lossy(&children.stdout).split_whitespace().map(str::to_owned).collect();
    assert_eq!(children.len(), 1, "the backend is the only lasting child");
    host.kill();
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::path::Path::new(&format!("/proc/{}", children[0])).exists() {
        assert!(Instant::now() < deadline, "the backend outlived its host");
        std::thread::yield_now();
    }
}
