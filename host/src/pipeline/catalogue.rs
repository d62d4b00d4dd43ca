//! What can be asked of the pipeline besides calling: which tools there are, whether calls are served, which policies are in force.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Pipeline, Readiness};
use crate::admission::Admission;
use crate::ledger::Ledger;
use crate::model::{Principal, ToolName};
use crate::registry::Tool;

impl Pipeline {
    /// The tools this principal may see, in name order.
    pub fn list(&self, principal: &Principal) -> Vec<Arc<Tool>> {
        let generation = self.parts.registry.current();
        // A listing belongs to no call, and so to no trace that policies could speak of.
        let visible = generation.policies.listed(principal, "");
        visible.into_iter().filter_map(|name| generation.tools.get(name).cloned()).collect()
    }

    /// Whether this principal may see this tool: one decision, where a list takes one for each tool.
    pub fn lists(&self, principal: &Principal, tool: &ToolName) -> bool {
        self.parts.registry.current().policies.lists(principal, tool, "")
    }

    /// All tools, in name order, whoever may see them.
    pub fn tools(&self) -> Vec<Arc<Tool>> {
        self.parts.registry.current().tools.values().cloned().collect()
    }

    /// One tool, whoever may see it.
    pub fn tool(&self, name: &str) -> Option<Arc<Tool>> {
        self.parts.registry.current().tools.get(name).cloned()
    }

    /// Ticks whenever the list of tools may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.parts.registry.changes()
    }

    /// Whether calls are served. A dead backend is detail: its calls are answered with the envelope.
    pub fn readiness(&self) -> Readiness {
        let store = self.parts.ledger.store();
        let failure = store.check().and_then(|()| store.check_space()).err().map(|error| error.to_string());
        let generation = self.parts.registry.current();
        let is_stopping = self.parts.shutdown.is_cancelled();
        Readiness {
            ready: failure.is_none() && !is_stopping,
            detail: json!({
                "ledger": failure.as_deref().unwrap_or("writable"),
                "unindexed_records": self.parts.ledger.unindexed().ok(),
                "stopping": is_stopping,
                "generation": generation.number,
                "plugins": generation.plugins.len(),
                "tools": generation.tools.len(),
                "plugin": self.parts.registry.plugin_health(),
                "policy": self.parts.registry.policy_health(),
                "unrecorded_rejections": self.parts.ledger.unrecorded_rejections(),
                "backends": self.parts.outbound.health(),
                "issuers": self.parts.authenticator.health(),
                "running": self.parts.admission.running(),
                "queued": self.parts.admission.waiting(),
            }),
        }
    }

    /// The ledger, for an operator's questions.
    pub fn ledger(&self) -> &Ledger {
        &self.parts.ledger
    }

    /// The gate, for an operator's questions.
    pub fn admission(&self) -> &Admission {
        &self.parts.admission
    }

    /// What there is to tell an operator about the plugins: those in force, and those refused last.
    pub fn plugin_report(&self) -> Value {
        self.parts.registry.plugin_report()
    }

    /// What there is to tell an admin about the policies: those in force, and those refused last.
    pub fn policy_report(&self) -> Value {
        self.parts.registry.policy_report()
    }
}
