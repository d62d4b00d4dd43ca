//! The ledger on a real store: fixtures, and one call's life in all its variations.

mod answers;
mod asked;
mod backups;
mod decisions;
mod doomed;
mod elsewhere;
mod erasing;
mod faults;
mod format;
mod going;
mod keeping;
mod machine;
mod merkle;
mod newcomers;
mod outbound;
mod prefix;
mod queued;
mod records;
mod requeued;
mod settling;
mod sinks;
mod tamper;
mod trouble;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::chain::{Head, Tip};
use super::verify::{Broken, Verification};
use super::*;
use crate::model::scope::Delta;
use crate::model::{
    Arguments, Bytes, CallId, Decision, Dialogue, Effect, Ended, ErrorCode, GuestLog, IdempotencyKey, Outcome, Output, Principal,
    Question, Risk, RowTally, Scope, Sent, ToolName, TraceContext, Verdict,
};
use crate::store::StoreConfig;

/// A ledger in a folder of its own, with a clock that only moves when told to.
struct World {
    dir: Arc<TempDir>,
    store: StoreConfig,
    config: LedgerConfig,
    now: Arc<AtomicU64>,
    ledger: Ledger,
    recovery: Recovery,
}

const HOUR: u64 = 60 * 60 * 1000;

impl World {
    fn new() -> Self {
        Self::with(StoreConfig { min_free: Bytes(0), ..StoreConfig::default() })
    }

    fn with(store: StoreConfig) -> Self {
        Self::new_with(store, LedgerConfig::default())
    }

    fn configured(config: LedgerConfig) -> Self {
        Self::new_with(StoreConfig { min_free: Bytes(0), ..StoreConfig::default() }, config)
    }

    fn new_with(store: StoreConfig, config: LedgerConfig) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        // Checkpoints come when a test asks for them, and when the ledger closes.
        let config = LedgerConfig { checkpoint_every: Span::seconds(3600), ..config };
        Self::open(dir, store, config, Arc::new(AtomicU64::new(1_800_000_000_000))).expect("an empty folder opens")
    }

    fn open(dir: Arc<TempDir>, store: StoreConfig, config: LedgerConfig, now: Arc<AtomicU64>) -> Result<Self, LedgerError> {
        let clock = Arc::clone(&now);
        let clock = Clock(Arc::new(move || Timestamp(clock.load(Ordering::SeqCst))));
        let opened = match Store::open(dir.path(), &store) {
            // Another test may be starting a process at this moment, which for an instant has the engine's files open as well.
            Err(error) if error.to_string().contains("acquire lock") => {
                std::thread::sleep(Duration::from_millis(200));
                Store::open(dir.path(), &store)?
            }
            opened => opened?,
        };
        let (ledger, recovery) = Ledger::open_with(opened, &dir.path().join("keys"), &config, clock)?;
        Ok(Self { dir, store, config, now, ledger, recovery })
    }

    /// Closes the ledger and opens it again.
    async fn reopen(self) -> Self {
        self.ledger.close().await.expect("the ledger closes cleanly");
        self.open_again().expect("what was closed cleanly opens")
    }

    fn open_again(self) -> Result<Self, LedgerError> {
        let Self { dir, store, config, now, ledger, .. } = self;
        drop(ledger);
        Self::open(dir, store, config, now)
    }

    /// What `kill -9` leaves: a copy of the files at this moment, opened by the next process.
    ///
    /// Nothing may be on its way to the disk when it is called.
    fn crash(self) -> Self {
        let copy = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        copy_folder(self.dir.path(), copy.path());
        Self::open(copy, self.store.clone(), self.config.clone(), Arc::clone(&self.now)).expect("what a crash leaves opens")
    }

    fn pass(&self, millis: u64) {
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    /// Waits until everything handed in so far is written and its holders are let go.
    async fn settle(&self) {
        self.ledger.store().commit(|_| Ok::<_, LedgerError>(())).await.expect("the store takes commits");
    }

    fn claim(&self, call: &Call) -> Result<Claim, LedgerError> {
        self.ledger.claim(&call.request())
    }

    fn lease(&self, call: &Call) -> Lease {
        match self.claim(call).expect("the store is readable") {
            Claim::Fresh(lease) => lease,
            other => panic!("the key is free, and yet: {other:?}"),
        }
    }

    async fn intent(&self, call: &Call, lease: Option<Lease>) -> Result<Intent, LedgerError> {
        self.ledger.record_intent(&call.facts(), lease).await
    }

    /// Makes a call wait, for an hour at most.
    async fn enqueue(&self, call: &Call, lease: Option<Lease>) -> Result<QueuedCall, LedgerError> {
        let until = Timestamp(self.now.load(Ordering::SeqCst) + HOUR);
        self.ledger.enqueue(&QueuedFacts { until, ..call.queued() }, lease).await
    }

    /// Makes a call with a key wait.
    async fn wait(&self, call: &Call) -> QueuedCall {
        let lease = self.lease(call);
        self.enqueue(call, Some(lease)).await.expect("there is room")
    }

    async fn start(&self, call: &Call, queued: QueuedCall) -> Result<Intent, LedgerError> {
        self.ledger.record_intent(&call.facts(), queued).await
    }

    /// Ends the run of a call with questions: it waits for the answers, for an hour at most.
    async fn ask(&self, call: &Call, intent: Intent, dialogue: &Dialogue, asks: &[Question]) -> Result<QueuedCall, NotAsked> {
        let until = Timestamp(self.now.load(Ordering::SeqCst) + HOUR);
        let outcome = Outcome { ended: Ended::Asked(asks.to_vec()), ..outcome() };
        let told = answer("it asks");
        let facts = OutcomeFacts { disposition: Disposition::Waiting, handle_given: true, ..ended(&outcome, &told) };
        self.ledger.record_question(intent, &facts, &QueuedFacts { until, dialogue, asks, ..call.queued() }).await
    }

    async fn end(&self, intent: Intent, disposition: Disposition, answer: &StoredResponse) -> Result<(), LedgerError> {
        let outcome = outcome();
        let error = (disposition != Disposition::Done).then_some(ErrorCode::BackendTimeout);
        let facts = OutcomeFacts { error, disposition, ..ended(&outcome, answer) };
        self.ledger.record_outcome(intent, &facts).await
    }

    /// Claims, runs and ends a call well.
    async fn run(&self, call: &Call, answer: &StoredResponse) {
        let lease = self.lease(call);
        let intent = self.intent(call, Some(lease)).await.expect("the intent is recorded");
        self.end(intent, Disposition::Done, answer).await.expect("the outcome is recorded");
    }

    fn status(&self, call: &Call) -> Option<CallStatus> {
        self.ledger.call(&call.id).expect("the store is readable").map(|state| state.status)
    }

    /// The bodies of all records, parsed, with their kinds.
    fn bodies(&self) -> Vec<(Kind, Value)> {
        let records = self.ledger.records(1, usize::MAX).expect("the log is readable");
        let parse = |record: Record| {
            let body = record.body.expect("nothing was erased");
            (record.head.kind, serde_json::from_slice(&body).expect("bodies are JSON"))
        };
        records.into_iter().filter(|record| record.head.kind != Kind::Checkpoint).map(parse).collect()
    }

    fn verified(&self) -> Verification {
        let verification = self.ledger.verify(None, |_| {}).expect("the store is readable");
        assert_eq!(verification.broken, None);
        verification
    }
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().expect("readable").is_dir() {
            std::fs::create_dir_all(&target).expect("writable");
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copyable");
        }
    }
}

/// A call as it comes to the ledger.
#[derive(Clone)]
struct Call {
    id: CallId,
    key: IdempotencyKey,
    effect: Effect,
    arguments: Arguments,
    redact: Vec<String>,
    principal: Principal,
    tool: ToolName,
    delta: Delta,
    verdict: Verdict,
    trace: TraceContext,
    risk: Risk,
}

fn call(effect: Effect, key: &str) -> Call {
    let scope = |text: &str| text.parse::<Scope>().expect("a scope");
    Call {
        id: CallId::random(),
        key: key.parse().expect("a key"),
        effect,
        arguments: object(json!({ "invoice_id": "inv-1", "amount_cents": 4200 })),
        redact: Vec::new(),
        principal: Principal {
            issuer: "https://issuer.example".to_owned(),
            subject: "u1".to_owned(),
            client: Some("client-1".to_owned()),
            tenant: None,
            groups: Vec::new(),
            scopes: vec![scope("write:invoices"), scope("read:reports")],
            claims: Default::default(),
        },
        tool: "pay_invoice".parse().expect("a tool name"),
        delta: Delta { missing: Vec::new(), excess: vec![scope("read:reports")] },
        verdict: Verdict {
            decision: Decision::Allow,
            policies: vec!["scope:write:invoices".to_owned()],
            errors: Vec::new(),
            shadow: None,
        },
        trace: TraceContext::random(),
        risk: Risk::High,
    }
}

fn write(key: &str) -> Call {
    call(Effect::Write, key)
}

fn read(key: &str) -> Call {
    call(Effect::Read, key)
}

impl Call {
    /// The same call, made once more.
    fn again(&self) -> Self {
        Self { id: CallId::random(), ..self.clone() }
    }

    fn with(self, arguments: Value) -> Self {
        Self { arguments: object(arguments), ..self }
    }

    fn request(&self) -> ClaimRequest<'_> {
        ClaimRequest {
            call: self.id,
            issuer: &self.principal.issuer,
            subject: &self.principal.subject,
            plugin: "invoices",
            tool: &self.tool,
            key: &self.key,
            arguments: &self.arguments,
            reasking: None,
        }
    }

    fn queued(&self) -> QueuedFacts<'_> {
        QueuedFacts {
            call: self.id,
            trace: &self.trace,
            principal: &self.principal,
            tool: &self.tool,
            plugin: "invoices",
            face: Digest([7; 32]),
            effect: self.effect,
            arguments: &self.arguments,
            key: Some(&self.key),
            until: Timestamp(u64::MAX),
            dialogue: &SILENT,
            asks: &[],
        }
    }

    fn facts(&self) -> IntentFacts<'_> {
        IntentFacts {
            call: self.id,
            trace: &self.trace,
            principal: &self.principal,
            tool: ToolFacts {
                name: &self.tool,
                plugin: "invoices",
                plugin_version: "0.1.0",
                component: Digest([7; 32]),
                effect: self.effect,
                risk: self.risk,
                fuel_limit: 50_000_000,
                redact: &self.redact,
            },
            arguments: &self.arguments,
            dialogue: &SILENT,
            verdict: &self.verdict,
            delta: &self.delta,
            claims: NO_CLAIMS,
            generation: GENERATION,
            queued: Duration::from_micros(120),
        }
    }
}

static SILENT: Dialogue = Dialogue { takes: BTreeSet::new(), given: BTreeMap::new() };

const NO_CLAIMS: &BTreeMap<&str, &Value> = &BTreeMap::new();

const GENERATION: Generation = Generation { number: 3, policies: Digest([9; 32]) };

fn object(value: Value) -> Arguments {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

fn answer(text: &str) -> StoredResponse {
    StoredResponse { value: json!({ "content": [{ "type": "text", "text": text }] }), is_error: false }
}

/// The words with which the outcomes of `call` say how it ended.
fn ended_as(world: &World, call: &Call) -> Vec<String> {
    let records = world.ledger.records(1, usize::MAX).expect("readable");
    let outcomes = records.into_iter().filter(|record| record.head.kind == Kind::Outcome && record.head.call == Some(call.id));
    let word = |record: Record| {
        let body: Value = serde_json::from_slice(&record.body.expect("there")).expect("JSON");
        body["ended"].as_str().expect("a word").to_owned()
    };
    outcomes.map(word).collect()
}

/// What is known of a call that ended well and was answered so; nobody holds a handle.
fn ended<'a>(outcome: &'a Outcome, answer: &'a StoredResponse) -> OutcomeFacts<'a> {
    static NONE: LazyLock<RowTally> = LazyLock::new(RowTally::default);
    OutcomeFacts {
        outcome,
        answer,
        kept: answer,
        error: None,
        disposition: Disposition::Done,
        asked: &NONE,
        delivered: &NONE,
        handle_given: false,
        cancelled: false,
        despite_backend_error: false,
    }
}

fn outcome() -> Outcome {
    Outcome {
        ended: Ended::Completed(Output::default()),
        fuel: 12_345,
        memory_peak: 1 << 20,
        latency: Duration::from_micros(850),
        sent: vec![Sent {
            backend: "billing".to_owned(),
            method: "POST".to_owned(),
            path: "/invoices/inv-1/pay".to_owned(),
            request: 2,
            attempt: 1,
            keyed: false,
            left: true,
            status: Some(201),
            error: None,
            latency: Duration::from_micros(650),
            bytes_out: 40,
            bytes_in: 60,
        }],
        blame: None,
        log: GuestLog { lines: vec!["paying".to_owned()], dropped_bytes: 0 },
    }
}
