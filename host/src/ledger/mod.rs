//! The ledger: what was about to happen, what did happen, and which idempotency key stands for it.
//!
//! Domain operations over the [`Store`], in the order in which a call needs them: [`Ledger::claim`], then, if it has to wait
//! for long, [`Ledger::enqueue`], then [`Ledger::record_intent`], then the call runs, then [`Ledger::record_outcome`]; or [`Ledger::record_rejection`] if it does not
//! run. Formats that others rely on are pinned: the record's head and hash, the claim, the fingerprint, the outbound key.
//!
//! **Time.** Records carry the wall clock, as data; their order is their sequence. Answers are kept for a day of wall-clock
//! time from completion, and only the clock at the moment of the question counts: a clock set back keeps them longer, a clock
//! set forward forgets them sooner, and neither brings back what the sweep has deleted. What is unknown is never forgotten.

mod act;
mod admin;
mod audit;
mod backup;
mod base;
mod basis;
mod body;
mod calls;
mod cbor;
mod chain;
mod checkpoint;
mod cipher;
pub mod cloudevents;
mod content;
mod decisions;
mod detect;
mod erase;
mod error;
mod export;
mod facts;
mod hex;
mod history;
mod hold;
mod housekeeping;
mod idempotency;
mod index;
mod intent;
mod keys;
mod listing;
mod mark;
mod mend;
mod newcomers;
pub mod ocsf;
mod open;
mod page;
mod plugins;
mod prefix;
mod prove;
mod prune;
mod query;
mod queue;
mod reading;
mod reask;
mod redact;
mod rejections;
mod requests;
mod resolve;
mod retention;
mod scrub;
mod secret;
mod signer;
mod sink;
mod subjects;
#[cfg(test)]
mod tests;
mod tree;
mod truncate;
mod upkeep;
mod verify;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::model::{CallId, Digest, Effect, Principal, Span, Timestamp};
use crate::store::{Slot, Store, Tx, Urgency};
use idempotency::Reservations;
use intent::Lost;
use newcomers::Newcomers;
use open::OpenCalls;
use queue::{Epochs, Waiting};
use rejections::Rejections;
use secret::Secret;
use signer::Signer;
use sink::Sinks;
use subjects::{SubjectKey, Subjects};

pub use audit::Record;
pub use backup::{Backup, restore};
pub use calls::{CallStatus, Verdict};
pub use chain::Kind;
pub use decisions::{PastDecision, PastOutcome};
pub use error::LedgerError;
pub use export::{ExportHeader, ExportLine, verify_export, verify_whole};
pub use facts::{Disposition, Generation, IntentFacts, OutcomeFacts, RejectionFacts, StoredResponse, ToolFacts, WhyNot};
pub use hold::Hold;
pub use idempotency::{Claim, ClaimRequest, Lease, Replay};
pub use intent::Intent;
pub use listing::{CallsQuery, PAGE_MAX};
pub use plugins::{PluginAct, PluginContents};
pub use prove::{Proof, ProveError};
pub use query::Query;
pub use queue::{Origin, QueuedCall, QueuedFacts, Requeued};
pub use reask::Reasking;
pub use resolve::{NOTE_MAX, Resolution};
pub use retention::RetentionConfig;
pub use scrub::Scrub;
pub use signer::PublicKey;
pub use sink::SinkConfig;
pub use verify::Verification;

/// `[ledger]`: how long answers are kept, how the log is signed, where else it goes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// How long the answer to a call with an idempotency key or a handle is kept, from its completion. Default 24 h.
    pub keep_answers: Span,
    /// How often a checkpoint is signed, if there is anything new. Default 10 s.
    pub checkpoint_every: Span,
    /// A file outside the data folder, best on another machine's disk, that each checkpoint is copied to. A log that does not lead
    /// through the one found there is not opened. None by default.
    pub checkpoint_copy: Option<PathBuf>,
    /// `[ledger.retention]`
    pub retention: RetentionConfig,
    /// `[ledger.sinks.<name>]`: further places that all records go to. None by default.
    pub sinks: BTreeMap<String, SinkConfig>,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            keep_answers: Span::seconds(24 * 60 * 60),
            checkpoint_every: Span::seconds(10),
            checkpoint_copy: None,
            retention: RetentionConfig::default(),
            sinks: BTreeMap::new(),
        }
    }
}

/// The ledger of one host; clones share it.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    /// The folder of secrets.
    keys: PathBuf,
    secret: Secret,
    subjects: Subjects,
    newcomers: Newcomers,
    epochs: Arc<Epochs>,
    signer: Signer,
    reservations: Reservations,
    open_calls: Arc<OpenCalls>,
    waiting: Waiting,
    rejections: Rejections,
    refusals: Mutex<admin::Refusals>,
    /// Held while the log is pruned.
    pruning: Mutex<()>,
    sinks: Mutex<Option<Sinks>>,
    keep_answers_ms: u64,
    config: LedgerConfig,
    clock: Clock,
    /// Dropped with the ledger, which ends its threads.
    _threads: [mpsc::Sender<()>; 2],
    /// Taken by the thread that keeps house.
    keeping: Mutex<Option<mpsc::Receiver<()>>>,
    /// Until when nothing goes from the log, because somebody reads all of it.
    still_until: Mutex<Option<Instant>>,
}

/// What opening the ledger had to put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Reads that were running when the host stopped, now recorded as interrupted.
    pub interrupted: u64,
    /// Writes that were running when the host stopped, now recorded as unknown, until somebody finds out.
    pub outcome_unknown: u64,
    /// How long it took.
    pub took: Duration,
}

/// How many pages of open calls recovery closes in one commit.
const RECOVERY_PAGES: usize = 8;

impl Ledger {
    /// Opens the ledger in `store`, with its secret in the folder `keys`, and gives every call that was left open its outcome.
    ///
    /// Blocks on the disk: call it off the async runtime.
    ///
    /// # Errors
    /// If the secret is missing, damaged, readable by others or another one, if the log has lost its end, if the store fails, or
    /// holds nonsense.
    pub fn open(store: Store, keys: &Path, config: &LedgerConfig) -> Result<(Self, Recovery), LedgerError> {
        Self::open_with(store, keys, config, Clock::default())
    }

    fn open_with(store: Store, keys: &Path, config: &LedgerConfig, clock: Clock) -> Result<(Self, Recovery), LedgerError> {
        config.retention.check().map_err(|problem| LedgerError::Refused { what: "the config".into(), problem })?;
        let is_new = store.get(keys::SECRET_CHECK)?.is_none();
        // INVARIANT: before the store remembers the secret, from when on the log is no new one.
        let subjects = Subjects::open(keys, is_new)?;
        let secret = open_secret(&store, keys)?;
        let signer = Signer::open(&store, keys)?;
        let ((upkeep, upkeep_ended), (keeping, keeping_ended)) = (mpsc::channel(), mpsc::channel());
        let inner = Arc::new(Inner {
            store,
            keys: keys.to_owned(),
            secret,
            subjects,
            newcomers: Newcomers::default(),
            epochs: Arc::new(Epochs::open(keys)?),
            signer,
            reservations: Reservations::default(),
            open_calls: Arc::default(),
            waiting: Waiting::default(),
            rejections: Rejections::default(),
            refusals: Mutex::default(),
            pruning: Mutex::default(),
            sinks: Mutex::default(),
            keep_answers_ms: u64::try_from(config.keep_answers.duration().as_millis()).unwrap_or(u64::MAX),
            config: config.clone(),
            clock,
            _threads: [upkeep, keeping],
            keeping: Mutex::new(Some(keeping_ended)),
            still_until: Mutex::default(),
        });
        let ledger = Self { inner };
        mark::check(&ledger)?;
        checkpoint::check_copy(&ledger)?;
        let recovery = recover(&ledger.inner)?;
        queue::load(&ledger.inner)?;
        // What was begun before the last stop.
        ledger.inner.destroy_doomed()?;
        ledger.inner.remove_doomed_files()?;
        mend::register(&ledger.inner);
        upkeep::start(&ledger.inner, upkeep_ended);
        Ok((ledger, recovery))
    }

    /// Writes down that a call did not run: that it was turned away, or answered with an earlier answer.
    ///
    /// Not durable on return. Anonymous calls are only counted; a caller's repeated ones are counted and written as one
    /// record per second.
    ///
    /// # Errors
    /// If the store takes no writes any more.
    pub async fn record_rejection(&self, facts: &RejectionFacts<'_>) -> Result<(), LedgerError> {
        let inner = &self.inner;
        if !inner.rejections.note(facts, self.now()) {
            return Ok(());
        }
        let Some(principal) = facts.principal else { return Ok(()) };
        let key = inner.subject_key(principal).await?;
        let Some(body) = rejections::body(&inner.secret, &key, facts) else { return Ok(()) };
        let slot = inner.store.reserve().await?;
        inner.append_rejection(Some(slot), facts.call, facts.generation, body);
        Ok(())
    }

    /// How many rejections were counted without leaving a record of their own: those of anonymous callers, above all.
    pub fn unrecorded_rejections(&self) -> u64 {
        self.inner.rejections.unrecorded()
    }

    /// The `Idempotency-Key` for the `n`-th unsafe request (from 0) of the call that holds `claim`:
    /// `b64url(HMAC-SHA-256(K, dCBOR([claim, backend, method, path, n])))`. The same call run again gets the same keys.
    pub fn outbound_key(&self, claim: &Digest, backend: &str, method: &str, path: &str, n: u64) -> String {
        self.inner.secret.outbound_key(claim, backend, method, path, n)
    }

    /// How long an answer that may be asked for is kept, from its call's end.
    pub fn keeps_answers(&self) -> Duration {
        Duration::from_millis(self.inner.keep_answers_ms)
    }

    /// The store below, to ask after its health.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Writes down what is still counted or queued, lets the sinks have it, and closes the store.
    ///
    /// # Errors
    /// If the last sync failed, or an earlier failure keeps the store shut.
    pub async fn close(&self) -> Result<(), LedgerError> {
        let ledger = self.clone();
        let last_words = move || -> Result<(), LedgerError> {
            let written = ledger.inner.write_counts(true).and_then(|()| ledger.inner.checkpoint().map(drop));
            ledger.end_sinks();
            written.and(ledger.inner.destroy_epochs(true))
        };
        let written = tokio::task::spawn_blocking(last_words).await.unwrap_or(Ok(()));
        self.inner.store.close().await?;
        written?;
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}

impl Inner {
    /// Writes down the rejections that were counted. Blocks on the disk.
    fn write_counts(&self, closing: bool) -> Result<(), LedgerError> {
        for repetition in self.rejections.take_due(closing) {
            let (call, generation, principal) = (repetition.call, repetition.generation, &repetition.principal);
            let key = self.subjects.key(&self.secret.subject(&principal.issuer, &principal.subject))?;
            self.append_rejection(None, call, generation, repetition.body(&key));
        }
        Ok(())
    }

    /// The key of a caller; the first time somebody calls, it is made.
    async fn subject_key(self: &Arc<Self>, principal: &Principal) -> Result<Arc<SubjectKey>, LedgerError> {
        let tag = self.secret.subject(&principal.issuer, &principal.subject);
        if let Some(key) = self.subjects.at_hand(&tag) {
            return Ok(key);
        }
        Newcomers::key(self, tag).await
    }

    fn append_rejection(&self, slot: Option<Slot>, call: CallId, generation: Generation, body: body::Body) {
        let clock = self.clock.clone();
        let append = move |tx: &mut Tx<'_>| {
            let draft = audit::Draft { kind: Kind::Rejection, call: Some(call), generation, body };
            audit::append(tx, draft, clock.now())
        };
        // Nobody waits for it; if it fails, the store logs it.
        drop(self.store.submit::<u64, LedgerError, _>(slot, Urgency::Soon, append));
    }
}

/// The secret the log was written with, or a new one for a new log.
fn open_secret(store: &Store, keys: &Path) -> Result<Secret, LedgerError> {
    let known = store.get(keys::SECRET_CHECK)?;
    let secret = Secret::open(keys, known.as_deref())?;
    if known.is_none() {
        let check = secret.check().0.to_vec();
        store.commit_blocking(Urgency::Now, move |tx| tx.put(keys::SECRET_CHECK.to_vec(), check))?;
    }
    Secret::confirm(keys)?;
    Ok(secret)
}

/// Gives every open call its outcome: after a crash nobody else will.
fn recover(inner: &Arc<Inner>) -> Result<Recovery, LedgerError> {
    let begun = Instant::now();
    let mut recovery = Recovery::default();
    loop {
        let pages = inner.store.scan(keys::OPEN_START, keys::OPEN_END, RECOVERY_PAGES)?;
        if pages.is_empty() {
            break;
        }
        let ledger = Arc::clone(inner);
        let (reads, writes) = inner.store.commit_blocking(Urgency::Now, move |tx| {
            let mut closed = (0, 0);
            for entry in pages {
                tx.delete(entry.key.clone());
                for (_, open) in open::on_page(&entry.intact()?)? {
                    let (body, end) = open.lost(Lost::Interrupted);
                    open.end(tx, &ledger, body, end)?;
                    match open.effect {
                        Effect::Read => closed.0 += 1,
                        Effect::Write => closed.1 += 1,
                    }
                }
            }
            Ok::<_, LedgerError>(closed)
        })?;
        fail::fail_point!("recovery::page", |_| std::process::abort());
        recovery.interrupted += reads;
        recovery.outcome_unknown += writes;
    }
    recovery.took = begun.elapsed();
    Ok(recovery)
}

/// Where the time comes from.
#[derive(Clone)]
struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Timestamp::now))
    }
}
