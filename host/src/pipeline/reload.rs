//! Taking other plugins and policies into force: first the change is written down, durably, then it takes effect. No log, no change.

use std::sync::Arc;

use super::installer::{Ground, Inspected, Installer, NotDone};
use super::{Parts, Pipeline};
use crate::model::{ChangeSource, GenerationChange, LoadProblem, LoadRefusal, Part, PluginChange, PolicyFileDigest};
use crate::registry::{Candidate, Look, Reloader, Turn};

impl Pipeline {
    /// What builds the next generation.
    pub fn reloader(&self) -> &Reloader {
        &self.parts.reloader
    }

    /// What installs plugins.
    pub fn installer(&self) -> Installer<'_> {
        let Parts { ledger, registry, install, reloader, .. } = &self.parts;
        Installer { ledger, sources: registry.sources(), rules: install, ground: Ground::Live(reloader) }
    }

    /// The plugin that is served under `name`: what it is, who vouches for it and how it came here.
    ///
    /// # Errors
    /// There is none, or it can't be told.
    pub async fn inspect_plugin(self: &Arc<Self>, name: &str) -> Result<Inspected, NotDone> {
        let (pipeline, name) = (self.clone(), name.to_owned());
        let inspect = move || {
            let Parts { registry, install, .. } = &pipeline.parts;
            Inspected::served(&registry.current(), registry.sources(), install, &name)
        };
        tokio::task::spawn_blocking(inspect).await.expect("looking reports errors instead of panicking")
    }

    /// Loads plugins and policies anew, as they lie on disk, because `by` asks for it. Answers what changed, if anything did.
    ///
    /// # Errors
    /// They can't take effect, and why; what was in force stays in force.
    pub async fn reload(&self, by: &str) -> Result<Option<GenerationChange>, LoadRefusal> {
        let turn = self.reloader().turn().await;
        match turn.look(ChangeSource::Verb).await {
            Look::Unchanged(_) => {
                turn.confirm(Part::Plugins);
                Ok(None)
            }
            Look::Changed(candidate) => self.adopt(&turn, candidate.asked_by(by)).await.map(Some),
            Look::Refused(refusal) => {
                self.refuse(&turn, refusal.clone()).await;
                Err(refusal)
            }
        }
    }

    /// Writes the change down and puts the candidate in force.
    ///
    /// # Errors
    /// It can't be written down, so it does not take effect.
    pub async fn adopt(&self, turn: &Turn<'_>, candidate: Candidate) -> Result<GenerationChange, LoadRefusal> {
        let (source, part) = (candidate.change().source, candidate.change().part());
        let record = async |change: &GenerationChange| self.parts.ledger.record_change(change).await;
        match turn.adopt(candidate, record).await {
            Ok(change) => {
                count(part, "loaded");
                tracing::info!(
                    generation = change.after.generation, policies = %change.after.policies, source = source.as_str(), by = change.by,
                    plugins = ?change.plugin_changes.iter().map(PluginChange::sign).collect::<Vec<_>>(),
                    added = ?names(&change.added), changed = ?names(&change.changed), removed = ?names(&change.removed),
                    "another generation is in force"
                );
                Ok(change)
            }
            Err(error) => {
                let problem = format!("the change can't be written down, so it does not take effect: {error}");
                let refusal = LoadRefusal::new(part, source, vec![LoadProblem::new(problem)]);
                self.show_refusal(turn, refusal.clone());
                Err(refusal)
            }
        }
    }

    /// Writes a refusal down, and tells whoever asks.
    pub async fn refuse(&self, turn: &Turn<'_>, refusal: LoadRefusal) {
        let in_force = turn.current().policy_version();
        if let Err(error) = self.parts.ledger.record_refusal(&refusal, in_force).await {
            tracing::error!(%error, "a refusal of plugins or policies could not be written down");
        }
        self.show_refusal(turn, refusal);
    }

    fn show_refusal(&self, turn: &Turn<'_>, refusal: LoadRefusal) {
        count(refusal.part, "refused");
        let problems: Vec<_> = refusal.problems.iter().map(ToString::to_string).collect();
        let (part, source, more) = (refusal.part.as_str(), refusal.source.as_str(), refusal.more);
        tracing::error!(source, more, "the {part} were refused, those in force stay in force\n{}", problems.join("\n"));
        turn.refuse(refusal);
    }
}

fn count(part: Part, result: &'static str) {
    let name = match part {
        Part::Plugins => "tidegate_plugin_reloads_total",
        Part::Policies => "tidegate_policy_reloads_total",
    };
    metrics::counter!(name, "result" => result).increment(1);
}

fn names(files: &[PolicyFileDigest]) -> Vec<&str> {
    files.iter().map(|file| file.file.as_str()).collect()
}
