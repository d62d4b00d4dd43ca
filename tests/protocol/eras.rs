//! Both protocol eras on one endpoint, without sessions.

use serde_json::{Value, json};

use super::{exchange, legacy};
use crate::harness::{Host, POLL_TOOL, plugins};

#[test]
fn discovery_says_what_is_spoken_and_what_is_offered_and_nothing_more() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let result = host.client().request("server/discover", json!({})).body["result"].clone();
    let versions = result["supportedVersions"].as_array().expect("versions");
    assert!(versions.contains(&json!("2026-07-28")) && versions.contains(&json!("2025-11-25")), "{result}");
    assert_eq!(
        result["capabilities"],
        json!({"extensions": {"io.modelcontextprotocol/tasks": {}}, "tools": {"listChanged": true}})
    );
    assert_eq!(result["cacheScope"], json!("private"));
    assert!(result["ttlMs"].as_u64().is_some_and(|ttl| ttl > 0), "{result}");
}

#[test]
fn the_tool_list_is_the_same_every_time_and_for_its_caller_alone() {
    let plugins = plugins(&["conformance"]);
    let host = Host::dev(plugins.path()).with(&["--profile", "conformance"]).start();
    let client = host.client();
    let first = client.request("tools/list", json!({})).body["result"].clone();
    let mut names: Vec<_> = first["tools"].as_array().expect("tools").iter().map(|tool| tool["name"].clone()).collect();
    assert_eq!(names.pop(), Some(json!(POLL_TOOL)), "the host's own tool stands behind those of the plugins");
    assert!(names.len() > 5 && names.is_sorted_by_key(Value::to_string), "{names:?}");
    assert_eq!(client.request("tools/list", json!({})).body["result"], first);
    assert_eq!(first["cacheScope"], json!("private"));
    assert!(first["ttlMs"].as_u64().is_some_and(|ttl| ttl > 0), "{first}");
}

#[test]
fn every_modern_result_says_what_it_is_and_who_sent_it() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let client = host.client();
    for answer in [
        client.request("server/discover", json!({})),
        client.request("tools/list", json!({})),
        client.call("echo", json!({"text": "a"})),
        client.call("echo", json!({"text": 7})),
    ] {
        let result = &answer.body["result"];
        assert_eq!(result["resultType"], json!("complete"), "{answer:?}");
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], json!("tidegate"), "{answer:?}");
        assert!(answer.headers.get("mcp-session-id").is_none());
    }
}

#[test]
fn a_handshake_client_is_served_without_a_session() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    for version in ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"] {
        let client = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}});
        let response = exchange(&host, &[], &legacy(1, "initialize", client));
        let result = response.json()["result"].clone();
        assert_eq!(result["protocolVersion"], json!(version), "{response:?}");
        // Without a session nothing can be announced, so nothing is promised.
        assert_eq!(result["capabilities"], json!({"tools": {}}));
        assert!(!response.head.contains("mcp-session-id"), "{}", response.head);

        let headers = [("mcp-protocol-version", version)];
        let initialized = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
        let response = exchange(&host, &headers, initialized);
        assert_eq!((response.status, response.body.as_str()), (202, ""), "{response:?}");

        assert_eq!(exchange(&host, &headers, &legacy(2, "ping", json!({}))).json()["result"], json!({}));
        let list = exchange(&host, &headers, &legacy(3, "tools/list", json!({}))).json()["result"].clone();
        assert_eq!((&list["tools"][0]["name"], list.get("resultType"), list.get("ttlMs")), (&json!("echo"), None, None));
        let call = legacy(4, "tools/call", json!({"name": "echo", "arguments": {"text": "hi"}, "task": {"ttl": 1000}}));
        let result = exchange(&host, &headers, &call).json()["result"].clone();
        assert_eq!((&result["structuredContent"], result.get("resultType")), (&json!({"text": "hi"}), None), "{result}");
    }
}

#[test]
fn a_handshake_that_names_the_stateless_protocol_is_answered_with_the_newest_that_has_one() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    for version in ["2026-07-28", "1.0"] {
        let client = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "odd", "version": "1"}});
        let result = exchange(&host, &[], &legacy(1, "initialize", client)).json()["result"].clone();
        assert_eq!(result["protocolVersion"], json!("2025-11-25"), "{version}");
    }
}

#[test]
fn a_tool_that_needs_more_of_its_client_says_what() {
    let plugins = plugins(&["conformance"]);
    let host = Host::dev(plugins.path()).with(&["--profile", "conformance"]).start();
    let lacking = host.client().call("test_missing_capability", json!({}));
    assert_eq!((lacking.status, &lacking.body["error"]["code"]), (400, &json!(-32021)), "{lacking:?}");
    assert_eq!(lacking.body["error"]["data"]["requiredCapabilities"], json!({"sampling": {}}));
    let meta = json!({"io.modelcontextprotocol/clientCapabilities": {"sampling": {}}});
    let able = host.client().request("tools/call", json!({"name": "test_missing_capability", "arguments": {}, "_meta": meta}));
    assert_eq!(able.body["result"]["isError"], json!(false), "{able:?}");
}

#[test]
fn the_callers_trace_comes_back_with_the_answer() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace_of = |meta: Value, headers: &[(&str, &str)]| {
        let params = json!({"name": "echo", "arguments": {"text": "a"}, "_meta": meta});
        let answer = host.client().request_with("tools/call", params, headers);
        let traceparent =
            answer.body["result"]["_meta"]["traceparent"].as_str().unwrap_or_else(|| panic!("no trace: {answer:?}"));
        traceparent.split('-').nth(1).expect("a trace id").to_owned()
    };
    assert_eq!(trace_of(json!({"traceparent": parent}), &[("traceparent", header)]), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace_of(json!({"traceparent": "nonsense"}), &[("traceparent", header)]), "0af7651916cd43dd8448eb211c80319c");
    let fresh = trace_of(json!({}), &[("traceparent", "nonsense")]);
    assert!(fresh.len() == 32 && fresh != "0".repeat(32), "{fresh}");
}
