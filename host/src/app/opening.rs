//! Opening the ledger and the gate: what the last stop cut off, how fast this machine is, which limits do not fit together.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::KEYS;
use crate::admission::Admission;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::sandbox::Sandbox;
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

/// Opens the gate for a host that runs its guests in `sandbox`.
///
/// # Errors
/// A limit makes no sense, or two of them none together.
pub fn admission(config: &Config, sandbox: &Sandbox) -> Result<Admission> {
    let (gate, guests) = (&config.admission, &config.sandbox);
    ensure!(
        gate.slots <= guests.max_instances as usize,
        "`admission.slots` is {}, but `sandbox.max_instances` is {}: calls would hold slots and find no place; raise the one or lower \
         the other",
        gate.slots,
        guests.max_instances
    );
    ensure!(
        gate.memory >= guests.max_memory,
        "`admission.memory` is {}, but `sandbox.max_memory` lets one guest have {}; raise the one or lower the other",
        gate.memory,
        guests.max_memory
    );
    let capacity = match gate.capacity {
        Some(capacity) => capacity,
        None => sandbox.capacity()?,
    };
    let source = if gate.capacity.is_some() { "config" } else { "measured" };
    tracing::info!(fuel_per_second = capacity, source, slots = gate.slots, "the gate is open");
    Ok(Admission::new(gate.clone(), capacity)?)
}
