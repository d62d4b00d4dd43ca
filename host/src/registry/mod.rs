//! The tools the host serves: plugins and policies as one generation, swapped whole, never changed in place.

mod accident;
pub mod advertise;
pub mod artifact;
pub mod error;
mod face;
mod folder;
mod inspect;
pub mod installed;
pub mod load;
pub mod manifest;
mod or_pending;
pub mod reload;
pub mod schema;
pub mod sources;
pub mod status;
pub mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::model::{
    ChangeSource, Digest, Manifest, PluginVersion, PolicyFileDigest, PolicyVersion, Span, Timestamp, ToolManifest, ToolName,
};
use crate::policy::{Policies, PolicyFile};
use crate::sandbox::Program;

pub use accident::holds_policies;
pub use error::LoadError;
pub use inspect::{inspect, tool_row};
pub use load::Loader;
pub use reload::{Candidate, Look, Reloader, Turn};
pub use schema::Schema;
pub use sources::Sources;
pub use status::Status;

/// One loaded plugin: a reviewed manifest and the compiled component it belongs to.
pub struct Plugin {
    /// What the manifest declares.
    pub manifest: Manifest,
    /// Which contents these are, as audit records name them.
    pub version: PluginVersion,
    /// A digest of what the component tells of its tools, as signatures are over it.
    pub told: Digest,
    /// The component, ready to be instantiated.
    pub program: Program,
}

/// One tool, ready to be called.
pub struct Tool {
    /// What clients see of it.
    pub listing: Listing,
    /// Its limits and duties.
    pub manifest: ToolManifest,
    /// The plugin it belongs to.
    pub plugin: Arc<Plugin>,
    /// The schema its arguments must fit, without what the host added to it.
    pub input: Schema,
    /// The schema its structured output must fit.
    pub output: Option<Schema>,
    /// The schema of its arguments as the guest wrote it, to compile policies against.
    pub guest_input: Value,
    /// The digest of what its callers could go by: a call that waited is run by a tool with the same face, or by none.
    pub face: Digest,
}

/// Plugins and their tools, without policies: the part of a [`Generation`] that is loaded first.
#[derive(Default)]
pub struct PluginSet {
    /// The plugins, in name order.
    pub plugins: Vec<Arc<Plugin>>,
    /// The tools by name.
    pub tools: BTreeMap<ToolName, Arc<Tool>>,
    /// Which of these, by their folders, are in force already and would not be let in if they came now; and why.
    pub disowned: Vec<(PathBuf, LoadError)>,
}

/// A tool as `tools/list` shows it (MCP 2026-07-28, Tool).
pub struct Listing {
    /// The unique name.
    pub name: ToolName,
    /// The name for people.
    pub title: Option<String>,
    /// What the tool does, for the model.
    pub description: String,
    /// JSON Schema 2020-12 of the arguments, with the host's `idempotency_key` on write tools.
    pub input_schema: Arc<Map<String, Value>>,
    /// JSON Schema 2020-12 of the structured output.
    pub output_schema: Option<Arc<Map<String, Value>>>,
    /// MCP tool annotations.
    pub annotations: Option<Value>,
    /// How long the answer to a call with an idempotency key is kept, from its completion.
    pub keeps_answers: Span,
}

/// Plugins and policies that belong together. A call that started on a generation finishes on it.
pub struct Generation {
    /// Counts up with every swap.
    pub number: u64,
    /// The plugins, in name order.
    pub plugins: Vec<Arc<Plugin>>,
    /// The tools by name.
    pub tools: BTreeMap<ToolName, Arc<Tool>>,
    /// The compiled policies over exactly these tools.
    pub policies: Arc<Policies>,
    /// The files that the admin's policies came from, by name.
    pub policy_files: Vec<PolicyFileDigest>,
    /// How these plugins came to be in force.
    pub plugins_came: Arrival,
    /// How these policies did.
    pub policies_came: Arrival,
    /// Keeps count of it, for operators: one that calls still run on takes up memory.
    _in_memory: InMemory,
}

/// One more generation in memory, as long as it is.
struct InMemory(metrics::Gauge);

impl InMemory {
    fn begin() -> Self {
        let gauge = metrics::gauge!("tidegate_generations_in_memory");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What brought plugins or policies into force, and when.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// What made the host look.
    pub from: ChangeSource,
    /// Since when they are in force.
    pub at: Timestamp,
}

impl Arrival {
    fn now(from: ChangeSource) -> Self {
        Self { from, at: Timestamp::now() }
    }
}

impl Generation {
    /// Which policies are in force.
    pub fn policy_version(&self) -> PolicyVersion {
        PolicyVersion { generation: self.number, policies: self.policies.hash() }
    }

    /// Which plugins are in force, in name order.
    pub fn plugin_versions(&self) -> Vec<PluginVersion> {
        self.plugins.iter().map(|plugin| plugin.version.clone()).collect()
    }
}

/// The files by their names in the folder, sorted, with the digests of their contents.
fn digests(files: &[PolicyFile]) -> Vec<PolicyFileDigest> {
    let digest = |file: &PolicyFile| PolicyFileDigest {
        file: file.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: Digest(Sha256::digest(file.text.as_bytes()).into()),
    };
    let mut digests: Vec<_> = files.iter().map(digest).collect();
    digests.sort();
    digests
}

/// The current generation, and the news that it changed.
pub struct Registry {
    current: ArcSwap<Generation>,
    changed: tokio::sync::watch::Sender<u64>,
    sources: Sources,
    status: ArcSwap<Status>,
}

impl Registry {
    /// A registry that serves `generation`, which came from `sources`.
    pub fn new(generation: Generation, sources: Sources) -> Self {
        metrics::gauge!("tidegate_generation").set(generation.number as f64);
        Self {
            current: ArcSwap::from_pointee(generation),
            changed: tokio::sync::watch::Sender::new(0),
            sources,
            status: ArcSwap::default(),
        }
    }

    /// The generation to start a call on.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Where plugins and policies come from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// How changes went so far.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Ticks whenever the list of tools may have changed.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells every listener that the list of tools may have changed.
    pub fn announce_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Serves `generation` to calls that start from now on. The one before lives as long as the last call that started on it.
    fn replace(&self, generation: Generation) {
        metrics::gauge!("tidegate_generation").set(generation.number as f64);
        self.current.store(Arc::new(generation));
        // Whoever may see what depends on the policies, so also a list of the same tools may be another.
        self.announce_change();
    }

    fn update_status(&self, update: impl Fn(&mut Status)) {
        self.status.rcu(|status| {
            let mut status = Status::clone(status);
            update(&mut status);
            status
        });
    }
}
