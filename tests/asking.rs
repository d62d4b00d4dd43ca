//! Tools that ask whoever called: in the answer, behind a handle, durably; and what comes of asking badly (MCP 2026-07-28, multi
//! round-trip requests).

mod abuse;
mod answers;
mod durable;
mod handles;

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Client, Host, Started, plugins};

/// Every call outlasts its caller's patience.
const IMPATIENT: &str = "[admission]\nsync_budget = \"0s\"\n";

/// What a client declares that can be asked everything.
fn all() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {} })
}

/// The same, of one that takes tasks.
fn tasks() -> Value {
    let mut all = all();
    all["extensions"] = json!({ "io.modelcontextprotocol/tasks": {} });
    all
}

fn host_with(billing: &Billing, config: &str) -> (tempfile::TempDir, Host) {
    let plugins = plugins(&["asker"]);
    let config = format!("{config}\n[backends.billing]\nurl = \"{}\"\n", billing.url);
    let host = Host::dev(plugins.path()).config(&config);
    (plugins, host)
}

fn start(billing: &Billing, config: &str) -> (tempfile::TempDir, Started) {
    let (plugins, host) = host_with(billing, config);
    (plugins, host.start())
}

/// One call, in one or more runs.
#[derive(Clone)]
struct Asking {
    tool: &'static str,
    arguments: Value,
    key: Option<&'static str>,
    client: Value,
}

impl Asking {
    fn of(tool: &'static str, arguments: Value) -> Self {
        Self { tool, arguments, key: None, client: all() }
    }

    fn keyed(tool: &'static str, arguments: Value, key: &'static str) -> Self {
        Self { key: Some(key), ..Self::of(tool, arguments) }
    }

    fn from(self, client: Value) -> Self {
        Self { client, ..self }
    }

    /// The call with further parameters.
    fn send(&self, client: &Client, more: Value) -> Answer {
        let mut params = json!({ "name": self.tool, "arguments": self.arguments });
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": self.client });
        if let Some(key) = self.key {
            params["_meta"]["dev.tidegate/idempotency-key"] = json!(key);
        }
        client.request("tools/call", params)
    }

    /// The call as it is made first.
    fn first(&self, client: &Client) -> Answer {
        self.send(client, json!({}))
    }

    /// The call with answers to what `asked`.
    fn answer(&self, client: &Client, asked: &Answer, responses: Value) -> Answer {
        let state = &asked.body["result"]["requestState"];
        assert!(state.is_string(), "{asked:?}");
        self.send(client, json!({ "inputResponses": responses, "requestState": state }))
    }
}

/// The questions of an answer, by key.
#[track_caller]
fn questions(answer: &Answer) -> Value {
    let result = &answer.body["result"];
    assert_eq!(result["resultType"], "input_required", "{answer:?}");
    result["inputRequests"].clone()
}

fn yes() -> Value {
    json!({ "pay": { "action": "accept", "content": { "confirm": true } } })
}

fn word(n: usize, word: &str) -> Value {
    json!({ format!("word_{n}"): { "action": "accept", "content": { "word": word } } })
}

/// A request about a task.
fn ask_task(client: &Client, method: &str, mut params: Value) -> Answer {
    params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": tasks() });
    client.request(method, params)
}

/// The task once it is in one of these states.
#[track_caller]
fn task_that_is(client: &Client, id: &Value, states: &[&str]) -> Value {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let task = ask_task(client, "tasks/get", json!({ "taskId": id })).body["result"].clone();
        if states.iter().any(|state| task["status"] == *state) {
            return task;
        }
        assert!(std::time::Instant::now() < deadline, "{task}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
