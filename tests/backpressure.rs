//! Calls that have to wait: told *pending* with a handle, run when their turn comes, through restarts, once.

mod crowd;
mod handles;
mod restart;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Client, Host, Log, Started, plugins};

/// One call at a time, and callers who do not wait long.
const ONE_SLOT: &str = "[admission]\nslots = 1\nsync_budget = \"100ms\"\n";

/// How long a call may take to come to its end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host with a backend that can be stopped, so that whatever runs there lasts as long as a test wants.
struct Scene {
    billing: Billing,
    plugins: tempfile::TempDir,
    data: tempfile::TempDir,
    config: String,
}

impl Scene {
    fn new(config: &str) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        Self { billing: Billing::start(&[]), plugins: plugins(&["echo", "invoices"]), data, config: config.to_owned() }
    }

    fn host(&self) -> Host {
        let backend = format!("billing={}", self.billing.url);
        Host::dev(self.plugins.path()).on(&self.data()).with(&["--backend", &backend]).config(&self.config)
    }

    fn data(&self) -> std::path::PathBuf {
        self.data.path().join("data")
    }

    /// Stops the backend, and has a call wait for it that takes the one slot there is. Answers with its handle.
    fn block(&self, host: &Started) -> String {
        self.billing.signal("-STOP");
        let blocking = host.client().call("list_invoices", json!({"user_id": "u1"}));
        assert_eq!(pending(&blocking)["state"], "running");
        handle(&blocking)
    }
}

/// What a caller is told whose call goes on.
fn pending(answer: &Answer) -> Value {
    let result = &answer.body["result"];
    assert_eq!((&result["isError"], &result["_meta"]["dev.tidegate/pending"]), (&json!(false), &json!(true)), "{}", answer.body);
    let text: Value = result["content"][0]["text"].as_str().and_then(|text| text.parse().ok()).expect("JSON in the text");
    assert_eq!(text["status"], "pending");
    text
}

/// The handle in it.
fn handle(answer: &Answer) -> String {
    pending(answer)["call_id"].as_str().expect("a handle").to_owned()
}

fn poll(client: &Client, handle: &str) -> Answer {
    client.call("get_call_result", json!({"call_id": handle}))
}

/// Asks with a handle until the call has ended.
fn resolved(client: &Client, handle: &str) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = poll(client, handle);
        if !answer.is_pending() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{handle} did not end: {}", answer.body);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until something is so.
fn until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads the log of a host that has ended, which has to be whole.
fn log(host: &Started) -> Log {
    let (log, problems) = Log::of(&host.data);
    assert!(problems.is_empty(), "{problems:?}");
    log
}
