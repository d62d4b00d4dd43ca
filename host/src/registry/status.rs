//! What an operator is told about the policies: what is in force, since when, and what was refused.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Registry;
use crate::model::{PolicyRefusal, Timestamp};

/// What generated permits name as their file.
const GENERATED: &str = "<generated>";

/// How often policies were changed and refused since the start, and the last refusal.
#[derive(Clone, Debug, Default)]
pub struct PolicyStatus {
    /// How many changes took effect.
    pub reloads: u64,
    /// How many sets were refused.
    pub refusals: u64,
    /// The last set that was refused.
    pub refusal: Option<Arc<PolicyRefusal>>,
    /// Whether that set is still what the folder holds.
    pub standing: bool,
}

impl Registry {
    /// The policies in a few words, for readiness: `{hash, loaded_at, state, problems}`. `state` is `current`, or `refused` if the
    /// folder holds something else than what is in force.
    pub fn policy_health(&self) -> Value {
        let (generation, status) = (self.current(), self.policy_status());
        let standing = status.refusal.as_deref().filter(|_| status.standing);
        json!({
            "hash": generation.policies.hash(),
            "loaded_at": rfc3339(generation.policies_since),
            "state": state(&status),
            "problems": standing.map_or(json!([]), |refusal| json!(refusal.problems)),
        })
    }

    /// All there is to tell about the policies, for `tidegate policy status`.
    pub fn policy_report(&self) -> Value {
        let (generation, status) = (self.current(), self.policy_status());
        let policies = &generation.policies;
        let sources: Vec<_> = policies.ids().filter_map(|id| policies.source(id)).collect();
        let (generated, written): (Vec<_>, Vec<_>) = sources.into_iter().partition(|source| source.file == GENERATED);
        json!({
            "hash": generation.policies.hash(),
            "generation": generation.number,
            "loaded_at": rfc3339(generation.policies_since),
            "source": generation.policies_from,
            "folder": self.policy_folder().map(|folder| folder.display().to_string()),
            "files": generation.policy_files,
            "policies": written.len(),
            "on_trial": written.iter().filter(|source| source.shadow).count(),
            "generated_permits": generated.len(),
            "state": state(&status),
            "reloads": status.reloads, "refusals": status.refusals,
            "last_refused": status.refusal.as_deref().map(|refusal| json!({
                "at": rfc3339(refusal.at), "source": refusal.source, "standing": status.standing,
                "problems": refusal.problems, "more": refusal.more,
            })),
        })
    }
}

fn state(status: &PolicyStatus) -> &'static str {
    if status.standing { "refused" } else { "current" }
}

fn rfc3339(at: Timestamp) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.as_millis())).to_string()
}
