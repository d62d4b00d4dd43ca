//! What it costs to write calls down, durably, and to read them back: beside bare appends of the same bytes to the same store, in
//! one run.
//!
//! `cargo bench --bench ledger` prints records per second and the time of a commit at 64 concurrent callers, with and without the
//! ledger on top of the store, then how fast the log is verified and questions are answered. How long that log is says
//! `TIDEGATE_BENCH_RECORDS` (200,000 unless it is set); `TIDEGATE_BENCH_DIR` says on which disk.

#![expect(dead_code, unused_imports, reason = "a part of the host is compiled in here, and only its ledger is used")]

#[path = "../../host/src/ledger/mod.rs"]
mod ledger;
#[path = "../../host/src/model/mod.rs"]
mod model;
#[path = "../../host/src/outbound/mod.rs"]
mod outbound;
#[path = "../../host/src/store/mod.rs"]
mod store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use ledger::{
    Claim, ClaimRequest, Disposition, Generation, IntentFacts, Ledger, LedgerConfig, LedgerError, OutcomeFacts, Query,
    StoredResponse, ToolFacts,
};
use model::scope::Delta;
use model::{
    Arguments, CallId, Decision, Dialogue, Digest, Effect, Ended, GuestLog, Outcome, Output, Principal, Risk, RowTally, ToolName,
    TraceContext, Verdict,
};
use store::{Store, StoreConfig};

/// As in the host.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);
/// What a body is made to measure, in bytes.
const BODY: usize = 1024;
/// What is stored of a record of that body: head, salt, seal, framing.
const STORED: usize = BODY + 340;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let dir = match std::env::var_os("TIDEGATE_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let dir = dir.expect("a temporary folder");
    println!("{CALLERS} callers, bodies of {BODY} bytes, {ROUNDS} rounds of {ROUND:?} each; medians");
    println!("{:<34} {:>11} {:>9} {:>9} {:>9}", "", "records/s", "calls/s", "p50 ms", "p99 ms");
    let names = ["bare appends, same bytes", "reads: intent, outcome", "keyed writes: intent, outcome"];
    let mut rounds: [Vec<Rate>; 3] = Default::default();
    for round in 0..ROUNDS {
        for (kind, rates) in rounds.iter_mut().enumerate() {
            let dir = dir.path().join(format!("{kind}-{round}"));
            rates.push(runtime.block_on(measure(kind, &dir)));
            std::fs::remove_dir_all(dir).expect("removable");
        }
    }
    for (name, rates) in names.iter().zip(&rounds) {
        let median = |of: fn(&Rate) -> f64| median(rates.iter().map(of).collect());
        let records = median(|rate| rate.records);
        println!(
            "{name:<34} {records:>11.0} {:>9.0} {:>9.2} {:>9.2}",
            records / 2.0,
            median(|rate| rate.p50) * 1e3,
            median(|rate| rate.p99) * 1e3
        );
    }
    for (name, rates) in names.iter().zip(&rounds).skip(1) {
        let ratio = median(rates.iter().zip(&rounds[0]).map(|(ours, bare)| ours.records / bare.records).collect());
        println!("{name:<34} {ratio:>11.2} of bare appends");
    }
    let records = std::env::var("TIDEGATE_BENCH_RECORDS").ok().and_then(|count| count.parse().ok()).unwrap_or(200_000);
    runtime.block_on(read_back(&dir.path().join("long"), records));
}

/// What one round came to.
struct Rate {
    records: f64,
    /// Seconds until one commit was durable.
    p50: f64,
    p99: f64,
}

async fn measure(kind: usize, dir: &Path) -> Rate {
    let store = Store::open(dir, &StoreConfig::default()).expect("an empty folder opens");
    let (ledger, _) = Ledger::open(store.clone(), &dir.join("keys"), &LedgerConfig::default()).expect("it opens");
    let until = Instant::now() + ROUND;
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (store, ledger) = (store.clone(), ledger.clone());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while Instant::now() < until {
                    match kind {
                        0 => bare(&store, &mut waits).await,
                        1 => call(&ledger, Effect::Read, caller, &mut waits).await,
                        _ => call(&ledger, Effect::Write, caller, &mut waits).await,
                    }
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.expect("callers don't panic"));
    }
    ledger.close().await.expect("it closes cleanly");
    waits.sort_by(f64::total_cmp);
    let share = |share: f64| waits[((waits.len() as f64 * share) as usize).min(waits.len() - 1)];
    Rate { records: waits.len() as f64 / ROUND.as_secs_f64(), p50: share(0.5), p99: share(0.99) }
}

/// Two records of the same length, each durable before the next.
async fn bare(store: &Store, waits: &mut Vec<f64>) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for _ in 0..2 {
        let started = Instant::now();
        let slot = store.reserve().await.expect("there is room");
        let append = |tx: &mut store::Tx<'_>| {
            let seq = NEXT.fetch_add(1, Ordering::Relaxed);
            tx.put([b"z/", &seq.to_be_bytes()[..]].concat(), vec![7; STORED])
        };
        store.commit_in::<_, store::StoreError, _>(slot, append).await.expect("durable");
        waits.push(started.elapsed().as_secs_f64());
    }
}

/// A call's intent and outcome. A read's outcome is not waited for, as in the host.
async fn call(ledger: &Ledger, effect: Effect, caller: usize, waits: &mut Vec<f64>) {
    let id = CallId::random();
    let facts = Facts::new(caller, BODY - 640);
    let started = Instant::now();
    let lease = (effect == Effect::Write).then(|| {
        let key = id.to_string().parse().expect("a key");
        let request = ClaimRequest {
            call: id,
            issuer: &facts.principal.issuer,
            subject: &facts.principal.subject,
            plugin: "invoices",
            tool: &facts.tool,
            key: &key,
            arguments: &facts.arguments,
            reasking: None,
        };
        match ledger.claim(&request).expect("readable") {
            Claim::Fresh(lease) => lease,
            other => panic!("the key is new: {other:?}"),
        }
    });
    let intent = ledger.record_intent(&facts.intent(id, effect), lease).await.expect("durable");
    waits.push(started.elapsed().as_secs_f64());
    let started = Instant::now();
    let answer = StoredResponse { value: json!({ "text": "y".repeat(BODY - 480) }), is_error: false };
    ledger.record_outcome(intent, &facts.outcome(&answer)).await.expect("durable");
    waits.push(started.elapsed().as_secs_f64());
}

/// Everything a call's records are made of.
struct Facts {
    principal: Principal,
    tool: ToolName,
    arguments: Arguments,
    verdict: Verdict,
    delta: Delta,
    trace: TraceContext,
    outcome: Outcome,
    tally: RowTally,
    claims: BTreeMap<&'static str, &'static Value>,
    dialogue: Dialogue,
}

impl Facts {
    fn new(caller: usize, text: usize) -> Self {
        let Value::Object(arguments) = json!({ "text": "x".repeat(text) }) else { unreachable!() };
        Self {
            principal: Principal {
                issuer: "https://issuer.example".into(),
                subject: format!("u{caller}"),
                client: Some("agent".into()),
                tenant: None,
                groups: Vec::new(),
                scopes: Vec::new(),
                claims: BTreeMap::default(),
            },
            tool: "pay_invoice".parse().expect("a name"),
            arguments,
            verdict: Verdict {
                decision: Decision::Allow,
                policies: vec!["scope:write:invoices".into()],
                errors: Vec::new(),
                shadow: None,
            },
            delta: Delta { missing: Vec::new(), excess: Vec::new() },
            trace: TraceContext::random(),
            outcome: Outcome {
                ended: Ended::Completed(Output::default()),
                fuel: 12_345,
                memory_peak: 1 << 20,
                latency: Duration::from_micros(850),
                sent: Vec::new(),
                blame: None,
                log: GuestLog { lines: Vec::new(), dropped_bytes: 0 },
            },
            tally: RowTally::default(),
            claims: BTreeMap::new(),
            dialogue: Dialogue::default(),
        }
    }

    fn intent(&self, call: CallId, effect: Effect) -> IntentFacts<'_> {
        IntentFacts {
            call,
            trace: &self.trace,
            principal: &self.principal,
            tool: ToolFacts {
                name: &self.tool,
                plugin: "invoices",
                plugin_version: "0.1.0",
                component: Digest([7; 32]),
                effect,
                risk: Risk::Medium,
                fuel_limit: 50_000_000,
                redact: &[],
            },
            arguments: &self.arguments,
            dialogue: &self.dialogue,
            verdict: &self.verdict,
            delta: &self.delta,
            claims: &self.claims,
            generation: Generation { number: 1, policies: Digest([9; 32]) },
            queued: Duration::from_micros(120),
        }
    }

    fn outcome<'a>(&'a self, answer: &'a StoredResponse) -> OutcomeFacts<'a> {
        OutcomeFacts {
            outcome: &self.outcome,
            answer,
            kept: answer,
            error: None,
            disposition: Disposition::Done,
            asked: &self.tally,
            delivered: &self.tally,
            handle_given: false,
            cancelled: false,
            despite_backend_error: false,
        }
    }
}

/// Writes a long log, and reads it back in every way.
async fn read_back(dir: &Path, records: u64) {
    const WRITERS: u64 = 512;
    /// One call in this many is of somebody who calls rarely.
    const RARE: u64 = 100_000;
    let store = Store::open(dir, &StoreConfig::default()).expect("an empty folder opens");
    let (ledger, _) = Ledger::open(store, &dir.join("keys"), &LedgerConfig::default()).expect("it opens");
    ledger.keep_house();
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (ledger, next) = (ledger.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let call = next.fetch_add(1, Ordering::Relaxed);
                    if call >= records / 2 {
                        return;
                    }
                    let caller = if call % RARE == RARE / 2 { 1_000_000 } else { call as usize % 1000 };
                    let facts = Facts::new(caller, 20);
                    let intent =
                        ledger.record_intent(&facts.intent(CallId::random(), Effect::Read), None).await.expect("durable");
                    let answer = StoredResponse { value: json!({ "text": "fine" }), is_error: false };
                    ledger.record_outcome(intent, &facts.outcome(&answer)).await.expect("handed in");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("writers don't panic");
    }
    let written = started.elapsed();
    println!("\na log of {records} records, written in {written:.1?}");
    let blocking = ledger.clone();
    tokio::task::spawn_blocking(move || ask(&blocking)).await.expect("it does not panic");
    ledger.close().await.expect("it closes cleanly");
    drop(ledger);
    let size = std::process::Command::new("du").args(["-sm"]).arg(dir).output().expect("du runs").stdout;
    println!(
        "  on disk                            {:>9} MiB",
        String::from_utf8_lossy(&size).split_whitespace().next().unwrap_or_default()
    );
    let started = Instant::now();
    let store = Store::open(dir, &StoreConfig::default()).expect("it opens");
    let engine = started.elapsed();
    let (ledger, _) = Ledger::open(store, &dir.join("keys"), &LedgerConfig::default()).expect("it opens");
    println!("  opened again in                    {:>9.2?} (the engine {engine:.2?})", started.elapsed());
    println!("  resident after opening             {:>9.0} MiB", resident());
    let tip = ledger.tip().expect("readable").seq;
    let started = Instant::now();
    let verified = {
        let ledger = ledger.clone();
        tokio::task::spawn_blocking(move || ledger.verify(None, |_| {}).expect("readable")).await.expect("it does not panic")
    };
    assert_eq!((verified.broken, verified.records), (None, tip));
    let took = started.elapsed();
    println!("  verified in                        {took:>9.2?} ({:.0} records/s)", tip as f64 / took.as_secs_f64());
    println!("  resident after verifying           {:>9.0} MiB", resident());
    ledger.close().await.expect("it closes cleanly");
}

/// The first page of several questions, once the index has caught up.
fn ask(ledger: &Ledger) {
    let started = Instant::now();
    let rare = Query { subject: Some("u1000000".into()), ..Query::default() };
    while ledger.unindexed().expect("readable") > 4096 {
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("  the index had caught up after      {:>9.2?}", started.elapsed());
    println!("  resident                           {:>9.0} MiB", resident());
    let questions = [
        ("a frequent caller", Query { subject: Some("u7".into()), ..Query::default() }),
        ("a rare caller", rare),
        ("somebody who never called", Query { subject: Some("nobody".into()), ..Query::default() }),
        (
            "an outcome that never was",
            Query { tool: Some("pay_invoice".into()), outcome: Some("interrupted".into()), ..Query::default() },
        ),
    ];
    for (name, query) in questions {
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..5 {
            let started = Instant::now();
            found = ledger.query(&query, None, 50).expect("readable").calls.len();
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        println!("  {name:<34} {:>9.1} ms at first, then {:.1} ms; {found} calls", times[0], median(times[1..].to_vec()));
    }
}

/// The memory of this process, in MiB.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096.0 / f64::from(1 << 20)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
