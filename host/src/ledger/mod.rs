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
mod doomed;
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
mod log_tail;
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
mod recovery;
mod redact;
mod rejections;
mod requests;
mod reservations;
mod resolve;
mod retention;
mod scrub;
mod secret;
mod signer;
mod sink;
mod state;
mod status;
mod stillness;
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
use std::time::Duration;

use serde::Deserialize;

use crate::model::{CallId, Digest, Principal, Span, Timestamp};
use crate::store::{Slot, Store, Tx, Urgency};
use chain::Tip;
use newcomers::Newcomers;
use open::OpenCalls;
use queue::{Epochs, Waiting};
use rejections::Rejections;
use reservations::Reservations;
use secret::Secret;
use signer::Signer;
use sink::Sinks;
use stillness::Stillness;
use subjects::{SubjectKey, Subjects};

pub use audit::Record;
pub use backup::{Backup, restore};
pub use calls::Verdict;
pub use chain::Kind;
pub use decisions::{PastDecision, PastOutcome};
pub use error::LedgerError;
pub use export::{ExportHeader, ExportLine, verify_export, verify_whole};
pub use facts::{Disposition, Generation, IntentFacts, OutcomeFacts, RejectionFacts, StoredResponse, ToolFacts, WhyNot};
pub use hold::Hold;
pub use idempotency::{Claim, ClaimRequest, Lease, Replay};
pub use intent::{Intent, NotAsked};
pub use listing::{CallsQuery, PAGE_MAX};
pub use plugins::{PluginAct, PluginContents};
pub use prove::{Proof, ProveError};
pub use query::Query;
pub use queue::{Origin, QueuedCall, QueuedFacts, Requeued};
pub use reask::Reasking;
pub use recovery::Recovery;
pub use resolve::{NOTE_MAX, Resolution};
pub use retention::RetentionConfig;
pub use scrub::Scrub;
pub use signer::PublicKey;
pub use sink::SinkConfig;
pub use state::{RequestState, StateOf};
pub use status::CallStatus;
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
    /// Held while a backup is taken.
    backing_up: Mutex<()>,
    /// Held while the key of a subject is destroyed, and while none may be.
    keys_stay: Mutex<()>,
    /// Held by whoever has the turn to erase somebody.
    erasing: Arc<tokio::sync::Mutex<()>>,
    sinks: Mutex<Option<Sinks>>,
    keep_answers_ms: u64,
    config: LedgerConfig,
    clock: Clock,
    /// Dropped with the ledger, which ends its threads.
    _threads: [mpsc::Sender<()>; 2],
    /// Taken by the thread that keeps house.
    keeping: Mutex<Option<mpsc::Receiver<()>>>,
    /// The mark that was written last.
    marked: Mutex<Tip>,
    /// Whether something may go from the log.
    stillness: Arc<Stillness>,
}

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
            backing_up: Mutex::default(),
            keys_stay: Mutex::default(),
            erasing: Arc::default(),
            sinks: Mutex::default(),
            keep_answers_ms: u64::try_from(config.keep_answers.duration().as_millis()).unwrap_or(u64::MAX),
            config: config.clone(),
            clock,
            _threads: [upkeep, keeping],
            keeping: Mutex::new(Some(keeping_ended)),
            marked: Mutex::new(Tip::EMPTY),
            stillness: Arc::default(),
        });
        let ledger = Self { inner };
        mark::check(&ledger)?;
        checkpoint::check_copy(&ledger)?;
        let recovery = recovery::recover(&ledger.inner)?;
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
        inner.append_rejection(Some(slot), facts.call, facts.generation, body, facts.why.code());
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
            ledger.inner.write_counts(true);
            let written = ledger.inner.checkpoint().map(drop);
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
    fn write_counts(self: &Arc<Self>, closing: bool) {
        for repetition in self.rejections.take_due(closing) {
            let (call, generation, principal) = (repetition.call, repetition.generation, &repetition.principal);
            match self.subjects.key(&self.secret.subject(&principal.issuer, &principal.subject)) {
                Ok(key) => {
                    let code = repetition.code;
                    self.append_rejection(None, call, generation, repetition.body(&key), code);
                }
                // The counts of all others have been taken as well, and are lost unless they are written now.
                Err(error) => {
                    tracing::error!(%call, %error, "rejections that were counted up to this one could not be written down")
                }
            }
        }
    }

    /// The key of a caller; the first time somebody calls, it is made.
    async fn subject_key(self: &Arc<Self>, principal: &Principal) -> Result<Arc<SubjectKey>, LedgerError> {
        self.key_of(self.secret.subject(&principal.issuer, &principal.subject)).await
    }

    /// The same, of the subject with this tag.
    async fn key_of(self: &Arc<Self>, tag: Digest) -> Result<Arc<SubjectKey>, LedgerError> {
        if let Some(key) = self.subjects.at_hand(&tag) {
            return Ok(key);
        }
        Newcomers::key(self, tag).await
    }

    fn append_rejection(
        self: &Arc<Self>,
        slot: Option<Slot>,
        call: CallId,
        generation: Generation,
        body: body::Body,
        code: &'static str,
    ) {
        let inner = Arc::clone(self);
        let append = move |tx: &mut Tx<'_>| {
            let body = body.or_impersonal(tx, &inner.subjects, || rejections::impersonal(code))?;
            let draft = audit::Draft { kind: Kind::Rejection, call: Some(call), generation, body };
            audit::append(tx, draft, inner.clock.now())
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
