//! The tools the host serves: plugins and policies as one generation, swapped whole, never changed in place.

pub mod advertise;
pub mod artifact;
mod face;
pub mod installed;
pub mod load;
pub mod manifest;
mod or_pending;
pub mod reload;
pub mod schema;
pub mod status;
pub mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value};

use crate::model::{ChangeSource, Digest, Manifest, PolicyFileDigest, PolicyVersion, Span, Timestamp, ToolManifest, ToolName};
use crate::policy::Policies;
use crate::sandbox::Program;

pub use load::Loader;
pub use reload::{Look, Reloader, holds_policies};
pub use schema::Schema;
pub use status::PolicyStatus;

/// One loaded plugin: a reviewed manifest and the compiled component it belongs to.
pub struct Plugin {
    /// What the manifest declares.
    pub manifest: Manifest,
    /// SHA-256 of the component's bytes, as every audit record names it.
    pub digest: Digest,
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
    /// What made the host load these policies.
    pub policies_from: ChangeSource,
    /// Since when they are in force.
    pub policies_since: Timestamp,
}

impl Generation {
    /// Which policies are in force.
    pub fn policy_version(&self) -> PolicyVersion {
        PolicyVersion { generation: self.number, policies: self.policies.hash() }
    }
}

/// The current generation, and the news that it changed.
pub struct Registry {
    current: ArcSwap<Generation>,
    changed: tokio::sync::watch::Sender<u64>,
    policy_folder: Option<PathBuf>,
    policy_status: ArcSwap<PolicyStatus>,
}

impl Registry {
    /// A registry that serves `generation`, whose policies are from `policy_folder`.
    pub fn new(generation: Generation, policy_folder: Option<PathBuf>) -> Self {
        Self {
            current: ArcSwap::from_pointee(generation),
            changed: tokio::sync::watch::Sender::new(0),
            policy_folder,
            policy_status: ArcSwap::default(),
        }
    }

    /// The generation to start a call on.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// The folder of the admin's policies, if there is one.
    pub fn policy_folder(&self) -> Option<&Path> {
        self.policy_folder.as_deref()
    }

    /// How changes of the policies went so far.
    pub fn policy_status(&self) -> Arc<PolicyStatus> {
        self.policy_status.load_full()
    }

    /// Ticks whenever the list of tools may have changed.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells every listener that the list of tools may have changed.
    pub fn announce_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Serves `generation` to calls that start from now on.
    fn replace(&self, generation: Generation) {
        self.current.store(Arc::new(generation));
        self.announce_change();
    }

    fn update_status(&self, update: impl Fn(&mut PolicyStatus)) {
        self.policy_status.rcu(|status| {
            let mut status = PolicyStatus::clone(status);
            update(&mut status);
            status
        });
    }
}
