//! Reads with idempotency keys: replayed if they ended, free again if they did not.

use super::*;

#[test]
fn a_read_with_a_key_is_replayed_and_one_without_is_asked_anew() {
    let (mut host, billing, plugins) = demo(&[], "");
    let client = host.client();
    let open = json!({ "user_id": "u1", "status": "open" });
    let first = client.call_keyed("list_invoices", open.clone(), "read-key-0000001");
    assert!(!first.is_replayed());
    let invoice = first.structured()["invoices"][0]["id"].as_str().expect("an id").to_owned();
    pay(&client, &invoice, "read-key-0000002").structured();

    let replayed = client.call_keyed("list_invoices", open.clone(), "read-key-0000001");
    assert!(replayed.is_replayed(), "at once: its answer was durable before it was given: {replayed:?}");
    assert_eq!(replayed.body["result"]["content"].to_string(), first.body["result"]["content"].to_string());
    let in_header = json!({ "name": "list_invoices", "arguments": open });
    let in_header = client.request_with("tools/call", in_header, &[("idempotency-key", "\"read-key-0000001\"")]);
    assert!(in_header.is_replayed());
    let anew = client.call("list_invoices", open.clone());
    assert_eq!(anew.structured()["invoices"].as_array().map(Vec::len), Some(billing.open_invoices("u1").len()));
    let other = client.call_keyed("list_invoices", json!({ "user_id": "u1" }), "read-key-0000001");
    assert_eq!(other.error(), "idempotency_key_reused");

    host.kill();
    let again = serve(&billing, &plugins, "").on(&host.data).start();
    assert!(again.client().call_keyed("list_invoices", open, "read-key-0000001").is_replayed(), "a promise is a promise");
}

#[test]
fn a_reads_schema_says_nothing_of_keys() {
    let (host, _billing, _plugins) = demo(&[], "");
    let listed = host.client().request("tools/list", json!({}));
    let tools = listed.body["result"]["tools"].as_array().expect("a list").clone();
    let takes_key = |tool: &Value| tool["inputSchema"]["properties"].get("idempotency_key").is_some();
    for tool in tools {
        assert_eq!(takes_key(&tool), tool["annotations"]["readOnlyHint"] == json!(false), "{tool}");
    }
}

#[test]
fn a_read_that_failed_or_was_cut_off_gives_its_key_back() {
    let (mut host, mut billing, plugins) = demo(&["--latency", "60s"], "");
    let all = json!({ "user_id": "u1" });
    let failed = host.client().call_keyed("list_invoices", all.clone(), "read-key-0000003");
    assert_eq!((failed.error().as_str(), &failed.envelope()["retryable"]), ("backend_timeout", &json!(true)));

    let caller = std::thread::spawn({
        let (client, all) = (host.client(), all.clone());
        move || client.call_keyed("list_invoices", all, "read-key-0000003")
    });
    wait_until_running(&host, 1);
    host.kill();
    assert!(caller.join().is_err(), "the host died before it could answer");
    billing.kill();
    billing.restart();
    let again = serve(&billing, &plugins, "").on(&host.data).start();
    let answer = again.client().call_keyed("list_invoices", all, "read-key-0000003");
    assert!(!answer.is_replayed() && answer.structured()["invoices"].is_array());
}
