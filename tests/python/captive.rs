//! A plugin in Python that misbehaves gets no more of the machine than one in Rust, and takes nobody with it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Host, Started, snake};

/// One host for all tests that run at the moment.
struct Cage {
    host: Started,
    billing: Billing,
}

fn cage() -> Arc<Cage> {
    static CAGE: Mutex<Weak<Cage>> = Mutex::new(Weak::new());
    let mut cage = CAGE.lock().unwrap_or_else(PoisonError::into_inner);
    cage.upgrade().unwrap_or_else(|| {
        let billing = Billing::start(&[]);
        let backend = format!("billing={}", billing.url);
        let host = Host::dev(snake()).with(&["--backend", &backend]).start();
        let started = Arc::new(Cage { host, billing });
        *cage = Arc::downgrade(&started);
        started
    })
}

/// Calls, and asks until the call has ended.
fn call(cage: &Cage, tool: &str, arguments: Value) -> Answer {
    cage.host.client().try_call(json!({"name": tool, "arguments": arguments})).expect("the host lives")
}

#[test]
fn it_sees_nothing_of_the_machine_and_opens_no_door() {
    let there = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    there.set_nonblocking(true).expect("a socket");
    let datagrams = std::net::UdpSocket::bind(there.local_addr().expect("bound")).expect("the same port, over UDP");
    datagrams.set_nonblocking(true).expect("a socket");
    let port = there.local_addr().expect("bound").port();
    let answer = call(&cage(), "surroundings", json!({"address": "127.0.0.1", "port": port}));
    let seen = answer.structured();
    assert_eq!((&seen["environment"], &seen["stdin"]), (&json!({}), &json!("")));
    assert!(seen["arguments"].as_array().expect("a list").iter().all(|argument| argument == ""), "{seen}");
    let attempts = seen["attempts"].as_object().expect("attempts");
    assert!(attempts.len() >= 11, "{attempts:?}");
    for (attempt, result) in attempts {
        assert!(!result.as_str().expect("in words").starts_with("open"), "{attempt}: {result}");
    }
    for (attempt, error) in [("connect", "PermissionError"), ("listen", "PermissionError"), ("send", "PermissionError")] {
        assert_eq!(attempts[attempt], error, "{attempts:?}");
    }
    assert!(there.accept().is_err() && datagrams.recv(&mut [0; 8]).is_err(), "nobody knocked");
}

#[test]
fn no_two_calls_draw_the_same_luck_though_each_begins_where_the_build_ended() {
    let cage = cage();
    let mut drawn = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let answer = call(&cage, "roll", json!({}));
        let luck = answer.structured()["drawn"].as_array().expect("a list").clone();
        assert_eq!(luck.len(), 5);
        drawn.extend(luck.iter().map(ToString::to_string));
        let clock: f64 = answer.structured()["clock"][0].as_str().and_then(|time| time.parse().ok()).expect("a time");
        assert!(clock > 1.7e9, "the clock runs: {clock}");
    }
    assert_eq!(drawn.len(), 15, "{drawn:?}");
}

#[test]
fn what_it_says_reaches_log_and_caller() {
    let cage = cage();
    let answer = call(&cage, "speak", json!({"words": ["one", "zwölf"]}));
    let content = &answer.body["result"]["content"];
    assert_eq!(content[0], json!({"type": "text", "text": "one zwölf"}));
    assert_eq!(content[1], json!({"type": "image", "data": "cG5n", "mimeType": "image/png"}));
    let facts = content[2]["text"].as_str().expect("a text");
    assert!(facts.starts_with("u1 ") && facts.ends_with(" 1 None"), "{facts}");
    assert_eq!(answer.body["result"]["structuredContent"], Value::Null);
}

#[test]
fn each_way_to_misbehave_has_its_word() {
    let cage = cage();
    for (how, words) in [
        ("crash", &["plugin_trapped"][..]),
        ("recurse", &["plugin_trapped"]),
        ("exit", &["plugin_trapped"]),
        ("hoard", &["memory_exceeded"]),
        ("spin", &["fuel_exhausted", "deadline_exceeded"]),
        ("sleep", &["deadline_exceeded"]),
        ("strange", &["failed"]),
        ("refuse", &["rate_limited"]),
        ("lie", &["output_invalid"]),
    ] {
        let answer = call(&cage, "misbehave", json!({"how": how}));
        assert!(words.contains(&answer.error().as_str()), "{how}: {answer:?}");
        assert!(!answer.body.to_string().contains("hunter2"), "callers learn the code, operators the traceback: {answer:?}");
        if how == "refuse" {
            assert_eq!(answer.envelope()["retry_after_seconds"], 7);
        }
    }
    call(&cage, "roll", json!({})).structured();
}

#[test]
fn requests_go_to_its_backend_and_nowhere_else() {
    let cage = cage();
    let own = call(&cage, "fetch", json!({"url": "http://billing/healthz"}));
    assert_eq!(own.structured()["status"], 200, "{own:?}");
    let sent = cage.host.client().call_keyed("send", json!({"url": "http://billing/invoices"}), "snake-sends-000001");
    assert!(sent.structured()["bytes"].as_u64() > Some(10), "{sent:?}");
    for (arguments, word) in [
        (json!({"url": "http://169.254.169.254/latest/"}), "permission_denied"),
        (json!({"url": "https://billing/"}), "backend_unavailable"),
        (json!({"url": "http://other/"}), "permission_denied"),
        (json!({"url": "ftp://billing/"}), "invalid_arguments"),
        (json!({"url": "http://billing/healthz", "headers": {"bad name": "x"}}), "invalid_arguments"),
        (json!({"url": "http://billing/invoices", "max_body_bytes": 10}), "failed"),
    ] {
        let answer = call(&cage, "fetch", arguments.clone());
        assert_eq!(answer.error(), word, "{arguments}: {answer:?}");
    }
    let big = call(&cage, "fetch", json!({"url": "http://billing/invoices", "method": "PUT", "size": 300_000}));
    assert!(big.structured()["status"].as_u64() >= Some(400), "the body was sent whole, and billing refused it: {big:?}");
    assert!(!cage.billing.open_invoices("u1").is_empty());
}

#[test]
fn what_it_asks_ends_its_run_and_the_answers_are_there_in_the_next() {
    let cage = cage();
    let client = cage.host.client();
    let call = |more: Value| {
        let mut params = json!({"name": "inquire", "arguments": {}});
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        params["_meta"] = json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "roots": {}}});
        client.request("tools/call", params).body["result"].clone()
    };
    let mut asked = call(json!({}));
    for (key, answer) in [
        ("person", json!({"action": "accept", "content": {"name": "Ada"}})),
        ("folders", json!({"roots": [{"uri": "file:///home/ada"}]})),
        ("sure", json!({"action": "accept", "content": {"confirm": true}})),
    ] {
        assert!(asked["inputRequests"][key].is_object(), "{key}: {asked}");
        asked = call(json!({"inputResponses": {key: answer}, "requestState": asked["requestState"]}));
    }
    assert_eq!(asked["content"][0]["text"], "Ada ['file:///home/ada'] True", "{asked}");
    let nobody = client.call("inquire", json!({}));
    let text = nobody.body["result"]["content"][0]["text"].as_str().expect("a text");
    assert!(text.starts_with("swallowed Failure") && text.contains("declares the capability `elicitation`"), "{nobody:?}");
}
