//! Continuous export: files and collectors that get every record, through crashes, rotation and times when nobody is there.

mod collector;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Billing, Host, Started, foreign, plugins, tidegate};
use collector::Collector;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn sink(name: &str, path: &Path, format: &str) -> String {
    format!("[ledger.sinks.{name}]\nkind = \"file\"\npath = \"{}\"\nformat = \"{format}\"\n", path.display())
}

/// The lines of a file of an export behind its header, whose hashes are those of their heads.
fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("lines are JSON"));
    let records: Vec<Value> = lines.skip(1).collect();
    for record in &records {
        let head = record["head"].as_str().expect("a head");
        let head = base64::engine::general_purpose::STANDARD.decode(head).expect("base64");
        let hash = Sha256::new().chain_update(b"tidegate/audit/1").chain_update(head).finalize();
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(record["hash"], json!(hash));
    }
    records
}

fn sequences(path: &Path) -> Vec<u64> {
    records(path).iter().map(|record| record["seq"].as_u64().expect("a sequence")).collect()
}

/// Runs a verb of `audit` on the data of a host that has stopped.
fn audit(data: &Path, verb: &[&str]) -> String {
    let output = tidegate(&[&["audit"], verb, &["--data", &data.display().to_string()]].concat());
    assert!(output.status.success(), "{verb:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Checks a file with nothing but the public key of the log of a host that has stopped.
fn verify(path: &Path, data: &Path) {
    let key = audit(data, &["key"]);
    let verified = tidegate(&["audit", "verify", &path.display().to_string(), "--key", key.trim()]);
    assert!(verified.status.success(), "{verified:?}");
}

/// The value of a metric of a sink.
fn metric(host: &Started, name: &str, sink: &str) -> u64 {
    let (_, text) = host.admin("/metrics");
    let wanted = format!("{name}{{sink=\"{sink}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&wanted)?.parse::<f64>().ok()).map_or(0, |value| value as u64)
}

#[test]
fn a_file_gets_every_record_once_through_kills_under_load() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("audit.jsonl");
    let (plugins, data) = (plugins(&["echo"]), dir.path().join("data"));
    let start = || Host::dev(plugins.path()).on(&data).with_config(&sink("copy", &path, "jsonl")).start();
    let mut answered = BTreeSet::new();
    for _ in 0..5 {
        let mut host = start();
        let stop = AtomicBool::new(false);
        let (before, calls) = (records(&path).len(), std::sync::Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let client = host.client();
                    while !stop.load(Ordering::Relaxed) {
                        let answer = catch_unwind(AssertUnwindSafe(|| client.call("echo", json!({"text": "hi"}))));
                        // The host was killed.
                        let Ok(answer) = answer else { break };
                        let call = answer.body["result"]["_meta"]["dev.tidegate/call-id"].as_str().map(str::to_owned);
                        calls.lock().expect("whole").extend(call);
                    }
                });
            }
            until("some records arrive", || records(&path).len() > before + 100);
            let pid = host.pid().to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill runs").success());
            stop.store(true, Ordering::Relaxed);
        });
        host.kill();
        answered.extend(calls.into_inner().expect("whole"));
    }
    let mut host = start();
    host.client().call("echo", json!({"text": "the last one"}));
    assert!(host.stop("-TERM").success());
    verify(&path, &data);
    let records = records(&path);
    let sequences = sequences(&path);
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "none is missing, none comes twice");
    assert_eq!(records.last().expect("records")["kind"], "checkpoint", "the end is signed, and sent");
    let recorded: BTreeSet<String> = records
        .iter()
        .filter(|record| record["kind"] == "outcome")
        .filter_map(|record| Some(record["call"].as_str()?.to_owned()))
        .collect();
    assert!(answered.len() > 100 && answered.is_subset(&recorded), "{} calls were answered", answered.len());
}

#[test]
fn events_are_what_their_formats_say() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (ocsf, events) = (dir.path().join("ocsf.jsonl"), dir.path().join("events.jsonl"));
    let (collector, bodies) = (Collector::start(0), dir.path().join("bodies.jsonl"));
    let config = sink("ocsf", &ocsf, "ocsf")
        + &sink("events", &events, "cloudevents")
        + &format!("[ledger.sinks.otel]\nkind = \"otlp\"\nurl = \"{}\"\n", collector.url);
    let billing = Billing::start(&[]);
    let plugins = plugins(&["echo", "invoices"]);
    let start = |config: &str| {
        let backend = format!("billing={}", billing.url);
        Host::dev(plugins.path()).on(&dir.path().join("data")).with(&["--backend", &backend]).with_config(config).start()
    };
    let mut host = start(&config);
    let (client, invoice) = (host.client(), billing.invoice_of("u1"));
    client.call("echo", json!({"text": "hi"}));
    client.call("list_invoices", json!({"user_id": "u1"}));
    client.call("get_invoice", json!({"invoice_id": "no-such"}));
    client.call("get_invoice", json!({"invoice_id": billing.invoice_of("u2")}));
    client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "key-1");
    client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "key-1");
    client.call("pay_invoice", json!({"invoice_id": invoice}));
    client.call("no_such_tool", json!({}));
    assert!(host.stop("-TERM").success());

    let checked = |kind: &str, path: &Path| -> Value {
        let script = foreign().scripts.join("formats.py");
        let output = Command::new(&foreign().python).arg(script).arg(kind).arg(path).stdin(Stdio::null()).output();
        let output = output.expect("python runs");
        assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("a report")
    };
    let found = checked("ocsf", &ocsf);
    for event in [
        "admin/reload/Success",
        "intent/Read/Started",
        "outcome/Read/Success",
        "outcome/Read/Failure",
        "intent/Write/Started",
        "outcome/Write/Success",
        "rejection/Unknown/Failure",
        "rejection/Unknown/Success",
        "checkpoint/checkpoint/Success",
    ] {
        assert!(found["found"][event].as_u64() >= Some(1), "{event}: {found}");
    }
    let told = checked("cloudevents", &events);
    assert_eq!(told["valid"], found["valid"]);
    for kind in ["admin", "intent", "outcome", "rejection", "checkpoint"] {
        assert!(told["found"][format!("dev.tidegate.audit.{kind}.v1")].as_u64() >= Some(1), "{kind}: {told}");
    }
    std::fs::write(&bodies, collector.bodies().join("\n")).expect("written");
    let told = checked("otlp", &bodies);
    let count: u64 = told["found"].as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(json!(count), found["valid"], "{told}");

    // Records whose person was erased are events like any other, which say so.
    let data = dir.path().join("data");
    audit(&data, &["erase", "--subject", "u1", "--reason", "asked by letter"]);
    let late = |name: &str| dir.path().join(format!("late-{name}.jsonl"));
    let formats = ["ocsf", "cloudevents", "jsonl"];
    let config: String = formats.map(|format| sink(&format!("late-{format}"), &late(format), format)).concat();
    assert!(start(&config).stop("-TERM").success());
    for format in ["ocsf", "cloudevents"] {
        let text = std::fs::read_to_string(late(format)).expect("the file is there");
        // Quoted: the letters alone also turn up in random ids.
        assert!(text.contains("was erased or pruned") && !text.contains("\"u1\""), "{format} knows nothing of them");
        let told = checked(format, &late(format));
        assert!(told["valid"].as_u64() > found["valid"].as_u64(), "{told}");
    }
    verify(&late("jsonl"), &data);
}

#[test]
fn a_dead_collector_slows_nothing_and_gets_all_there_was_once_it_lives() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (plugins, data) = (plugins(&["echo"]), dir.path().join("data"));
    let port = collector::free_port();
    let config = format!("[ledger.sinks.otel]\nkind = \"otlp\"\nurl = \"http://127.0.0.1:{port}\"\nbatch = 64\n");
    let start = |config: &str| Host::dev(plugins.path()).on(&data).with_config(config).start();
    let paced = |host: &Started| {
        let (client, begun) = (host.client(), Instant::now());
        for _ in 0..200 {
            client.call("echo", json!({"text": "hi"})).structured();
        }
        begun.elapsed()
    };
    let mut host = start("");
    paced(&host);
    let without = paced(&host);
    assert!(host.stop("-TERM").success());

    let mut host = start(&config);
    paced(&host);
    let with = paced(&host);
    assert!(with < without * 3, "200 calls took {with:?} with a dead sink, {without:?} without");
    until("the dead sink is noticed", || metric(&host, "tidegate_sink_failures_total", "otel") >= 2);
    until("the backlog is counted", || metric(&host, "tidegate_sink_backlog", "otel") >= 1600);
    assert_eq!(metric(&host, "tidegate_sink_sent_total", "otel"), 0);
    let begun = Instant::now();
    assert!(host.stop("-TERM").success());
    assert!(begun.elapsed() < Duration::from_secs(15), "a dead sink keeps nobody from stopping: {:?}", begun.elapsed());

    // It may say that it is busy, or not like so much at once: nothing is lost by that.
    let collector = Collector::start(port);
    collector.answer_next(&[(503, "1"), (413, ""), (429, "0"), (400, "")]);
    let mut host = start(&config);
    until("the backlog is gone", || metric(&host, "tidegate_sink_backlog", "otel") == 0 && !collector.sequences().is_empty());
    assert!(metric(&host, "tidegate_sink_failures_total", "otel") >= 4);
    assert!(host.stop("-TERM").success());
    let sequences = collector.sequences();
    assert!(sequences.len() > 1600);
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "in order, each once, from the first");
}

#[test]
fn a_collector_that_never_answers_holds_up_neither_calls_nor_the_end() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let plugins = plugins(&["echo"]);
    // Connections are made by the system, and nobody ever takes one.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let config = format!("[ledger.sinks.otel]\nkind = \"otlp\"\nurl = \"{url}\"\n");
    let mut host = Host::dev(plugins.path()).on(&dir.path().join("data")).with_config(&config).start();
    for _ in 0..50 {
        host.client().call("echo", json!({"text": "hi"})).structured();
    }
    let begun = Instant::now();
    assert!(host.stop("-TERM").success());
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?} to stop", begun.elapsed());
    assert!(!host.log().contains("panicked"), "{}", host.log());
}

#[test]
fn what_a_sink_misses_is_said_in_the_log_and_counted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (plugins, path) = (plugins(&["echo"]), dir.path().join("audit.jsonl"));
    let port = collector::free_port();
    let config = format!("[ledger.sinks.otel]\nkind = \"otlp\"\nurl = \"http://127.0.0.1:{port}\"\nmax_backlog = 100\n");
    let mut host =
        Host::dev(plugins.path()).on(&dir.path().join("data")).with_config(&(config + &sink("copy", &path, "jsonl"))).start();
    let client = host.client();
    until("records are skipped", || {
        client.call("echo", json!({"text": "hi"})).structured();
        metric(&host, "tidegate_sink_skipped_total", "otel") > 50
    });
    let collector = Collector::start(port);
    until("the rest arrives", || metric(&host, "tidegate_sink_backlog", "otel") == 0 && !collector.sequences().is_empty());
    let counted = metric(&host, "tidegate_sink_skipped_total", "otel");
    assert!(host.stop("-TERM").success());
    assert!(host.log().contains("records were skipped that a sink should have got"), "{}", host.log());

    let records = records(&path);
    let bodies = records.iter().map(|record| &record["body"]).filter(|body| body["action"] == "sink_skipped");
    let gaps: Vec<(u64, u64)> = bodies
        .map(|body| {
            assert_eq!((&body["sink"], &body["reason"]), (&json!("otel"), &json!("the sink was too far behind")));
            (body["from"].as_u64().expect("a number"), body["to"].as_u64().expect("a number"))
        })
        .collect();
    let skipped: BTreeSet<u64> = gaps.iter().flat_map(|(from, to)| *from..=*to).collect();
    let received: BTreeSet<u64> = collector.sequences().into_iter().collect();
    assert_eq!(skipped.len() as u64, counted);
    assert!(skipped.is_disjoint(&received));
    let all: BTreeSet<u64> = (1..=records.len() as u64).collect();
    assert_eq!(&skipped | &received, all, "each record arrived or is said to be missing");
}

#[test]
fn a_sink_that_makes_no_sense_keeps_the_host_from_starting() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let plugins = plugins(&["echo"]);
    for (config, said) in [
        ("[ledger.sinks.a]\nkind = \"fil\"\n".to_owned(), "did you mean `file`?"),
        ("[ledger.sinks.a]\nkind = \"file\"\n".to_owned(), "a sink of kind `file` needs a `path`"),
        (sink("a", &dir.path().join("x"), "jsonl") + &sink("b", &dir.path().join("./x"), "ocsf"), "the sink `a` writes to `"),
    ] {
        let Err(said_by_host) = Host::dev(plugins.path()).with_config(&config).try_start() else {
            panic!("{config} is no reason")
        };
        assert!(said_by_host.contains(said), "{said_by_host}");
    }
}
