//! After a fault of the store, while the host runs: what of the open calls is on the disk, and what becomes of it.
//!
//! A call that somebody in this process still runs, or is about to end, stays open. A call whose outcome was lost with the fault
//! gets the outcome that a crash would have left it. A call that waits, waits on. A person whose erasure was lost is not erased.
//! Nothing else runs meanwhile.

use std::sync::Arc;

use super::audit;
use super::chain::{self, TipRow};
use super::intent::Lost;
use super::{Inner, LedgerError, keys, open, page, queue};
use crate::model::Effect;
use crate::store::{Mended, Mender, Tx, Unmended};

/// More pages of open calls than there can be.
const ALL: usize = usize::MAX;

/// Has the ledger look through a store that was opened anew.
pub(super) fn register(inner: &Arc<Inner>) {
    let ledger = Arc::downgrade(inner);
    inner.store.mend_with(Mender {
        landmark: keys::TIP,
        mend: Box::new(move |tx, durable| {
            let ledger = ledger.upgrade().ok_or_else(|| Unmended::Later("the host is stopping".to_owned()))?;
            mend(&ledger, tx, durable).map_err(|error| match error {
                // The disk may be readable again a moment later.
                LedgerError::Store(error) => error.into(),
                error @ LedgerError::Secret { .. } => Unmended::Later(error.to_string()),
                error => Unmended::Never(error.to_string()),
            })
        }),
    });
}

fn mend(ledger: &Arc<Inner>, tx: &mut Tx<'_>, durable: Option<&[u8]>) -> Result<Mended, LedgerError> {
    if let Some(durable) = durable {
        leads_through(tx, durable)?;
    }
    let (mut interrupted, mut outcome_unknown) = (0_u64, 0_u64);
    for (key, row) in tx.scan(keys::OPEN_START, keys::OPEN_END, ALL)? {
        let number = keys::open_page(&key).ok_or_else(|| LedgerError::damaged("a page of open calls")("its key is malformed"))?;
        let (kept, lost): (Vec<_>, Vec<_>) =
            open::on_page(&row)?.into_iter().partition(|(tag, open)| ledger.open_calls.is_held(number, *tag, &open.call));
        if lost.is_empty() {
            continue;
        }
        match kept.is_empty() {
            true => tx.delete(key),
            false => tx.put(key, open::page_of(&kept))?,
        }
        for (_, open) in lost {
            let (body, end) = open.lost(Lost::Interrupted);
            open.end(tx, ledger, body, end)?;
            match open.effect {
                Effect::Read => interrupted += 1,
                Effect::Write => outcome_unknown += 1,
            }
        }
    }
    let mended_queue = queue::mend(ledger, tx)?;
    // INVARIANT: what memory holds of erasures is what the disk says of them, before any commit that was held back has its turn. One
    // that was sealed with the key of somebody who is not erased after all would lose what it says, and no record would account for it.
    let in_vain = ledger.subjects.retired_in_vain(|id| Ok(tx.get(&keys::doomed_key(id))?.is_some()))?;
    let (open_calls, ledger) = (Arc::clone(&ledger.open_calls), Arc::clone(ledger));
    Ok(Box::new(move || {
        ledger.subjects.reinstate(&in_vain);
        open_calls.unblock();
        mended_queue();
        if interrupted + outcome_unknown > 0 {
            tracing::warn!(interrupted, outcome_unknown, "closed the calls whose outcome the store's failure has cut off");
        }
    }))
}

/// That the log still leads through the record that was its tip when it was last known to be durable.
fn leads_through(tx: &Tx<'_>, durable: &[u8]) -> Result<(), LedgerError> {
    let TipRow { tip, page: first, .. } = TipRow::decode(durable).map_err(LedgerError::damaged("the tip of the log"))?;
    let reached = audit::tip_in(tx)?.tip;
    let page = tx.get(&keys::log(first))?.unwrap_or_default();
    let item = usize::try_from(tip.seq - first).ok().and_then(|index| page::pairs(&page).nth(index)).flatten();
    match item {
        Some((head, _)) if chain::hash(head) == tip.hash && reached.seq >= tip.seq => Ok(()),
        _ => Err(LedgerError::Receded { durable: tip.seq, reached: reached.seq }),
    }
}
