//! What an operator is told about plugins and policies: what is in force, since when, and what was refused.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Arrival, Registry};
use crate::model::{GenerationChange, LoadRefusal, Part, Timestamp};

/// What generated permits name as their file.
const GENERATED: &str = "<generated>";

/// How changes of both parts went since the start.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Of the plugins.
    pub plugins: PartStatus,
    /// Of the policies.
    pub policies: PartStatus,
}

/// How often one part was changed and refused since the start, and the last refusal.
#[derive(Clone, Debug, Default)]
pub struct PartStatus {
    /// How many changes took effect.
    pub reloads: u64,
    /// How many were refused.
    pub refusals: u64,
    /// What was refused last.
    pub refusal: Option<Arc<LoadRefusal>>,
    /// What keeps what lies there from being put in force as a whole: what was refused last, or what would be.
    pub standing: Option<Arc<LoadRefusal>>,
}

impl Status {
    /// How it stands with one part.
    pub(super) fn of(&self, part: Part) -> &PartStatus {
        match part {
            Part::Plugins => &self.plugins,
            Part::Policies => &self.policies,
        }
    }

    pub(super) fn of_mut(&mut self, part: Part) -> &mut PartStatus {
        match part {
            Part::Plugins => &mut self.plugins,
            Part::Policies => &mut self.policies,
        }
    }

    /// What lies there of a part is in force. Whoever looks at plugins looks at policies too.
    pub(super) fn settle(&mut self, part: Part) {
        self.policies.standing = None;
        if part == Part::Plugins {
            self.plugins.standing = None;
        }
    }

    /// This took effect, after a look at `part`.
    pub(super) fn changed(&mut self, change: &GenerationChange, part: Part) {
        self.of_mut(change.part()).reloads += 1;
        self.settle(part);
    }
}

impl PartStatus {
    pub(super) fn refuse(&mut self, refusal: Arc<LoadRefusal>) {
        self.refusals += 1;
        self.refusal = Some(refusal.clone());
        self.stand(refusal);
    }

    /// What lies there would be refused, if it was looked at as a whole. Nobody has refused it yet.
    pub(super) fn stand(&mut self, refusal: Arc<LoadRefusal>) {
        self.standing = Some(refusal);
    }

    fn state(&self) -> &'static str {
        if self.standing.is_some() { "refused" } else { "current" }
    }

    fn health(&self, came: Arrival) -> Value {
        json!({ "loaded_at": rfc3339(came.at), "state": self.state(), "problems": self.problems() })
    }

    /// What keeps what lies there from being put in force as a whole.
    fn problems(&self) -> Value {
        self.standing.as_deref().map_or(json!([]), |standing| json!(standing.problems))
    }

    fn report(&self, came: Arrival) -> Value {
        json!({
            "loaded_at": rfc3339(came.at), "source": came.from, "state": self.state(),
            "reloads": self.reloads, "refusals": self.refusals, "problems": self.problems(),
            "last_refused": self.refusal.as_deref().map(|refusal| json!({
                "at": rfc3339(refusal.at), "source": refusal.source,
                "standing": self.standing.as_ref().zip(self.refusal.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other)),
                "problems": refusal.problems, "more": refusal.more,
            })),
        })
    }
}

impl Registry {
    /// The policies in a few words, for readiness: `{hash, loaded_at, state, problems}`. `state` is `current`, or `refused` if the
    /// folder holds something else than what is in force.
    pub fn policy_health(&self) -> Value {
        let generation = self.current();
        let mut health = self.status().policies.health(generation.policies_came);
        health["hash"] = json!(generation.policies.hash());
        health
    }

    /// The same of the plugins: `{loaded_at, state, problems}`.
    pub fn plugin_health(&self) -> Value {
        self.status().plugins.health(self.current().plugins_came)
    }

    /// All there is to tell about the policies, for `tidegate policy status`.
    pub fn policy_report(&self) -> Value {
        let generation = self.current();
        let policies = &generation.policies;
        let sources: Vec<_> = policies.ids().filter_map(|id| policies.source(id)).collect();
        let (generated, written): (Vec<_>, Vec<_>) = sources.into_iter().partition(|source| source.file == GENERATED);
        let mut report = self.status().policies.report(generation.policies_came);
        report["hash"] = json!(policies.hash());
        report["generation"] = json!(generation.number);
        report["folder"] = json!(self.sources().policies.as_ref().map(|folder| folder.display().to_string()));
        report["files"] = json!(generation.policy_files);
        report["policies"] = json!(written.len());
        report["on_trial"] = json!(written.iter().filter(|source| source.shadow).count());
        report["generated_permits"] = json!(generated.len());
        report
    }

    /// All there is to tell about the plugins, for `tidegate plugin status`.
    pub fn plugin_report(&self) -> Value {
        let generation = self.current();
        let mut report = self.status().plugins.report(generation.plugins_came);
        report["generation"] = json!(generation.number);
        report["folder"] = json!(self.sources().plugins.display().to_string());
        report["plugins"] = json!(generation.plugin_versions());
        report["tools"] = json!(generation.tools.len());
        report
    }
}

fn rfc3339(at: Timestamp) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.as_millis())).to_string()
}
