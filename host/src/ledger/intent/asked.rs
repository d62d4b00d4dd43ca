//! The end of a run that asked its caller something: its outcome, and the call's place among those that wait.

use std::sync::Arc;

use super::{Intent, Pending};
use crate::ledger::facts::OutcomeFacts;
use crate::ledger::idempotency::Lease;
use crate::ledger::queue::{Draft, QueuedCall, QueuedFacts};
use crate::ledger::{Ledger, LedgerError, content};
use crate::store::{Tx, Urgency};

/// Why what a run asked was not written down.
#[derive(Debug)]
pub struct NotAsked {
    /// What went wrong.
    pub error: LedgerError,
    /// The intent, if nothing was written yet and its outcome is still owed.
    pub intent: Option<Intent>,
}

impl Ledger {
    /// Writes down that the run of a call whose handle somebody has ended with questions, and that the call waits for the answers:
    /// in one batch, durable on return. Its idempotency key stays taken.
    ///
    /// # Errors
    /// If the store, or the folder of keys, fails or refuses, or the caller is erased at this moment.
    pub async fn record_question(
        &self,
        mut intent: Intent,
        outcome: &OutcomeFacts<'_>,
        queued: &QueuedFacts<'_>,
    ) -> Result<QueuedCall, NotAsked> {
        let inner = &self.inner;
        let pending = intent.pending();
        let call = pending.open.call;
        let prepared = async {
            let told = serde_json::to_vec(&outcome.answer.value).expect("JSON values serialize");
            let keyed = pending.origin.lease().is_some();
            let mut body = content::of_outcome(&inner.secret, outcome, &told, pending.open.intent, keyed, &pending.about);
            let epoch = inner.epochs.current().await?;
            let claim = pending.origin.lease().map(Lease::claim);
            let draft = Draft::of(inner, queued, &pending.about.key, epoch, claim).await?;
            body.write_file(&inner.store).await?;
            draft.check(inner, &call).map(|()| (body, draft))
        };
        let (body, draft) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Err(NotAsked { error, intent: Some(intent) }),
        };
        // INVARIANT: no await between taking the debt off the intent and handing in the commit that pays it.
        let mut pending = intent.pending.take().expect("an intent holds its debt until here");
        let slot = pending.slot.take();
        let (disposition, ended) = (outcome.disposition.as_str(), content::ended(&outcome.outcome.ended));
        let write = move |tx: &mut Tx<'_>| {
            let Pending { ledger, open, place, origin, .. } = &mut *pending;
            place.remove(tx, &call)?;
            let rest = || content::of_lost(disposition, ended, open.intent, open.risk);
            let body = body.or_impersonal(tx, &ledger.subjects, rest)?;
            open.note_end(tx, ledger, body)?;
            let since = open.queued_at.unwrap_or(open.started);
            let queued = QueuedCall::back(&Arc::clone(ledger), call, origin.take_lease(), tx, draft, since)?;
            place.vacate();
            // In this order: a call that runs no more, by the time the first one is dropped, waits.
            Ok::<_, LedgerError>((queued, pending))
        };
        let receipt = inner.store.submit(slot, Urgency::Now, write);
        let (mut queued, pending) = receipt.durable().await.map_err(|error| NotAsked { error, intent: None })?;
        // In this order: at every moment the call can be found.
        queued.is_back();
        drop(pending);
        Ok(queued)
    }
}
