//! Opening the ledger and the gate: which limits do not fit together, what the last stop cut off, how fast this machine is.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use super::{KEYS, grants};
use crate::admission::{Admission, AdmissionConfig};
use crate::auth::{self, AdminToken};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::outbound;
use crate::pipeline::installer::InstallRules;
use crate::policy::GeneratedPermits;
use crate::registry::artifact::{FetchLimits, Unsigned};
use crate::registry::installed::{Promises, Shelf};
use crate::registry::{Loader, Sources};
use crate::sandbox::Sandbox;
use crate::server::AdminConfig;
use crate::store::Store;

/// The folder of compiled components in the data folder.
const COMPILED: &str = "compiled";

/// Whether the config, on the data folder `data`, makes sense where that can be told without opening anything: what every host asks
/// before it starts, and `doctor` too.
///
/// # Errors
/// The first thing that makes none.
pub fn check(config: &Config, data: &Path) -> Result<()> {
    let (gate, guests) = (&config.admission, &config.sandbox);
    gate.check()?;
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
    config.auth.limits().check().map_err(|problem| anyhow!(problem))?;
    auth::check(&config.auth.issuers)?;
    let plugins = &config.plugins;
    ensure!(
        !plugins.require_signatures || plugins.trust.is_some(),
        "`[plugins] require_signatures` serves only what somebody has signed who is trusted, but nobody is: name the trust file with \
         `trust`, or leave `require_signatures` out"
    );
    ensure!(
        !plugins.require_signatures || plugins.unsigned == Unsigned::Refuse,
        "`[plugins] unsigned = \"allow\"` lets plugins be installed that nobody vouches for, and `require_signatures` keeps them from \
         being served; leave one of the two out"
    );
    grants::check(config, data)?;
    config.admin.hosts()?;
    Ok(config.ledger.check()?)
}

/// The token that the admin API asks for; none if there is no API.
///
/// # Errors
/// It is not where the config says, or can't be made.
pub fn admin_token(data: &Path, config: &AdminConfig) -> Result<Option<AdminToken>> {
    if !config.api {
        return Ok(None);
    }
    let token = match &config.token_file {
        Some(file) => AdminToken::at(file.clone())?,
        None => AdminToken::in_folder(&data.join(KEYS))?,
    };
    tracing::info!(token = %token.path().display(), "the admin API takes the token in this file");
    Ok(Some(token))
}

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

/// The sandbox of a host on the data folder `data`, which keeps what it compiled there.
///
/// # Errors
/// `[sandbox]` makes no sense, or the folder for compiled components can't be used.
pub fn sandbox(config: &Config, data: &Path, ledger: &Ledger) -> Result<Arc<Sandbox>> {
    let sandbox = Sandbox::new(&config.sandbox, outbound::is_reserved)?;
    Ok(Arc::new(sandbox.with_cache(&data.join(COMPILED), &ledger.key_for("tidegate/compiled/1"))?))
}

/// What loads plugins and policies for the data folder `data`, to be run in `sandbox`.
pub fn loader(config: &Config, data: &Path, sandbox: &Arc<Sandbox>, test_hooks: bool) -> Loader {
    Loader {
        sandbox: Arc::clone(sandbox),
        backends: config.backends.keys().cloned().collect(),
        origins: config.origins.allow.iter().map(|allowed| allowed.origin.clone()).collect(),
        test_hooks,
        permits: if config.policies.generate { GeneratedPermits::On } else { GeneratedPermits::Off },
        keep_answers: config.ledger.keep_answers,
        promises: Promises {
            shelf: Some(Shelf::of(data)),
            pins: config.plugins.pins.iter().map(|(name, pin)| (name.clone(), pin.0)).collect(),
            trust: config.plugins.trust.clone(),
            require_signatures: config.plugins.require_signatures,
        },
    }
}

/// Where plugins and policies come from: the configured folders, and what is installed in the data folder `data`.
pub fn sources(config: &Config, data: &Path) -> Sources {
    let (plugins, trust) = (config.plugins.path.clone(), config.plugins.trust.clone());
    let (policies, awaits_policies) = (config.policy_folder(), config.policies.awaited);
    Sources { plugins, shelf: Shelf::of(data), policies, awaits_policies, trust }
}

/// Removes what installations left that were cut short. Whoever has the ledger open is the only one who installs.
///
/// # Errors
/// What is installed can't be told.
pub fn sweep(sources: &Sources) -> Result<()> {
    let set = sources.shelf.read()?;
    // Contents without a list that keeps any may belong to one that is yet to be put back.
    if set.plugins.is_empty() {
        sources.shelf.sweep_unfinished()
    } else {
        sources.shelf.sweep(&set)
    }
    Ok(())
}

/// What may be installed.
pub fn install_rules(config: &Config) -> InstallRules {
    let plugins = &config.plugins;
    InstallRules {
        approvals: plugins.approvals.clone(),
        keep: plugins.keep.get(),
        trust: plugins.trust.clone(),
        unsigned: plugins.unsigned,
        limits: FetchLimits::new(config.sandbox.max_component, plugins.fetch_timeout),
    }
}

/// Opens the gate for a host that runs its guests in `sandbox`.
///
/// # Errors
/// A limit makes no sense, or how fast this machine is can't be told.
pub fn admission(config: &Config, sandbox: &Sandbox) -> Result<Admission> {
    let gate = &config.admission;
    let capacity = match gate.capacity {
        Some(capacity) => capacity,
        None => sandbox.capacity()?,
    };
    let source = if gate.capacity.is_some() { "config" } else { "measured" };
    tracing::info!(fuel_per_second = capacity, source, slots = gate.slots, "the gate is open");
    // INVARIANT: a yes counts once: what comes with it again finds the answer kept for as long as it would be taken.
    let ask_timeout = gate.ask_timeout.min(config.ledger.keep_answers);
    if ask_timeout < gate.ask_timeout {
        tracing::warn!(%ask_timeout, "`ask_timeout` is longer than `[ledger] keep_answers`, and ends with that");
    }
    Ok(Admission::new(AdmissionConfig { ask_timeout, ..gate.clone() }, capacity)?)
}
