//! The tools the host serves: plugins and policies as one generation, swapped whole, never changed in place.

pub mod advertise;
pub mod load;
pub mod manifest;
pub mod schema;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::model::{Digest, Manifest, ToolManifest, ToolName};
use crate::policy::Policies;
use crate::sandbox::Program;

pub use load::Loader;
pub use schema::Schema;

/// One loaded plugin: a reviewed manifest and the compiled component it belongs to.
pub struct Plugin {
    /// What the manifest declares.
    pub manifest: Manifest,
    /// SHA-256 of the component's bytes, as every audit record names it.
    pub digest: Digest,
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
}

/// The current generation, and the news that it changed.
pub struct Registry {
    current: ArcSwap<Generation>,
    changed: watch::Sender<u64>,
}

impl Registry {
    /// A registry that serves `generation`.
    pub fn new(generation: Generation) -> Self {
        let changed = watch::Sender::new(0);
        Self { current: ArcSwap::from_pointee(generation), changed }
    }

    /// The generation to start a call on.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Ticks whenever the list of tools may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells every listener that the list of tools may have changed.
    pub fn announce_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}
