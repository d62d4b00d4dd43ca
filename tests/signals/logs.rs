//! Log lines: JSON where nobody looks, with the trace they belong to, there and at the collector.

use serde_json::{Value, json};

use super::{PARENT, trace};
use crate::harness::{Host, Receiver, plugins};

#[test]
fn lines_are_json_where_there_is_no_terminal_and_tell_the_trace() {
    let collector = Receiver::start();
    let plugins = plugins(&["echo", "invoices"]);
    let nobody = "http://127.0.0.1:1";
    let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={nobody}")]).start();
    let params = json!({"name": "list_invoices", "arguments": {"user_id": "u1"}, "_meta": {"traceparent": PARENT}});
    let failed = host.client().request("tools/call", params.clone());
    assert_eq!(failed.error(), "backend_unavailable");
    let lines: Vec<Value> = host.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_call: Vec<_> = lines.iter().filter(|line| line["trace_id"] == trace(PARENT)).collect();
    assert!(of_call.iter().any(|line| line["level"] == "WARN" && line["backend"] == "billing"), "{:#?}", host.log());
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["message"].is_string()), "{lines:#?}");
    drop(host);

    let (host, _plugins) = super::host(&collector, nobody, "");
    let host = host.start();
    host.client().request("tools/call", params);
    collector.wait("log of the call", |received| {
        received.logs.iter().find(|(of, _, attributes)| of == trace(PARENT) && attributes.contains_key("backend")).map(|_| ())
    });
}

#[test]
fn a_text_line_tells_the_trace_too() {
    let collector = Receiver::start();
    let (host, _plugins) = super::host(&collector, "http://127.0.0.1:1", "format = \"text\"\n");
    let host = host.start();
    let params = json!({"name": "list_invoices", "arguments": {"user_id": "u1"}, "_meta": {"traceparent": PARENT}});
    host.client().request("tools/call", params);
    assert!(
        host.log().lines().any(|line| line.contains("WARN") && line.ends_with(&format!("trace_id={}", trace(PARENT)))),
        "{}",
        host.log()
    );
}
