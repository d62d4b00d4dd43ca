//! Calls as tasks, beyond what the official suite checks (ext-tasks 2026-07-28).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{exchange, legacy};
use crate::harness::{Answer, Client, Host, Started, plugins};

/// Every call outlasts its caller's patience.
const IMPATIENT: &str = "[admission]\nsync_budget = \"0s\"\n";

const TASKS: &str = "io.modelcontextprotocol/tasks";

fn start(config: &str) -> (tempfile::TempDir, Started) {
    let plugins = plugins(&["echo", "conformance"]);
    let host = Host::dev(plugins.path()).with(&["--profile", "conformance"]).config(config).start();
    (plugins, host)
}

fn echoing(config: &str) -> (tempfile::TempDir, Started) {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config(config).start();
    (plugins, host)
}

/// A request of a client that takes tasks.
fn ask(client: &Client, method: &str, mut params: Value) -> Answer {
    params["_meta"] = json!({"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}});
    client.request(method, params)
}

fn call(client: &Client, tool: &str, arguments: Value) -> Value {
    ask(client, "tools/call", json!({"name": tool, "arguments": arguments})).body["result"].clone()
}

fn task_id(created: &Value) -> String {
    assert_eq!(created["resultType"], "task", "{created}");
    created["taskId"].as_str().expect("an id").to_owned()
}

/// Asks until the task is no longer worked on.
fn ended(client: &Client, id: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let task = ask(client, "tasks/get", json!({"taskId": id})).body["result"].clone();
        if task["status"] != "working" {
            return task;
        }
        assert!(Instant::now() < deadline, "{task}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_call_that_outlasts_its_callers_patience_is_a_task_whose_id_is_the_calls() {
    let (_plugins, host) = echoing(IMPATIENT);
    let client = host.client();
    let created = call(&client, "echo", json!({"text": "later"}));
    let id = task_id(&created);
    assert_eq!((&created["status"], created.get("content"), created.get("result")), (&json!("working"), None, None));
    assert_eq!(created["_meta"]["dev.tidegate/call-id"], json!(id));
    assert!(created["ttlMs"].as_u64() >= Some(1000) && created["pollIntervalMs"].as_u64() >= Some(1), "{created}");
    let done = ended(&client, &id);
    assert_eq!((&done["resultType"], &done["status"], &done["taskId"]), (&json!("complete"), &json!("completed"), &json!(id)));
    assert_eq!(done["result"]["structuredContent"], json!({"text": "later"}), "{done}");
    assert_eq!(done["result"]["_meta"]["dev.tidegate/polled"], true);
    // Whichever way one asks, it is the same call.
    let polled = client.call("get_call_result", json!({"call_id": id}));
    assert_eq!(polled.structured(), &json!({"text": "later"}));
}

#[test]
fn nobody_is_told_a_task_who_did_not_declare_them_with_this_very_request() {
    let (_plugins, host) = echoing(IMPATIENT);
    let params = json!({"name": "echo", "arguments": {"text": "a"}});
    let undeclared = host.client().request("tools/call", params.clone()).body["result"].clone();
    assert_eq!((&undeclared["resultType"], undeclared.get("taskId")), (&json!("complete"), None), "{undeclared}");
    let mut declared = params;
    declared["_meta"] = json!({"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}});
    let old = exchange(&host, &[("mcp-protocol-version", "2025-11-25")], &legacy(1, "tools/call", declared)).json();
    let told: Value = serde_json::from_str(old["result"]["content"][0]["text"].as_str().expect("text")).expect("JSON");
    assert_eq!(
        (&told["status"], old["result"].get("taskId")),
        (&json!("pending"), None),
        "the handshake knows other tasks: {old}"
    );
}

#[test]
fn whoever_did_not_declare_tasks_may_not_ask_about_them() {
    let (_plugins, host) = echoing(IMPATIENT);
    let client = host.client();
    let id = task_id(&call(&client, "echo", json!({"text": "a"})));
    for (method, params) in [
        ("tasks/get", json!({"taskId": id})),
        ("tasks/cancel", json!({"taskId": id})),
        ("tasks/update", json!({"taskId": id, "inputResponses": {}})),
    ] {
        let refused = client.request(method, params);
        assert_eq!((refused.status, &refused.body["error"]["code"]), (400, &json!(-32021)), "{refused:?}");
        let required = &refused.body["error"]["data"]["requiredCapabilities"];
        assert_eq!(required, &json!({"extensions": {TASKS: {}}}));
    }
}

#[test]
fn a_task_is_nobody_elses_and_looks_to_them_like_none() {
    let (_plugins, host) = echoing(IMPATIENT);
    let id = task_id(&call(&host.client(), "echo", json!({"text": "secret"})));
    ended(&host.client(), &id);
    let other = host.caller(&json!({"subject": "u2", "scopes": ["use:echo"]}));
    let unknown = "call_00000000000000000000000000000000";
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let told = |id: &str| {
            let answer = ask(&other, method, json!({"taskId": id, "inputResponses": {}}));
            (answer.status, answer.body["error"].clone())
        };
        assert_eq!(told(&id).1["code"], -32602);
        assert_eq!(told(&id), told(unknown), "{method}");
        assert_eq!(told(&id), told("no id at all"), "{method}");
    }
    assert_eq!(ended(&host.client(), &id)["result"]["structuredContent"], json!({"text": "secret"}));
}

#[test]
fn headers_repeat_the_id_of_the_task() {
    let (_plugins, host) = echoing(IMPATIENT);
    let client = host.client();
    let id = task_id(&call(&client, "echo", json!({"text": "a"})));
    let meta = json!({"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}});
    let wrong = client.request_with("tasks/get", json!({"taskId": id, "name": "else", "_meta": meta}), &[]);
    assert_eq!((wrong.status, &wrong.body["error"]["code"]), (400, &json!(-32020)), "{wrong:?}");
}

#[test]
fn a_slow_tools_call_is_a_task_at_once_and_can_be_called_off() {
    let (_plugins, host) = start("");
    let client = host.client();
    let begun = Instant::now();
    let id = task_id(&call(&client, "slow_compute", json!({"seconds": 60})));
    assert!(begun.elapsed() < Duration::from_secs(5), "sooner than the sync budget is over");
    let cancelled = ask(&client, "tasks/cancel", json!({"taskId": id})).body["result"].clone();
    assert_eq!((&cancelled["resultType"], cancelled.get("taskId")), (&json!("complete"), None), "{cancelled}");
    let task = ended(&client, &id);
    assert_eq!((&task["status"], task.get("result"), task.get("error")), (&json!("cancelled"), None, None), "{task}");
    // Once more, and again: it stays so.
    assert_eq!(ask(&client, "tasks/cancel", json!({"taskId": id})).body["result"]["resultType"], "complete");
    assert_eq!(ended(&client, &id)["status"], "cancelled");
}

#[test]
fn an_answer_nobody_waits_for_is_heard_and_ignored() {
    let (_plugins, host) = echoing(IMPATIENT);
    let client = host.client();
    let id = task_id(&call(&client, "echo", json!({"text": "a"})));
    let answers = json!({"taskId": id, "inputResponses": {"nobody-asked": {"action": "accept"}, "odd": {"ignored": true}}});
    let heard = ask(&client, "tasks/update", answers).body["result"].clone();
    assert_eq!((&heard["resultType"], heard.get("status")), (&json!("complete"), None), "{heard}");
    assert_eq!(ended(&client, &id)["status"], "completed");
}
