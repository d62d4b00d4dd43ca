//! The Python twin of the plugin `invoices` behaves like the one in Rust, from the client down to the backend.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Billing, Host, Started, foreign, plugins, twin};

/// A host that serves the twin, and its backend.
fn host(flags: &[&str]) -> (Started, Billing) {
    let billing = Billing::start(flags);
    let backend = format!("billing={}", billing.url);
    (Host::dev(twin()).with(&["--backend", &backend]).start(), billing)
}

#[test]
fn invoices_are_listed_read_created_and_paid() {
    let (host, billing) = host(&[]);
    let client = host.client();
    assert_eq!(client.tools(), ["create_invoice", "get_invoice", "list_invoices", "pay_invoice"]);
    let open = client.call("list_invoices", json!({"status": "open"}));
    let invoices = open.structured()["invoices"].as_array().expect("a list");
    assert!(invoices.len() >= 3 && invoices.iter().all(|row| row["user_id"] == "u1" && row["status"] == "open"), "{open:?}");
    let one = client.call("get_invoice", json!({"invoice_id": invoices[0]["id"]}));
    assert_eq!(one.structured(), &invoices[0]);

    let new = json!({"user_id": "u1", "amount_cents": 100, "description": "Ünïcode ☃"});
    let created = client.call_keyed("create_invoice", new, "python-create-0001");
    assert_eq!(created.structured()["description"], "Ünïcode ☃");
    let id = created.structured()["id"].clone();
    let pay = || client.call_keyed("pay_invoice", json!({"invoice_id": id}), "python-pay-0000001");
    let (first, second) = (pay(), pay());
    assert_eq!(first.structured()["status"], "paid");
    assert_eq!(first.structured(), second.structured());
    assert!(!first.is_replayed() && second.is_replayed());
    assert_eq!(billing.effects_on(id.as_str().expect("an id")).len(), 1);
    let again = client.call_keyed("pay_invoice", json!({"invoice_id": id}), "python-pay-0000002");
    assert_eq!(again.error(), "conflict", "in billing's words: {again:?}");
}

#[test]
fn a_caller_gets_only_its_own_rows_though_the_backend_returns_everyones() {
    let (host, billing) = host(&["--ignore-filters"]);
    let client = host.client();
    let all = client.call("list_invoices", json!({}));
    let rows = all.structured()["invoices"].as_array().expect("a list");
    assert!(rows.len() >= 3 && rows.iter().all(|row| row["user_id"] == "u1"), "{all:?}");
    assert!(!all.body.to_string().contains("\\\"u2\\\""), "not in the text either");
    let theirs = billing.invoice_of("u2");
    let (seen, absent) = (
        client.call("get_invoice", json!({"invoice_id": theirs})),
        client.call("get_invoice", json!({"invoice_id": "inv_none"})),
    );
    assert_eq!((seen.error().as_str(), &seen.envelope()["message"]), ("not_found", &absent.envelope()["message"]));
    let paid = client.call_keyed("pay_invoice", json!({"invoice_id": theirs}), "python-not-mine-01");
    assert_eq!((paid.error().as_str(), &paid.envelope()["effect"]), ("not_found", &json!("none")));
    let new = json!({"user_id": "u2", "amount_cents": 100});
    assert_eq!(client.call_keyed("create_invoice", new, "python-not-mine-02").error(), "permission_denied");
    assert!(billing.effects_on(&theirs).is_empty());
}

#[test]
fn arguments_that_do_not_fit_never_reach_the_plugin() {
    let (host, billing) = host(&[]);
    let client = host.client();
    for (tool, arguments) in [
        ("list_invoices", json!({"status": "lost"})),
        ("list_invoices", json!({"user": "u1"})),
        ("get_invoice", json!({})),
        ("create_invoice", json!({"user_id": "u1", "amount_cents": 0})),
        ("create_invoice", json!({"user_id": "", "amount_cents": 1})),
        ("create_invoice", json!({"user_id": "u1", "amount_cents": "1"})),
    ] {
        let answer = client.call_keyed(tool, arguments.clone(), "python-invalid-001");
        assert_eq!(answer.error(), "invalid_arguments", "{tool} {arguments}");
    }
    assert!(billing.payments().is_empty());
}

#[test]
fn a_backend_that_is_down_is_unavailable_and_never_an_empty_answer() {
    let (host, mut billing) = host(&[]);
    let client = host.client();
    billing.kill();
    let listed = client.call("list_invoices", json!({}));
    assert_eq!(listed.error(), "backend_unavailable", "{listed:?}");
    assert_eq!(listed.envelope()["retryable"], true);
    assert!(listed.envelope()["retry_after_seconds"].is_number(), "the host knows when to try again: {listed:?}");
}

#[test]
fn schemas_and_hints_say_what_those_of_the_rust_plugin_say() {
    let (host, billing) = host(&[]);
    let rust = plugins(&["invoices"]);
    let rust = Host::dev(rust.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
    let listed = |host: &Started| host.client().request("tools/list", json!({})).body["result"]["tools"].clone();
    let (ours, theirs) = (listed(&host), listed(&rust));
    let (ours, theirs) = (ours.as_array().expect("a list"), theirs.as_array().expect("a list"));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        for member in ["name", "title", "description", "annotations"] {
            assert_eq!(ours[member], theirs[member], "{member}");
        }
        assert_eq!(ours["inputSchema"]["required"], theirs["inputSchema"]["required"], "{}", ours["name"]);
        let properties = |schema: &Value| schema["properties"].as_object().expect("properties").clone();
        let (mine, other) = (properties(&ours["inputSchema"]), properties(&theirs["inputSchema"]));
        let names = |properties: &serde_json::Map<String, Value>| properties.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&mine), names(&other), "{}", ours["name"]);
        for (name, property) in &mine {
            for keyword in ["type", "enum", "minimum", "maximum", "minLength", "maxLength", "description"] {
                let (own, other) = (&property[keyword], &other[name][keyword]);
                assert!(own == other || other.is_null() || keyword == "description", "{name} {keyword}: {own} {other}");
            }
        }
    }
}

#[test]
fn the_trace_of_a_call_reaches_the_backend() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let backend = format!("billing=http://{}", listener.local_addr().expect("bound"));
    let host = Host::dev(twin()).with(&["--backend", &backend]).start();
    let heard = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a request");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
        let body = "{\"invoices\": [], \"truncated\": false}";
        let length = body.len();
        write!(reader.into_inner(), "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            .expect("sent");
        head
    });
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let params = json!({"name": "list_invoices", "arguments": {}});
    host.client().request_with("tools/call", params, &[("traceparent", parent)]).structured();
    let head = heard.join().expect("it was asked");
    assert!(head.to_lowercase().contains("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{head}");
    assert!(head.starts_with("GET /invoices?user_id=u1 "), "the row filter was used to ask for less: {head}");
}

#[test]
fn the_official_python_client_calls_it() {
    let (host, billing) = host(&[]);
    let invoice = billing.open_invoices("u1").remove(0);
    let pay = json!({"invoice_id": invoice, "idempotency_key": "official-python-01"}).to_string();
    let output = Command::new(&foreign().python)
        .arg(foreign().scripts.join("python_client.py"))
        .args(["--call", "list_invoices", "{}", "--call", "pay_invoice", &pay, "--call", "pay_invoice", &pay, "--url", &host.mcp])
        .stdin(Stdio::null())
        .output()
        .expect("the client runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let told: Value = said.lines().last().and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("{output:?}"));
    let calls = told["calls"].as_array().expect("calls");
    assert!(calls.iter().all(|call| call["isError"] == false), "the client validates answers against the schemas: {told}");
    assert_eq!(calls[1]["structured"]["status"], "paid");
    assert_eq!(calls[1]["structured"], calls[2]["structured"]);
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}
