//! Opening the ledger: the store, what the last stop cut off, and how long that took.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::KEYS;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::store::Store;

/// Opens the ledger in the folder `data` and closes the calls that the last stop cut off.
///
/// # Errors
/// If the store or the ledger does not open.
pub async fn open(data: &Path, config: &Config) -> Result<Ledger> {
    let (data, store, ledger) = (data.to_owned(), config.store.clone(), config.ledger.clone());
    let begun = Instant::now();
    // Opening replays the store's log; it may take seconds after a crash.
    let open = move || -> Result<_> { Ok(Ledger::open(Store::open(&data, &store)?, &data.join(KEYS), &ledger)?) };
    let (ledger, recovery) = tokio::task::spawn_blocking(open).await.context("opening the store panicked")??;
    let (opened, took) = (begun.elapsed(), recovery.took);
    match (recovery.interrupted, recovery.outcome_unknown) {
        (0, 0) => tracing::info!(?opened, recovery = ?took, "the ledger is open; the last stop cut off no call"),
        (interrupted, outcome_unknown) => tracing::warn!(
            interrupted,
            outcome_unknown,
            ?opened,
            recovery = ?took,
            "the ledger is open; closed the calls that the last stop cut off"
        ),
    }
    ledger.keep_house();
    Ok(ledger)
}
