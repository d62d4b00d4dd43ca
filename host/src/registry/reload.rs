//! Changing the plugins and policies of a running host: another generation is built beside the one in force, checked whole, and takes
//! its place at once, or not at all.
//!
//! What an operator can do to the folders, and what comes of it:
//!
//! - **A file is saved, added or deleted; a plugin is put there or taken away.** What lies there then is loaded together. Good: it
//!   takes effect. Not good: what was in force stays in force, and the refusal is visible until the folder is good again.
//! - **The last policy file is deleted, the last plugin, or the folder vanishes.** Refused: that is also what a lost volume and a
//!   half-done `rm -r` look like, and walls must not fall by accident. To drop all policies on purpose, leave one file that holds
//!   only a comment.
//! - **A policy file that held something is emptied.** Refused: it looks like one that is being written. Whoever means it deletes it.
//! - **Something is missing that is in force.** When the host finds that by itself, it waits a moment and looks again: whoever
//!   replaces all files one by one opens no window in which only some of them count.
//! - **Whose signatures count changes.** A plugin in force that would not be let in any more stays in force, and is told of, until
//!   somebody decides what becomes of it. Others can be installed meanwhile, but nothing is loaded anew as a whole.
//! - **The folder is put back as it was.** What is in force is what lies there; the refusal is over, nothing else happens.
//!
//! Policies that are saved count at once, over the plugins in force, whatever became of the plugin folder meanwhile. A plugin whose
//! component and manifest have the same bytes as before is taken over as it is.
//!
//! Calls that have started finish on the generation they started on; it is gone from memory with the last of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, MutexGuard};

use super::error::LoadError;
use super::installed::Anew;
use super::{Arrival, Generation, InMemory, Loader, PluginSet, Registry, Sources, accident, digests};
use crate::model::{ChangeSource, Contents, GenerationChange, LoadProblem, LoadRefusal, Part, PolicyVersion};
use crate::policy::PolicyFile;

/// Builds the next generation of a registry.
pub struct Reloader {
    registry: Arc<Registry>,
    loader: Arc<Loader>,
    turn: Mutex<()>,
}

/// The right to change what is in force. One at a time: a candidate is a change of what was in force when it was made.
pub struct Turn<'r> {
    registry: &'r Arc<Registry>,
    loader: &'r Arc<Loader>,
    _turn: MutexGuard<'r, ()>,
}

/// A generation that could take effect, not yet in force.
pub struct Candidate {
    generation: Generation,
    change: GenerationChange,
    /// Which part was looked at; with the plugins, the policies were too.
    part: Part,
    /// What of it is in force already and would not be let in now: why.
    disowned: Vec<LoadProblem>,
}

/// What a look came to.
pub enum Look {
    /// What was found is what is in force. What of it would not be let in now: why.
    Unchanged(Vec<LoadProblem>),
    /// Something else was found, and could take effect.
    Changed(Box<Candidate>),
    /// What was found can't take effect.
    Refused(LoadRefusal),
}

/// Why there is no candidate.
type Refused = (Part, Vec<LoadProblem>);

impl Reloader {
    /// A reloader of `registry` by `loader`.
    pub fn new(registry: Arc<Registry>, loader: Arc<Loader>) -> Self {
        Self { registry, loader, turn: Mutex::new(()) }
    }

    /// Waits until nobody else changes what is in force.
    pub async fn turn(&self) -> Turn<'_> {
        Turn { registry: &self.registry, loader: &self.loader, _turn: self.turn.lock().await }
    }
}

impl Turn<'_> {
    /// The generation in force.
    pub fn current(&self) -> Arc<Generation> {
        self.registry.current()
    }

    /// Looks at everything as it lies on disk: plugins and policies.
    pub async fn look(&self, source: ChangeSource) -> Look {
        match self.registry.sources().dirs() {
            Ok(dirs) => self.look_in(&dirs, |_| true, None, source).await,
            Err(error) => Look::Refused(LoadRefusal::new(error.part(), source, error.problems())),
        }
    }

    /// Looks at these plugin folders, and at the policies as they lie on disk: somebody changes one plugin, which then lies in `changed`.
    /// Others that are in force and would not be let in now stay as they are, so that what becomes of each can be decided. The signatures
    /// in `anew` count in place of those that lie there.
    pub async fn look_at(&self, dirs: Vec<PathBuf>, changed: Option<&Path>, anew: Option<&Anew>, source: ChangeSource) -> Look {
        self.look_in(&dirs, |dir| Some(dir) == changed, anew, source).await
    }

    async fn look_in(
        &self,
        dirs: &[PathBuf],
        must_be_let_in: impl Fn(&Path) -> bool,
        anew: Option<&Anew>,
        source: ChangeSource,
    ) -> Look {
        let begun = Instant::now();
        let (candidate, disowned) = match self.load(dirs, must_be_let_in, anew).await {
            Ok((set, disowned)) => (self.candidate(set, source).await, disowned),
            Err(refused) => (Err(refused), Vec::new()),
        };
        told("tidegate_plugin_reload_seconds", begun, source, candidate, disowned)
    }

    /// Looks at the policies as they lie on disk, over the plugins in force.
    pub async fn look_at_policies(&self, source: ChangeSource) -> Look {
        let (begun, current) = (Instant::now(), self.current());
        let set = PluginSet { plugins: current.plugins.clone(), tools: current.tools.clone(), disowned: Vec::new() };
        let candidate = self.with_policies(current, set, source, Part::Policies).await;
        told("tidegate_policy_reload_seconds", begun, source, candidate, Vec::new())
    }

    /// These plugins, and what is told of those in force that would not be let in now, unless they must.
    async fn load(
        &self,
        dirs: &[PathBuf],
        must_be_let_in: impl Fn(&Path) -> bool,
        anew: Option<&Anew>,
    ) -> Result<(PluginSet, Vec<LoadProblem>), Refused> {
        let set = self.loader.load_plugins(dirs, Some(&self.current()), anew).await;
        let set = set.map_err(|error| (error.part(), error.problems()))?;
        let (refused, kept): (Vec<_>, Vec<_>) = set.disowned.iter().partition(|(dir, _)| must_be_let_in(dir));
        let problems = |disowned: Vec<&(PathBuf, LoadError)>| disowned.iter().flat_map(|(_, why)| why.problems()).collect();
        match refused.is_empty() {
            true => {
                let disowned = problems(kept);
                Ok((set, disowned))
            }
            false => Err((Part::Plugins, problems(refused))),
        }
    }

    async fn candidate(&self, set: PluginSet, source: ChangeSource) -> Result<Option<Candidate>, Refused> {
        let current = self.current();
        let others = set.plugins.iter().map(|plugin| &plugin.version).ne(current.plugins.iter().map(|plugin| &plugin.version));
        let candidate = self.with_policies(current, set, source, Part::Plugins).await;
        // Policies that fit the plugins in force but not these stand in the way of the plugins.
        candidate.map_err(|(part, problems)| (if others { Part::Plugins } else { part }, problems))
    }

    /// A candidate of these plugins with the policies as they lie on disk; `None` if that is what is in force.
    async fn with_policies(
        &self,
        current: Arc<Generation>,
        set: PluginSet,
        source: ChangeSource,
        part: Part,
    ) -> Result<Option<Candidate>, Refused> {
        let (loader, sources) = (self.loader.clone(), self.registry.sources().clone());
        // It takes a moment of CPU and touches the disk.
        let build = move || {
            let built = next(&loader, &sources, &current, set, source).map_err(|problems| (Part::Policies, problems))?;
            Ok(built.map(|(generation, change)| Candidate { generation, change, part, disowned: Vec::new() }))
        };
        tokio::task::spawn_blocking(build).await.unwrap_or_else(|panic| {
            let problem = format!("compiling the policies failed; this is a bug in tidegate: {panic}");
            Err((Part::Policies, vec![LoadProblem::new(problem)]))
        })
    }

    /// What lies there is in force; a refusal of `part` that stood is over. With the plugins, the policies were looked at too.
    pub fn confirm(&self, part: Part) {
        self.registry.update_status(|status| status.settle(part));
    }

    /// Whether the same was refused already, and still lies there.
    pub fn is_told(&self, refusal: &LoadRefusal) -> bool {
        let status = self.registry.status();
        let part = status.of(refusal.part);
        part.standing.as_ref().is_some_and(|told| told.problems == refusal.problems)
    }

    /// What was found can't take effect. Shows it to whoever asks for the status.
    pub fn refuse(&self, refusal: LoadRefusal) {
        let refusal = Arc::new(refusal);
        self.registry.update_status(|status| status.of_mut(refusal.part).refuse(refusal.clone()));
    }

    /// Puts the candidate in force, once `record` has written that down.
    ///
    /// # Errors
    /// What `record` answers with: no record, no change.
    pub async fn adopt<E>(
        &self,
        candidate: Candidate,
        record: impl AsyncFnOnce(&GenerationChange) -> Result<(), E>,
    ) -> Result<GenerationChange, E> {
        let Candidate { generation, change, part, disowned } = candidate;
        record(&change).await?;
        self.registry.replace(generation);
        self.registry.update_status(|status| status.changed(&change, part));
        self.stand(change.source, disowned);
        Ok(change)
    }

    /// What lies there is in force, plugins and policies, but for what is told of plugins that would not be let in now.
    pub fn confirm_but_for(&self, source: ChangeSource, disowned: Vec<LoadProblem>) {
        self.confirm(Part::Plugins);
        self.stand(source, disowned);
    }

    fn stand(&self, source: ChangeSource, disowned: Vec<LoadProblem>) {
        if disowned.is_empty() {
            return;
        }
        let disowned = Arc::new(LoadRefusal::new(Part::Plugins, source, disowned));
        let problems: Vec<_> = disowned.problems.iter().map(ToString::to_string).collect();
        tracing::warn!("plugins stay in force that would not be let in any more\n{}", problems.join("\n"));
        self.registry.update_status(|status| status.plugins.stand(disowned.clone()));
    }
}

impl Candidate {
    /// The generation as it would be.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What would change.
    pub fn change(&self) -> &GenerationChange {
        &self.change
    }

    /// The same, at somebody's request.
    #[must_use]
    pub fn asked_by(mut self, who: &str) -> Self {
        self.change.by = Some(who.to_owned());
        self
    }
}

/// What a look comes to that found this; if it found something new, what that took is noted under this name.
fn told(
    metric: &'static str,
    begun: Instant,
    source: ChangeSource,
    found: Result<Option<Candidate>, Refused>,
    disowned: Vec<LoadProblem>,
) -> Look {
    if !matches!(found, Ok(None)) {
        metrics::histogram!(metric).record(begun.elapsed());
    }
    match found {
        Ok(None) => Look::Unchanged(disowned),
        Ok(Some(candidate)) => Look::Changed(Box::new(Candidate { disowned, ..candidate })),
        Err((part, problems)) => Look::Refused(LoadRefusal::new(part, source, problems)),
    }
}

/// The generation after `current` with these plugins and the policies as they lie on disk; `None` if nothing is new.
fn next(
    loader: &Loader,
    sources: &Sources,
    current: &Generation,
    set: PluginSet,
    source: ChangeSource,
) -> Result<Option<(Generation, GenerationChange)>, Vec<LoadProblem>> {
    let files = sources.policy_folder().map_or(Ok(Vec::new()), PolicyFile::read_folder);
    let files = files.map_err(|error| LoadError::Policy(error).problems())?;
    let (policy_files, in_force) = (digests(&files), current.plugin_versions());
    let plugins: Vec<_> = set.plugins.iter().map(|plugin| plugin.version.clone()).collect();
    if policy_files == current.policy_files && plugins == in_force {
        return Ok(None);
    }
    if let Some(folder) = &sources.policies {
        accident::beware(folder, &files, &current.policy_files)?;
    }
    let policies = loader.compile_policies(&set.tools, &files).map_err(|error| LoadError::Policy(error).problems())?;
    let before = current.policy_version();
    let after = PolicyVersion { generation: before.generation + 1, policies: policies.hash() };
    let earlier = Contents { files: &current.policy_files, plugins: &in_force };
    let change =
        GenerationChange::new(source, (Some(before), earlier), (after, Contents { files: &policy_files, plugins: &plugins }));
    let came = |is_other: bool, so_far: Arrival| if is_other { Arrival::now(source) } else { so_far };
    let generation = Generation {
        number: after.generation,
        plugins_came: came(plugins != in_force, current.plugins_came),
        policies_came: came(policy_files != current.policy_files, current.policies_came),
        plugins: set.plugins,
        tools: set.tools,
        policies: Arc::new(policies),
        policy_files,
        _in_memory: InMemory::begin(),
    };
    Ok(Some((generation, change)))
}
