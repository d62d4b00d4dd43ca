//! What becomes of the trace that a call comes with: above, below and beside it.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{OTHER, PARENT, ear, header, host, span, trace};
use crate::harness::{Answer, Billing, Client, PROTOCOL, Receiver, Started, command, plugins};

/// Lists invoices within these traces: that of `_meta`, and that of the HTTP headers.
fn list(client: &Client, meta: &Value, headers: &[(&str, &str)]) -> Answer {
    let params = json!({"name": "list_invoices", "arguments": {"user_id": "u1"}, "_meta": meta});
    client.request_with("tools/call", params, headers)
}

/// The `traceparent` of an answer.
fn echoed(answer: &Answer) -> &str {
    answer.body["result"]["_meta"]["traceparent"].as_str().unwrap_or_else(|| panic!("no trace: {answer:?}"))
}

/// What the audit log knows of a trace: its calls.
fn audited(host: &Started, trace: &str) -> Vec<String> {
    let data = host.data.display().to_string();
    let told = crate::harness::tidegate(&["audit", "query", "--data", &data, "--trace", trace, "--output", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    let calls = told["calls"].as_array().expect("calls");
    calls.iter().map(|call| call["call"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn one_call_is_one_trace_from_the_client_through_stages_and_guest_to_the_backend() {
    let (collector, (backend, heard)) = (Receiver::start(), ear());
    let (host, _plugins) = host(&collector, &backend, "");
    let host = host.start();
    let answer = list(&host.client(), &json!({"traceparent": PARENT, "tracestate": "vendor=1"}), &[]);
    let spans = collector.trace(trace(PARENT), 11);

    let server = &spans["tools/call list_invoices"];
    assert_eq!((server.parent.as_str(), server.kind, server.failed), (span(PARENT), 2, false), "{server:#?}");
    let expected = [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "list_invoices"),
        ("gen_ai.operation.name", "execute_tool"),
        ("jsonrpc.request.id", "1"),
        ("mcp.protocol.version", "2026-07-28"),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
    ];
    for (key, value) in expected {
        assert_eq!(server.attributes.get(key).map(String::as_str), Some(value), "{key}: {server:#?}");
    }
    let port: u16 = server.attributes["client.port"].parse().expect("a port");
    assert!(port > 0 && server.attributes["network.peer.port"] == server.attributes["client.port"], "{server:#?}");
    let call = &server.attributes["tidegate.call.id"];
    for stage in ["look_up", "validate", "authorize", "claim", "admit", "record_intent", "execute", "record_outcome"] {
        assert_eq!((&spans[stage].parent, spans[stage].kind), (&server.id, 1), "{stage}");
    }
    assert_eq!(spans["authorize"].attributes["tidegate.policy.decision"], "allow");
    let (guest, request) = (&spans["guest"], &spans["GET"]);
    assert_eq!(guest.parent, spans["execute"].id);
    assert_eq!(
        (&guest.attributes["tidegate.plugin.name"], &guest.attributes["tidegate.guest.ended"]),
        (&"invoices".into(), &"completed".into())
    );
    assert_eq!((&request.parent, request.kind), (&guest.id, 3));
    assert_eq!(
        (&request.attributes["http.response.status_code"], &request.attributes["tidegate.backend.name"]),
        (&"200".into(), &"billing".into())
    );

    // The backend is told where it stands, and the client where its call stood.
    let head = heard.recv().expect("it was asked");
    assert_eq!(header(&head, "traceparent"), Some(format!("00-{}-{}-01", trace(PARENT), request.id).as_str()));
    assert_eq!(header(&head, "tracestate"), Some("vendor=1"));
    assert_eq!(echoed(&answer), format!("00-{}-{}-01", trace(PARENT), server.id));
    assert_eq!(audited(&host, trace(PARENT)), [call.as_str()]);
}

#[test]
fn the_trace_of_the_headers_is_above_the_call_if_there_is_no_other_and_linked_if_there_is() {
    let collector = Receiver::start();
    let (host, _plugins) = host(&collector, &ear().0, "");
    let host = host.start();
    list(&host.client(), &json!({}), &[("traceparent", OTHER)]);
    let server = collector.trace(trace(OTHER), 11)["tools/call list_invoices"].clone();
    assert_eq!((server.parent.as_str(), server.links.len()), (span(OTHER), 0));

    list(&host.client(), &json!({"traceparent": PARENT}), &[("traceparent", OTHER)]);
    let server = collector.trace(trace(PARENT), 11)["tools/call list_invoices"].clone();
    assert_eq!((server.parent.as_str(), server.links), (span(PARENT), vec![format!("{}-{}", trace(OTHER), span(OTHER))]));
}

#[test]
fn what_is_no_trace_is_ignored_and_baggage_goes_no_further() {
    let (collector, (backend, heard)) = (Receiver::start(), ear());
    let (host, _plugins) = host(&collector, &backend, "");
    let host = host.start();
    let long = format!("01{}-{}", &PARENT[2..], "x".repeat(300));
    let state = format!("k={}", "v".repeat(600));
    for text in ["nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", &PARENT[..54], &long, ""] {
        let meta = json!({"traceparent": text, "tracestate": state, "baggage": "user=somebody"});
        let answer = list(&host.client(), &meta, &[("baggage", "user=somebody")]);
        assert!(answer.structured()["invoices"].is_array(), "{text}");
        assert_ne!(trace(echoed(&answer)), trace(PARENT), "{text}");
        let spans = collector.trace(trace(echoed(&answer)), 11);
        let server = &spans["tools/call list_invoices"];
        assert_eq!((server.parent.as_str(), server.links.len()), ("", 0), "{text}: it is the first of its trace");
        let head = heard.recv().expect("it was asked");
        assert_eq!((header(&head, "baggage"), header(&head, "tracestate")), (None, None), "{head}");
        assert_eq!(header(&head, "traceparent").map(trace), Some(trace(echoed(&answer))));
    }
    // Two headers are none: neither can be told to be the right one.
    let answer = list(&host.client(), &json!({}), &[("traceparent", OTHER), ("traceparent", PARENT)]);
    assert!(![trace(OTHER), trace(PARENT)].contains(&trace(echoed(&answer))));
}

#[test]
fn failed_calls_are_kept_and_others_are_not_if_nothing_is_sampled() {
    let collector = Receiver::start();
    let (host, _plugins) = host(&collector, &ear().0, "sample = 0.0\n");
    let host = host.start();
    let client = host.client();
    let well = list(&client, &json!({}), &[]);
    assert!(echoed(&well).ends_with("-00"), "the backend and whoever else asks is told that it is not sampled");
    let unknown = client.call("no_such_tool", json!({}));
    assert_eq!(unknown.body["error"]["code"], -32602);
    let mistaken = client.call("list_invoices", json!({"user_id": 7}));
    assert_eq!(mistaken.error(), "invalid_arguments");
    let failed = client.call("trap", json!({}));
    let spans = collector.trace(trace(echoed(&failed)), 10);
    let server = &spans["tools/call trap"];
    assert!(server.failed && server.parent.is_empty(), "{server:#?}");
    assert_eq!(
        (&server.attributes["error.type"], &server.attributes["tidegate.error.code"]),
        (&"tool_error".into(), &"plugin_trapped".into())
    );
    assert_eq!((&spans["guest"].attributes["tidegate.guest.ended"], spans["guest"].failed), (&"trapped".into(), true));
    // Whoever calls with a sampled trace has it kept.
    list(&client, &json!({"traceparent": PARENT}), &[]);
    collector.trace(trace(PARENT), 11);
    let kept: Vec<String> = collector.received(|received| received.spans.iter().map(|span| span.trace.clone()).collect());
    assert!(!kept.contains(&trace(echoed(&well)).to_owned()), "what went well and is not sampled is nobody's business");
    assert!(kept.iter().all(|kept| [trace(echoed(&failed)), trace(PARENT)].contains(&kept.as_str())), "{kept:?}");
}

#[test]
fn requests_that_nobody_answers_and_those_kept_back_are_failed_spans() {
    let collector = Receiver::start();
    // Nobody listens there any more.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (host, _plugins) = host(&collector, &format!("http://{dead}"), "");
    let host = host.start();
    let error_of = |n: u8| {
        let parent = format!("00-{n:032x}-{n:016x}-01");
        assert_eq!(list(&host.client(), &json!({"traceparent": parent}), &[]).error(), "backend_unavailable");
        let request = collector.trace(trace(&parent), 11)["GET"].clone();
        assert!(request.failed, "{request:#?}");
        request.attributes["error.type"].clone()
    };
    assert_eq!(error_of(1), "unreachable");
    // The breaker opens soon, and now and then lets one through.
    assert!((2..60).any(|n| error_of(n) == "breaker_open"));
}

#[test]
fn every_method_has_a_span_and_a_mistake_of_the_client_is_no_failure() {
    let collector = Receiver::start();
    let (host, _plugins) = host(&collector, &ear().0, "");
    let host = host.start();
    let client = host.client();
    let parent = |n: u8| format!("00-{n:032x}-{n:016x}-01");
    for (n, (method, name, code)) in
        [("tools/list", "tools/list", None), ("server/discover", "server/discover", None), ("no/such", "_OTHER", Some("-32601"))]
            .into_iter()
            .enumerate()
    {
        let parent = parent(u8::try_from(n + 1).expect("few"));
        client.request(method, json!({"_meta": {"traceparent": parent}}));
        let span = collector.trace(trace(&parent), 1)[name].clone();
        assert_eq!((span.parent.as_str(), span.kind, span.failed), (self::span(&parent), 2, false), "{span:#?}");
        assert_eq!(span.attributes.get("rpc.response.status_code").map(String::as_str), code, "{span:#?}");
        assert_eq!(span.attributes.get("error.type").map(String::as_str), code);
    }
    let parent = parent(9);
    let params = json!({"name": "no_such_tool", "arguments": {}, "_meta": {"traceparent": parent}});
    client.request("tools/call", params);
    let span = collector.trace(trace(&parent), 2)["tools/call"].clone();
    assert_eq!((&span.attributes["error.type"], span.failed), (&"-32602".to_owned(), false));
}

#[test]
fn what_a_guest_says_stands_in_its_span_and_is_bounded() {
    let collector = Receiver::start();
    let (host, _plugins) = host(&collector, &ear().0, "");
    let host = host.start();
    let params = json!({"name": "flood_log", "arguments": {}, "_meta": {"traceparent": PARENT}});
    host.client().request("tools/call", params);
    let guest = collector.trace(trace(PARENT), 10)["guest"].clone();
    assert!((1..=128).contains(&guest.events.len()), "{}", guest.events.len());
    assert!(guest.events.iter().all(|event| event["tidegate.log.message"].len() <= 1_024));
}

#[test]
fn a_call_that_waits_through_a_restart_goes_on_in_its_trace() {
    let (collector, billing) = (Receiver::start(), Billing::start(&[]));
    let config = "[admission]\nslots = 1\nsync_budget = \"0s\"\n";
    let (first, _plugins) = host(&collector, &billing.url, config);
    let mut first = first.start();
    billing.signal("-STOP");
    // One runs and waits for a backend that does not answer; the next has to wait for its turn.
    let blocking = first.client().call("list_invoices", json!({"user_id": "u1"}));
    assert!(blocking.is_pending(), "{blocking:?}");
    let params = json!({"name": "echo", "arguments": {"text": "later"}, "_meta": {"traceparent": PARENT}});
    let waiting = first.client().request("tools/call", params);
    assert!(waiting.is_pending(), "{waiting:?}");
    let server = collector.trace(trace(PARENT), 5)["tools/call echo"].clone();
    assert_eq!(server.attributes["tidegate.call.pending"], "queued");
    first.kill();
    billing.signal("-CONT");

    let (second, _plugins) = host(&collector, &billing.url, config);
    let _second = second.on(&first.data).start();
    let spans = collector.wait("resumed call", |received| {
        let of = received.spans.iter().filter(|span| span.trace == trace(PARENT) && span.name != "tools/call echo");
        let spans: std::collections::BTreeMap<_, _> = of.map(|span| (span.name.clone(), span.clone())).collect();
        (spans.contains_key("resume echo") && spans.contains_key("guest")).then_some(spans)
    });
    let resumed = &spans["resume echo"];
    assert_eq!((&resumed.parent, &resumed.attributes["tidegate.call.id"]), (&server.id, &server.attributes["tidegate.call.id"]));
    assert_eq!((&spans["execute"].parent, &spans["queue"].parent), (&resumed.id, &resumed.id));
}

#[test]
fn a_client_at_the_other_end_of_a_pipe_has_its_traces_too() {
    let (collector, plugins, data) = (Receiver::start(), plugins(&["echo"]), tempfile::tempdir().expect("a folder"));
    let parent = |n: u8| format!("00-{n:032x}-{n:016x}-01");
    let request = |id: u8, method: &str, mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": PROTOCOL, "io.modelcontextprotocol/clientCapabilities": {}, "traceparent": parent(id),
        });
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    };
    let mut host = command()
        .args(["run", "--plugins"])
        .arg(plugins.path())
        .arg("--data")
        .arg(data.path().join("data"))
        .env("TIDEGATE_TELEMETRY__OTLP", &collector.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tidegate starts");
    let mut stdin = host.stdin.take().expect("piped");
    writeln!(stdin, "{}", request(1, "tools/list", json!({}))).expect("it reads");
    writeln!(stdin, "{}", request(2, "tools/call", json!({"name": "echo", "arguments": {"text": "hi"}}))).expect("it reads");
    drop(stdin);
    // What is not sent yet is sent at the end.
    let ended = host.wait_with_output().expect("it ends");
    assert!(ended.status.success() && String::from_utf8_lossy(&ended.stdout).lines().count() == 2, "{ended:?}");
    for (n, name, count) in [(1, "tools/list", 1), (2, "tools/call echo", 10)] {
        let server = collector.trace(trace(&parent(n)), count)[name].clone();
        assert_eq!((server.parent.as_str(), server.kind), (span(&parent(n)), 2), "{server:#?}");
        assert_eq!(server.attributes["network.transport"], "pipe");
    }
}
