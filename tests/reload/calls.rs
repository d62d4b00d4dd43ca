//! What calls notice of a swap: nothing. They end on what they started on, and those that wait start on what is there then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{OPEN, World};
use crate::harness::{Answer, Billing, Client, Host, Started, Version, plugins, records, save, tidegate, while_calling};

#[test]
fn calls_under_many_swaps_all_succeed_and_none_is_a_mix_of_two_versions() {
    const SWAPS: u32 = 40;
    let mut world = World::new("");
    let clients = [(); 8].map(|()| world.host.client());
    let call = |caller: usize| {
        let answer = clients[caller].try_call(json!({"name": "which_version_0000", "arguments": {}})).expect("the host lives");
        let version = answer.structured()["version"].as_str().expect("a text").to_owned();
        assert!([1, 2].map(|number| Version::new(number).answer()).contains(&version), "{version}");
    };
    let told = while_calling(clients.len(), call, |calls| {
        for swap in 0..SWAPS {
            Version::new(1 + (swap + 1) % 2).put(world.plugins.path());
            let (code, said) = world.reload();
            assert!(code == 0 && said.contains("is in force"), "{said}");
            // Every generation is called: some of these had begun before.
            calls.wait_for(clients.len() + 1);
        }
    });
    world.until("the end of earlier generations", || metric(&world.host, "tidegate_generations_in_memory") == "1");
    assert!(world.host.stop("-TERM").success());
    // What ran is what the log names, call by call.
    let mut ran: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut intents, mut generations) = (BTreeMap::new(), BTreeSet::new());
    for record in records(&world.host.data) {
        let Some(call) = record["call"].as_str() else { continue };
        if record["kind"] == "intent" {
            generations.insert(record["generation"].as_u64());
            intents.insert(call.to_owned(), record["body"]["component"].as_str().expect("a digest").to_owned());
        } else if record["kind"] == "outcome" {
            let version = record["body"]["answer"]["output"]["structured"]["version"].as_str().expect("it succeeded");
            ran.entry(intents[call].clone()).or_default().insert(version.to_owned());
        }
    }
    assert_eq!(intents.len(), told.iter().map(Vec::len).sum::<usize>());
    assert!(generations.len() > SWAPS as usize / 2, "calls ran on {generations:?}");
    let versions: BTreeSet<_> = ran.values().map(|answers| answers.iter().cloned().collect::<Vec<_>>()).collect();
    assert_eq!(versions, [1, 2].map(|number| vec![Version::new(number).answer()]).into(), "each component answers as itself");
}

/// The value of a metric without labels.
fn metric(host: &Started, name: &str) -> String {
    let page = host.admin("/metrics").1;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no `{name}` in\n{page}"))
}

#[test]
fn a_running_call_ends_on_its_own_generation_which_is_gone_with_it() {
    let queue = Queue::new();
    let blocking = queue.block();
    assert_eq!(metric(&queue.host, "tidegate_generations_in_memory"), "1");
    queue.change("invoices", |wasm| wasm.extend_from_slice(&[0, 4, 1, b'x', 1, 4]));
    queue.reload();
    assert_eq!(metric(&queue.host, "tidegate_generations_in_memory"), "2");
    queue.billing.signal("-CONT");
    assert!(queue.resolved(&blocking).structured()["invoices"].is_array());
    queue.until("its end", || metric(&queue.host, "tidegate_generations_in_memory") == "1");
}

#[test]
fn a_call_that_waits_is_run_by_a_version_that_looks_the_same() {
    let queue = Queue::new();
    let blocking = queue.block();
    let waiting = handle(&queue.client.call("echo", json!({"text": "mended"})));
    // A custom section: another component that does the same.
    queue.change("echo", |wasm| wasm.extend_from_slice(&[0, 4, 1, b'x', 1, 2]));
    queue.reload();
    queue.billing.signal("-CONT");
    assert_eq!(queue.resolved(&waiting).structured()["text"], "mended");
    assert!(queue.resolved(&blocking).structured()["invoices"].is_array());
}

#[test]
fn a_call_that_waits_is_not_run_by_a_tool_that_changed_or_went() {
    let queue = Queue::new();
    queue.block();
    let waiting = handle(&queue.client.call("echo", json!({"text": "as it was"})));
    queue.change("echo", |wasm| {
        let (text, other) = (b"Returns the given text unchanged", b"Returns the given text backwards");
        let at = wasm.windows(text.len()).position(|window| window == text).expect("its description");
        wasm[at..at + text.len()].copy_from_slice(other);
    });
    queue.reload();
    let other = handle(&queue.client.call("echo", json!({"text": "gone"})));
    std::fs::remove_dir_all(queue.plugins.path().join("echo")).expect("it is there");
    queue.reload();
    queue.billing.signal("-CONT");
    assert_eq!(queue.resolved(&waiting).error(), "tool_changed");
    assert_eq!(queue.resolved(&other).error(), "tool_changed");
}

#[test]
fn a_call_that_waits_needs_the_scopes_of_the_version_that_runs_it() {
    let queue = Queue::new();
    queue.block();
    let waiting = handle(&queue.client.call("echo", json!({"text": "more"})));
    let manifest = queue.plugins.path().join("echo/plugin.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    save(&manifest, text.replace("use:echo", "use:more").as_bytes());
    queue.reload();
    queue.billing.signal("-CONT");
    // What is asked of callers is part of what they go by.
    assert_eq!(queue.resolved(&waiting).error(), "tool_changed");
}

#[test]
fn whoever_holds_what_the_plugins_declare_holds_what_new_ones_declare() {
    let world = World::new("");
    Version::new(2).manifest("use:versions", "use:versions\", \"read:more").put(world.plugins.path());
    assert_eq!(world.reload().0, 0);
    assert_eq!(world.version(), Version::new(2).answer());
}

#[test]
fn budgets_and_waiting_calls_outlive_a_swap() {
    let queue = Queue::new();
    let blocking = queue.block();
    let before = queue.host.readiness();
    queue.change("echo", |wasm| wasm.extend_from_slice(&[0, 4, 1, b'x', 1, 3]));
    queue.reload();
    let after = queue.host.readiness();
    assert_eq!((&before["running"], &before["queued"]), (&json!(1), &json!(0)));
    assert_eq!((&after["running"], &after["queued"]), (&json!(1), &json!(0)), "its slot is still taken");
    let waiting = handle(&queue.client.call("echo", json!({"text": "second"})));
    queue.billing.signal("-CONT");
    assert_eq!(queue.resolved(&waiting).structured()["text"], "second");
    assert!(queue.resolved(&blocking).structured()["invoices"].is_array());
}

/// A daemon that runs one call at a time, and a backend that can be stopped so that one lasts.
struct Queue {
    billing: Billing,
    host: Started,
    client: Client,
    plugins: tempfile::TempDir,
}

impl Queue {
    fn new() -> Self {
        let (billing, plugins) = (Billing::start(&[]), plugins(&["echo", "invoices"]));
        let backend = format!("billing={}", billing.url);
        let config = format!("{OPEN}[admission]\nslots = 1\nsync_budget = \"100ms\"\n");
        let host = Host::dev(plugins.path()).with(&["--backend", &backend]).config(&config).serve().start();
        Self { billing, client: host.client(), host, plugins }
    }

    /// Takes the one slot there is.
    fn block(&self) -> String {
        self.billing.signal("-STOP");
        handle(&self.client.call("list_invoices", json!({"user_id": "a"})))
    }

    fn change(&self, plugin: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.plugins.path().join(format!("{plugin}/{plugin}.wasm"));
        let mut wasm = std::fs::read(&path).expect("it is there");
        change(&mut wasm);
        save(&path, &wasm);
    }

    fn reload(&self) {
        let output = tidegate(&["plugin", "reload", "--data", &self.host.data.display().to_string()]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        assert!(output.status.success() && said.contains("is in force"), "{said}");
    }

    /// Asks until the call has ended.
    fn resolved(&self, handle: &str) -> Answer {
        let poll = || self.client.call("get_call_result", json!({"call_id": handle}));
        self.until("an end", || !poll().is_pending());
        poll()
    }

    fn until(&self, what: &str, is: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + super::PATIENCE;
        while !is() {
            assert!(std::time::Instant::now() < deadline, "{what} never came");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The handle of a call that goes on.
fn handle(answer: &Answer) -> String {
    let told: Value = answer.body["result"]["content"][0]["text"].as_str().and_then(|text| text.parse().ok()).expect("JSON");
    told["call_id"].as_str().unwrap_or_else(|| panic!("no handle: {answer:?}")).to_owned()
}
