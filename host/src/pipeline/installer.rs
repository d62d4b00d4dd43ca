//! The order in which plugins are installed, and what makes it whole: contents first, then everything is loaded as it would be, then
//! the record, then what is in force.

mod done;
mod rules;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;

use crate::ledger::{Ledger, PluginAct, PluginContents};
use crate::model::widening::compare;
use crate::model::{Change, Timestamp};
use crate::registry::artifact::{self, Source};
use crate::registry::installed::{InstallError, InstalledSet, Shelf, Version, installed_and};
use crate::registry::load::LoadError;
use crate::registry::{Generation, Loader};

pub use done::{Approve, Contents, Done, Listed, NotDone, State};
pub use rules::InstallRules;

/// Installs plugins, one at a time.
pub struct Installer {
    /// Where every act is written down.
    pub ledger: Ledger,
    /// Where installed plugins lie.
    pub shelf: Shelf,
    /// Loads what would be, with the checks of a host.
    pub loader: Arc<Loader>,
    /// The folder of plugins that are not installed.
    pub plugins: PathBuf,
    /// The folder of the admin's policies.
    pub policies: Option<PathBuf>,
    /// What may be installed.
    pub rules: InstallRules,
    /// Held by whoever changes something.
    pub turn: Mutex<()>,
}

/// One change of what is installed, before it is made.
struct Plan<'a> {
    action: &'static str,
    by: &'a str,
    plugin: &'a str,
    /// What would be installed.
    set: InstalledSet,
    /// The generation that it would make.
    generation: Generation,
    changes: Vec<Change>,
}

impl Installer {
    /// What is installed: every version that is kept.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn list(&self) -> Result<Vec<Listed>, NotDone> {
        Ok(Listed::all(self.blocking(Shelf::read).await?))
    }

    /// Installs what lies at a source, if what of it widens is approved.
    ///
    /// # Errors
    /// Whatever keeps it from being done; nothing has changed then.
    pub async fn install(&self, by: &str, source: &str, approve: Option<Approve>) -> Result<Done, NotDone> {
        let _turn = self.turn.lock().await;
        let set = self.tidy().await?;
        let done = self.try_install(by, source, approve, &set).await;
        if !matches!(done, Ok(Done { state: State::Done, .. })) {
            // What was laid down for it is in nobody's way; the next one sweeps it, if this can't.
            let _ = self.blocking(move |shelf| shelf.sweep(&set)).await;
        }
        done
    }

    async fn try_install(&self, by: &str, source: &str, approve: Option<Approve>, set: &InstalledSet) -> Result<Done, NotDone> {
        let from: Source = source.parse()?;
        let staged = self.blocking(Shelf::stage).await?;
        let fetched = artifact::fetch(&from, staged.dir(), &self.rules.limits).await?;
        // Before somebody vouches for it, it is neither compiled nor run.
        let vouched = self.rules.vouched(&fetched.artifact, SystemTime::now())?;
        let max_component = self.rules.limits.max_component;
        let artifact = self.blocking(move |shelf| shelf.lay_down(staged, max_component)).await?;
        let (name, found) = (artifact.manifest.name.as_str(), artifact.content());
        if let Some(Approve::Digest(approved)) = approve
            && approved != found
        {
            return Err(NotDone::Other { approved, found });
        }
        let now = Timestamp::now();
        let version = Version {
            digest: found,
            version: artifact.manifest.version.clone(),
            component: artifact.component,
            source: source.to_owned(),
            signed_by: vouched.as_ref().map(|vouched| vouched.signers().join(", ")),
            by: by.to_owned(),
            installed_ms: now,
            active_ms: now,
            replaced: None,
        };
        let was = set.plugins.get(name);
        let mut done = Done {
            state: State::Unchanged,
            plugin: name.to_owned(),
            before: was.map(|history| contents(history.current())),
            after: Some(contents(&version)),
            changes: Vec::new(),
            unapproved: Vec::new(),
            signed_by: version.signed_by.clone(),
        };
        if was.is_some_and(|history| history.active == found) {
            return Ok(done);
        }
        // Whatever is kept was approved when it came.
        let is_kept = was.is_some_and(|history| history.version(found).is_some());
        let mut would = set.clone();
        would.install(name, version);
        would.prune(self.rules.keep);
        let generation = self.load(&would).await?;
        if let (Some(vouched), Some(told)) = (vouched, generation.told(name)) {
            let plugin = name.to_owned();
            vouched.telling(told).map_err(|refusal| NotDone::Untrusted { plugin, refusal })?;
        }
        let changes = self.compare(set, name, &generation).await;
        let face = generation.face(name);
        let standing = self.rules.standing()?;
        let covered = |change: &Change| face.as_ref().is_some_and(|face| standing.covers(change, face));
        let needing: Vec<&Change> = changes.iter().filter(|change| change.needs_approval()).collect();
        let open: Vec<Change> = needing.iter().filter(|change| !covered(change)).map(|change| (*change).clone()).collect();
        let approved = match approve {
            _ if is_kept => "kept",
            _ if needing.is_empty() => "nothing widens",
            _ if open.is_empty() => "standing",
            Some(Approve::Shown) => "shown",
            Some(Approve::Digest(_)) => "digest",
            None => {
                (done.state, done.changes, done.unapproved) = (State::Unapproved, changes, open);
                return Ok(done);
            }
        };
        done.changes.clone_from(&changes);
        let plan = Plan { action: "plugin_install", by, plugin: name, set: would, generation, changes };
        self.carry_out(plan, set, approved, Some(source)).await?;
        done.state = State::Done;
        Ok(done)
    }

    /// Goes back to a version that is kept. All of them were approved.
    ///
    /// # Errors
    /// Whatever keeps it from being done; nothing has changed then.
    pub async fn roll_back(&self, by: &str, name: &str, to: Option<&str>) -> Result<Done, NotDone> {
        let _turn = self.turn.lock().await;
        let set = self.tidy().await?;
        let history = set.history(name)?;
        let target = match to {
            Some(spec) => history.find(name, spec)?,
            None => history.previous(name)?,
        };
        let mut done = Done {
            state: State::Unchanged,
            plugin: name.to_owned(),
            before: Some(contents(history.current())),
            after: Some(contents(target)),
            changes: Vec::new(),
            unapproved: Vec::new(),
            signed_by: target.signed_by.clone(),
        };
        if target.digest == history.active {
            return Ok(done);
        }
        let mut would = set.clone();
        if let Some(history) = would.plugins.get_mut(name) {
            history.put_in_force(target.digest, Timestamp::now());
        }
        let generation = self.load(&would).await?;
        let changes = self.compare(&set, name, &generation).await;
        done.changes.clone_from(&changes);
        let plan = Plan { action: "plugin_rollback", by, plugin: name, set: would, generation, changes };
        self.carry_out(plan, &set, "kept", None).await?;
        done.state = State::Done;
        Ok(done)
    }

    /// Removes a plugin with all its versions.
    ///
    /// # Errors
    /// Whatever keeps it from being done; nothing has changed then.
    pub async fn remove(&self, by: &str, name: &str) -> Result<Done, NotDone> {
        let _turn = self.turn.lock().await;
        let set = self.tidy().await?;
        let before = Some(contents(set.history(name)?.current()));
        let mut would = set.clone();
        would.plugins.remove(name);
        let generation = self.load(&would).await?;
        let plan = Plan { action: "plugin_remove", by, plugin: name, set: would, generation, changes: Vec::new() };
        self.carry_out(plan, &set, "removed", None).await?;
        let (changes, unapproved) = (Vec::new(), Vec::new());
        Ok(Done { state: State::Done, plugin: name.to_owned(), before, after: None, changes, unapproved, signed_by: None })
    }

    /// Writes the plan down, then puts it in force.
    async fn carry_out(
        &self,
        plan: Plan<'_>,
        before: &InstalledSet,
        approved: &str,
        source: Option<&str>,
    ) -> Result<(), NotDone> {
        let Plan { action, by, plugin, set, generation, changes } = plan;
        let widened: Vec<Change> = changes.into_iter().filter(Change::needs_approval).collect();
        let after = set.plugins.get(plugin).map(|history| history.current());
        let act = PluginAct {
            action,
            by,
            plugin,
            before: before.plugins.get(plugin).map(|history| recorded(history.current())),
            after: after.map(recorded),
            source,
            signed_by: after.and_then(|version| version.signed_by.as_deref()),
            approved,
            widened: &widened,
        };
        let version = generation.policy_version();
        self.ledger.record_plugin_act(&act, version).await?;
        fail::fail_point!("install::recorded", |_| std::process::abort());
        let would = set.clone();
        if let Err(error) = self.blocking(move |shelf| shelf.commit(&would)).await {
            // What the log says did not come about, and the log says so too, if it can.
            let undone = PluginAct { action: "plugin_undone", before: act.after, after: act.before, widened: &[], ..act };
            if let Err(error) = self.ledger.record_plugin_act(&undone, version).await {
                tracing::error!(%error, plugin, "that a plugin was not put in force after all could not be written down");
            }
            return Err(error);
        }
        // Versions that are kept no longer; the next one sweeps them, if this can't.
        let _ = self.blocking(move |shelf| shelf.sweep(&set)).await;
        Ok(())
    }

    /// What is installed, once what crashes left behind is gone.
    async fn tidy(&self) -> Result<InstalledSet, NotDone> {
        self.blocking(|shelf| {
            let set = shelf.read()?;
            shelf.sweep(&set)?;
            Ok(set)
        })
        .await
    }

    /// Everything as a host would load it, if `set` were installed.
    async fn load(&self, set: &InstalledSet) -> Result<Generation, NotDone> {
        let dirs = match installed_and(&self.plugins, self.shelf.dirs(set)) {
            // The last one is removed; the next start says so.
            Err(LoadError::NoPlugins(_)) if set.plugins.is_empty() => Vec::new(),
            dirs => dirs?,
        };
        Ok(self.loader.load_dirs(1, &dirs, self.policies.as_deref()).await?)
    }

    /// How the plugin differs from what is in force. If that can't be told any more, all of it counts as new.
    async fn compare(&self, set: &InstalledSet, name: &str, generation: &Generation) -> Vec<Change> {
        let before = match set.plugins.get(name) {
            Some(history) => self.loader.load_plugin(&self.shelf.dir(history.active)).await.ok(),
            None => None,
        };
        let before = before.map(|(plugin, advertised)| plugin.face(&advertised));
        generation.face(name).map_or_else(Vec::new, |after| compare(before.as_ref(), &after))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, InstallError> + Send + 'static,
    ) -> Result<T, NotDone> {
        let shelf = self.shelf.clone();
        let worked = tokio::task::spawn_blocking(move || work(&shelf)).await;
        Ok(worked.expect("the shelf answers with errors instead of panicking")?)
    }
}

fn contents(version: &Version) -> Contents {
    Contents { version: version.version.clone(), sha256: version.digest }
}

fn recorded(version: &Version) -> PluginContents<'_> {
    PluginContents { version: &version.version, sha256: version.digest, component: version.component }
}
