//! Erasing a person: what the log says of somebody becomes unreadable, and the log stays provable.

use std::sync::{Arc, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::act::{self, Act};
use super::subjects::KeyId;
use super::{Inner, Ledger, LedgerError, keys};
use crate::store::Urgency;

/// The first key behind all keys to be destroyed.
const DOOMED_END: &[u8] = b"e0";

/// The most keys that a person has at a time; more are erased by erasing again.
const KEYS_MAX: usize = 64;

/// The turn to erase somebody; the next one has it when this is dropped.
#[must_use = "the next one has its turn when this is dropped"]
pub struct ErasureTurn {
    _alone: OwnedMutexGuard<()>,
}

impl Ledger {
    /// Waits for the turn to [erase](Self::erase) somebody, for as long as it takes. To be kept until that has returned.
    ///
    /// An erasure can hold its thread for as long as a backup takes. A host has so many threads for what blocks, and it is to lose
    /// one of them to erasures, however many are asked for.
    pub async fn erasure_turn(&self) -> ErasureTurn {
        ErasureTurn { _alone: Arc::clone(&self.inner.erasing).lock_owned().await }
    }

    /// Destroys the keys of a person, and writes down that it was done, for whose order and why. Answers how many keys there were:
    /// none means that nothing was ever written about the person, or that it was erased before. Durable on return. Blocks on the disk,
    /// and while a backup is taken until that has its copy of the keys: on a live host, wait for [a turn](Self::erasure_turn) first.
    ///
    /// Whatever the person does from then on is written under a new key.
    ///
    /// # Errors
    /// A legal hold speaks of the person, or the store or the key files fail; an erasure that was begun is finished at the next start.
    pub fn erase(&self, issuer: &str, subject: &str, by: &str, reason: &str) -> Result<usize, LedgerError> {
        let inner = &self.inner;
        let tag = inner.secret.subject(issuer, subject);
        let mut ids = inner.subjects.ids(&tag)?;
        ids.truncate(KEYS_MAX);
        if ids.is_empty() {
            return Ok(0);
        }
        let (ledger, by, reason, doomed) = (Arc::clone(inner), by.to_owned(), reason.to_owned(), ids.clone());
        inner.store.commit_blocking(Urgency::Now, move |tx| {
            if let Some(hold) = ledger.holds_in(tx)?.on_subject(&tag) {
                let problem = format!("the legal hold `{}` speaks of it", hold.name);
                return Err(LedgerError::Refused { what: "the erasure".into(), problem });
            }
            let names: Vec<String> = doomed.iter().map(|id| format!("{:032x}", u128::from_be_bytes(*id))).collect();
            let act = Act::Erase { by: &by, keys: &names, reason: &reason, subject_tag: tag.to_string() };
            act::record(tx, &ledger, None, &act)?;
            doomed.iter().try_for_each(|id| tx.put(keys::doomed_key(id), Vec::new()))?;
            // INVARIANT: on the writer thread, with the record that accounts for them: no record behind it is sealed with one of them,
            // or it could not be read from the first moment on, and an export from there could not say why. Should this group fail,
            // the mending takes it back.
            doomed.iter().for_each(|id| ledger.subjects.retire(id, &tag));
            Ok(())
        })?;
        inner.destroy_doomed()?;
        Ok(ids.len())
    }
}

impl Inner {
    /// Destroys the keys that a record says are destroyed.
    ///
    /// INVARIANT: first the record, durably, then the key: what can't be read any more is always accounted for.
    pub(super) fn destroy_doomed(&self) -> Result<(), LedgerError> {
        for key in self.doomed(keys::doomed_key(&[0; 16]), DOOMED_END, usize::MAX)? {
            let id: KeyId = key
                .get(2..)
                .and_then(|id| id.try_into().ok())
                .ok_or_else(|| LedgerError::damaged("a key that is to be destroyed")("its name is of another length"))?;
            // Waits while a backup is taken that needs it.
            let staying = self.keys_stay.lock().unwrap_or_else(PoisonError::into_inner);
            self.subjects.destroy(&id)?;
            drop(staying);
            self.store.commit_blocking(Urgency::Now, move |tx| {
                tx.delete(key);
                Ok::<_, LedgerError>(())
            })?;
        }
        Ok(())
    }
}
