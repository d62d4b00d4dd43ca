//! Messages: what is refused before anything acts on it, and how.

use serde_json::{Value, json};

use super::{exchange, legacy, modern};
use crate::harness::{Host, plugins};

#[test]
fn what_is_no_message_is_refused_in_words_every_client_reads() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let bomb = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{}{}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let repeated = "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"a\",\"text\":\"b\"}}}";
    let inexact = "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"n\":123456789012345678901234567890}}}";
    for (body, code, id) in [
        ("{ not json", -32700, Value::Null),
        ("", -32700, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"x\",\"params\":{\"n\":1e999}}", -32700, Value::Null),
        ("[]", -32600, Value::Null),
        ("[{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\"}]", -32600, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"tools/list\"}", -32600, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"tools/list\"}", -32600, Value::Null),
        ("{\"jsonrpc\":\"1.0\",\"id\":7,\"method\":\"tools/list\"}", -32600, json!(7)),
        ("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}", -32600, Value::Null),
        (&bomb, -32600, json!(7)),
        (repeated, -32600, json!(7)),
        (inexact, -32600, json!(7)),
    ] {
        let response = exchange(&host, &[], body);
        assert_eq!((response.status, response.error_code()), (400, code), "{body:.80}: {response:?}");
        assert_eq!(response.json()["id"], id, "{body:.80}");
        assert!(response.head.contains("content-type: application/json\r\n"), "{}", response.head);
    }
    let said = exchange(&host, &[], repeated).json()["error"]["message"].to_string();
    assert!(said.contains("`text` stands twice"), "{said}");
    assert_eq!(host.client().call("echo", json!({"text": "still here"})).structured(), &json!({"text": "still here"}));
}

#[test]
fn text_that_is_not_utf_8_is_not_json() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let mut raw = super::Raw::connect(&host.mcp);
    raw.post(&[], b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}");
    let response = raw.response();
    assert_eq!((response.status, response.error_code()), (400, -32700), "{response:?}");
}

#[test]
fn a_known_method_with_wrong_parameters_is_not_an_unknown_method() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let headers = |method| [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", "echo")];
    for (method, params) in [
        ("tools/call", json!({})),
        ("tools/call", json!({"name": 7})),
        ("tools/call", json!({"name": "echo", "arguments": []})),
        ("tools/call", json!({"name": "echo", "arguments": {"text": "a"}, "_meta": {"progressToken": 1.5}})),
        ("tools/call", json!({"name": "echo", "arguments": {"text": "a"}, "_meta": {"dev.tidegate/idempotency-key": 1}})),
        ("tools/list", json!({"cursor": 7})),
        ("tools/list", json!({"cursor": "not ours"})),
        ("subscriptions/listen", json!({"notifications": 1})),
    ] {
        let response = exchange(&host, &headers(method), &modern(3, method, params));
        assert_eq!((response.error_code(), &response.json()["id"]), (-32602, &json!(3)), "{method}: {response:?}");
    }
    let response = exchange(&host, &[], &legacy(3, "initialize", json!({})));
    assert_eq!(response.error_code(), -32602, "{response:?}");
    let array = "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":[1]}";
    assert_eq!(exchange(&host, &[], array).error_code(), -32602);
}

#[test]
fn an_unknown_tool_and_an_unknown_method_are_told_apart() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let client = host.client();
    let tool = client.call("no_such_tool", json!({}));
    assert_eq!((tool.status, &tool.body["error"]["code"]), (200, &json!(-32602)), "{tool:?}");
    for method in [
        "no/such/method",
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
        "logging/setLevel",
        "tasks/list",
        "tasks/result",
        "initialize",
        "ping",
    ] {
        let params = json!({"name": "x", "uri": "x", "taskId": "x", "level": "info"});
        let params = if method.starts_with("resources/") || method.starts_with("tasks/") { json!({}) } else { params };
        let extra = if method == "prompts/get" { &[] } else { &[("mcp-name", "x")][..] };
        let answer = client.request_with(method, params, extra);
        assert_eq!((answer.status, &answer.body["error"]["code"]), (404, &json!(-32601)), "{method}: {answer:?}");
    }
}

#[test]
fn headers_that_disagree_with_the_message_are_refused() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let call = modern(5, "tools/call", json!({"name": "echo", "arguments": {"text": "a"}}));
    let version = ("mcp-protocol-version", "2026-07-28");
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "echo"));
    for (headers, code) in [
        (vec![method, name], -32020),
        (vec![version, name], -32020),
        (vec![version, method], -32020),
        (vec![("mcp-protocol-version", "2025-11-25"), method, name], -32020),
        (vec![version, ("mcp-method", "tools/list"), name], -32020),
        (vec![version, method, ("mcp-name", "other")], -32020),
        (vec![version, method, name, ("mcp-name", "other")], -32020),
        (vec![version, method, name, ("idempotency-key", "a"), ("idempotency-key", "b")], -32602),
        (vec![version, method, name, ("idempotency-key", "\"half")], -32602),
    ] {
        let response = exchange(&host, &headers, &call);
        assert_eq!((response.status, response.error_code()), (400, code), "{headers:?}: {response:?}");
        assert_eq!(response.json()["id"], json!(5));
    }
    let response = exchange(&host, &[version, method, ("mcp-name", "=?base64?ZWNobw==?=")], &call);
    assert_eq!(response.status, 200, "{response:?}");
}

#[test]
fn versions_nobody_speaks_and_missing_metadata_are_refused() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let future = modern(5, "tools/list", json!({})).replace("2026-07-28", "2099-01-01");
    let response = exchange(&host, &[("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")], &future);
    assert_eq!((response.status, response.error_code()), (400, -32022), "{response:?}");
    let data = &response.json()["error"]["data"];
    assert_eq!(data["requested"], json!("2099-01-01"));
    assert!(data["supported"].as_array().is_some_and(|versions| versions.contains(&json!("2026-07-28"))), "{data}");

    let response = exchange(&host, &[("mcp-protocol-version", "1999-01-01")], &legacy(5, "tools/list", json!({})));
    assert_eq!((response.status, response.error_code()), (400, -32022), "{response:?}");

    for method in ["tools/list", "tools/call"] {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", "echo")];
        let bare = legacy(5, method, json!({"name": "echo", "arguments": {"text": "a"}}));
        let response = exchange(&host, &headers, &bare);
        assert_eq!((response.status, response.error_code()), (400, -32602), "{method}: {response:?}");
        let half = modern(5, method, json!({"name": "echo"})).replace("io.modelcontextprotocol/clientCapabilities", "x/y");
        let response = exchange(&host, &headers, &half);
        assert_eq!((response.status, response.error_code()), (400, -32602), "{method}: {response:?}");
    }
}
