//! A host that is made to die again and again on one data folder, beside a backend that lives on and callers who remember.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::Value;

use super::journal::{Figures, Gone, Journal};
use super::load::{Habits, Load};
use super::log::{Log, effects};
use super::{Billing, Host, Started, plugins};

/// The invoices that every new book of the backend holds; none of them has to do with a call.
const SEEDED: usize = 12;

/// One data folder and all who know what should be in it.
pub struct Scene {
    /// The backend, which lives on.
    pub billing: Billing,
    plugins: tempfile::TempDir,
    folder: tempfile::TempDir,
    journal: Arc<Journal>,
    number: Arc<AtomicU64>,
    /// Invoices created so far, in the backend's book.
    created: Vec<Value>,
    /// The keys of what happened at the backend, as far as anybody looked.
    done: BTreeSet<String>,
    config: String,
    /// What is rolled with it depends on the seed alone, not on what the host does.
    pub dice: fastrand::Rng,
}

impl Scene {
    /// A backend that takes its time, and an empty folder.
    pub fn new(seed: u64) -> Self {
        let plugins = plugins(&["invoices", "hostile"]);
        // A tool that answers whatever it is told to, however long; as a write, so that its answers are kept.
        let manifest = plugins.path().join("hostile/plugin.toml");
        let text = std::fs::read_to_string(&manifest).expect("it has a manifest");
        let (read, write) = ("name = \"garbage_output\"\neffect = \"read\"", "name = \"garbage_output\"\neffect = \"write\"");
        assert!(text.contains(read), "{text}");
        std::fs::write(&manifest, text.replace(read, write)).expect("the manifest can be written");
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            billing: Billing::start(&["--latency", "2ms"]),
            plugins,
            folder,
            journal: Arc::default(),
            number: Arc::default(),
            created: Vec::new(),
            done: BTreeSet::new(),
            config: String::new(),
            dice: fastrand::Rng::with_seed(seed),
        }
    }

    /// With more of a `tidegate.toml` for its hosts.
    pub fn config(mut self, toml: &str) -> Self {
        self.config += toml;
        self
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A host on the data folder, to be started.
    pub fn host(&self) -> Host {
        let backend = format!("billing={}", self.billing.url);
        Host::dev(self.plugins.path()).with(&["--backend", &backend]).config(&self.config).on(&self.data())
    }

    /// Sets callers on the host.
    pub fn load(&mut self, host: &Started, habits: Habits) -> Load {
        Load::start(&host.client(), &self.journal, &self.number, &mut self.dice, habits)
    }

    /// Asks a host that has come back for all that was in question when it died.
    ///
    /// # Errors
    /// It is gone again.
    pub fn recheck(&mut self, host: &Started) -> Result<(), Gone> {
        self.journal.recheck(&host.client(), &mut self.dice)
    }

    /// Holds log, callers and backend against each other while no host runs, and answers what does not fit, and how many
    /// records the log has.
    pub fn inspect(&mut self) -> (Vec<String>, usize) {
        let (log, mut problems) = Log::of(&self.data());
        let records = log.len();
        let new = self.billing.invoices_from(SEEDED + self.created.len() + 1);
        self.created.extend(new);
        problems.extend(self.journal.problems());
        let effects = effects(&self.created, &self.billing.payments());
        problems.extend(log.contradictions(&self.journal, &effects));
        self.done = effects.into_iter().map(|effect| effect.key).collect();
        (problems, records)
    }

    /// How often what happened.
    pub fn figures(&self) -> Figures {
        self.journal.figures(&self.done)
    }
}

/// What all choices of a run depend on: `TIDEGATE_SEED`, or a new one. Shown when a test fails.
pub fn seed() -> u64 {
    let told = std::env::var("TIDEGATE_SEED").map(|seed| seed.parse().expect("TIDEGATE_SEED is a number"));
    let seed = told.unwrap_or_else(|_| fastrand::u64(..1 << 32));
    eprintln!("TIDEGATE_SEED={seed}");
    seed
}
