//! What admins did: which plugins and policies took effect when, and which were refused.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::audit::{self, Draft};
use super::body::Body;
use super::chain::Kind;
use super::facts::Generation;
use super::{Ledger, LedgerError, keys};
use crate::model::{
    Contents, GenerationChange, LoadProblem, LoadRefusal, PluginVersion, PolicyFileDigest, PolicyVersion, Timestamp,
};
use crate::store::Tx;

/// A record of a refusal is written at most this often: an editor that saves and saves again buys no disk writes.
const REFUSALS: Duration = Duration::from_secs(10);

/// The most problems of a refusal that are written down.
const PROBLEMS: usize = 8;

/// When a refusal was last written down, and how many there were since.
#[derive(Default)]
pub(super) struct Refusals {
    last: Option<Instant>,
    unrecorded: u64,
}

/// The plugins and policies that the log says were last put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGeneration {
    /// Which policies they were.
    pub version: PolicyVersion,
    /// The files those came from.
    pub files: Vec<PolicyFileDigest>,
    /// The plugins.
    pub plugins: Vec<PluginVersion>,
}

impl LastGeneration {
    /// What it was made of.
    pub fn contents(&self) -> Contents<'_> {
        Contents { files: &self.files, plugins: &self.plugins }
    }
}

impl Ledger {
    /// Writes down that other plugins or policies take effect. Durable on return: only then may they.
    ///
    /// # Errors
    /// If the store fails or refuses. What is in force must stay as it is.
    pub async fn record_change(&self, change: &GenerationChange) -> Result<(), LedgerError> {
        let after = change.after;
        let body = Body::plain(&ChangeBody { action: "reload", change });
        self.record_admin(after, body, |tx, seq| tx.put(keys::POLICIES.to_vec(), seq.to_be_bytes().to_vec())).await
    }

    /// Writes down that plugins or policies were refused while `in_force` stays in force; of several within a few seconds only the first,
    /// and with the next one how many there were in between.
    ///
    /// # Errors
    /// If the store fails or refuses.
    pub async fn record_refusal(&self, refusal: &LoadRefusal, in_force: PolicyVersion) -> Result<(), LedgerError> {
        let unrecorded = {
            let mut refusals = self.inner.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.last.is_some_and(|last| last.elapsed() < REFUSALS) {
                refusals.unrecorded += 1;
                return Ok(());
            }
            refusals.last = Some(Instant::now());
            std::mem::take(&mut refusals.unrecorded)
        };
        let content = RefusalBody {
            action: "reload_refused",
            in_force,
            part: refusal.part.as_str(),
            more: refusal.more + refusal.problems.len().saturating_sub(PROBLEMS),
            problems: &refusal.problems[..refusal.problems.len().min(PROBLEMS)],
            source: refusal.source.as_str(),
            unrecorded,
        };
        self.record_admin(in_force, Body::plain(&content), |_, _| Ok(())).await
    }

    /// The plugins and policies that the log says were last put in force; none if it says nothing, or no longer what they were.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn last_generation(&self) -> Result<Option<LastGeneration>, LedgerError> {
        #[derive(Deserialize)]
        struct Body {
            files: Vec<PolicyFileDigest>,
            // Logs begun before plugins could change tell nothing of them.
            #[serde(default)]
            plugins: Vec<PluginVersion>,
        }
        let Some(row) = self.inner.store.get(keys::POLICIES)? else { return Ok(None) };
        let damaged = |problem: &str| LedgerError::damaged("the place of the last change of plugins or policies")(problem);
        let seq = u64::from_be_bytes(row.as_slice().try_into().map_err(|_| damaged("it is no number"))?);
        let record = self.records(seq, 1)?.pop().filter(|record| record.head.kind == Kind::Admin);
        let record = record.ok_or_else(|| damaged("there is no such record"))?;
        let Some(body) = record.body else { return Ok(None) };
        let Body { files, plugins } = serde_json::from_slice(&body).map_err(LedgerError::damaged(format!("record {seq}")))?;
        let version = PolicyVersion { generation: record.head.generation, policies: record.head.policy };
        Ok(Some(LastGeneration { version, files, plugins }))
    }

    /// What keeps the answer of [`Ledger::last_generation`] when the records up to `until` are dropped; `None` if they are not needed
    /// for it. Blocks on the disk.
    pub(super) fn restate_generation(&self, until: u64) -> Result<Option<Restated>, LedgerError> {
        let store = &self.inner.store;
        let Some(place) = store.get(keys::POLICIES)?.filter(|place| place[..] <= until.to_be_bytes()[..]) else {
            return Ok(None);
        };
        let Some(last) = self.last_generation()? else { return Ok(None) };
        let LastGeneration { version, files, plugins } = &last;
        let mut body = Body::plain(&RestatedBody { action: "generation_restated", files, plugins });
        body.write_file_blocking(store)?;
        let generation = Generation { number: version.generation, policies: version.policies };
        Ok(Some(Restated { place, draft: Draft { kind: Kind::Admin, call: None, generation, body } }))
    }

    pub(super) async fn record_admin(
        &self,
        version: PolicyVersion,
        mut body: Body,
        further: impl FnOnce(&mut Tx<'_>, u64) -> Result<(), crate::store::StoreError> + Send + 'static,
    ) -> Result<(), LedgerError> {
        let inner = &self.inner;
        let slot = inner.store.reserve().await?;
        if !body.is_inline() {
            inner.store.check_space()?;
        }
        body.write_file(&inner.store).await?;
        let generation = Generation { number: version.generation, policies: version.policies };
        let (draft, clock) = (Draft { kind: Kind::Admin, call: None, generation, body }, inner.clock.clone());
        let write = move |tx: &mut Tx<'_>| {
            let seq = audit::append(tx, draft, clock.now())?;
            Ok::<_, LedgerError>(further(tx, seq)?)
        };
        inner.store.commit_in(slot, write).await
    }
}

/// Once more, what is in force: the record that tells is about to go.
pub(super) struct Restated {
    /// Where that record is.
    place: Vec<u8>,
    draft: Draft,
}

impl Restated {
    /// Writes it down, unless something else was put in force since.
    pub fn append(self, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), LedgerError> {
        if tx.get(keys::POLICIES)?.is_some_and(|place| place == self.place) {
            let seq = audit::append(tx, self.draft, now)?;
            tx.put(keys::POLICIES.to_vec(), seq.to_be_bytes().to_vec())?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct RestatedBody<'a> {
    action: &'static str,
    files: &'a [PolicyFileDigest],
    plugins: &'a [PluginVersion],
}

#[derive(Serialize)]
struct ChangeBody<'a> {
    action: &'static str,
    #[serde(flatten)]
    change: &'a GenerationChange,
}

#[derive(Serialize)]
struct RefusalBody<'a> {
    action: &'static str,
    in_force: PolicyVersion,
    part: &'static str,
    more: usize,
    problems: &'a [LoadProblem],
    source: &'static str,
    unrecorded: u64,
}
