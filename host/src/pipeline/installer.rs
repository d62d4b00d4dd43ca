//! The order in which plugins are installed, and what makes it whole: contents first, then everything is loaded as it would be, then
//! the record, then what is in force.

mod done;
mod ground;
mod inspected;
mod rules;

use std::time::SystemTime;

use crate::ledger::{Ledger, PluginAct, PluginContents};
use crate::model::widening::compare;
use crate::model::{Change, Face, GenerationChange, PolicyVersion, Timestamp};
use crate::registry::Sources;
use crate::registry::artifact::{self, Artifact, Source};
use crate::registry::installed::{Anew, InstallError, InstalledSet, Shelf, Version};

pub use done::{Approve, Contents, Done, Listed, NotDone, State};
pub use ground::Ground;
use ground::{Right, Would};
pub use inspected::Inspected;
pub use rules::InstallRules;

/// Installs plugins, one at a time.
pub struct Installer<'a> {
    /// Where every act is written down.
    pub ledger: &'a Ledger,
    /// Where plugins and policies come from.
    pub sources: &'a Sources,
    /// What may be installed.
    pub rules: &'a InstallRules,
    /// The host whose plugins they are.
    pub ground: Ground<'a>,
}

/// A change of what is installed, and everything as it would be then.
struct Plan<'a, 't> {
    action: &'static str,
    by: &'a str,
    plugin: &'a str,
    source: Option<&'a str>,
    before: &'a InstalledSet,
    after: InstalledSet,
    /// The signatures that what is installed gets along with it.
    anew: Option<&'a Anew>,
    would: Would<'t>,
    changes: &'a [Change],
    approved: &'static str,
}

impl Installer<'_> {
    /// What is installed: every version that is kept.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn list(&self) -> Result<Vec<Listed>, NotDone> {
        Ok(Listed::all(self.blocking(Shelf::read).await?))
    }

    /// Installs what is at a source, if somebody vouches for it, and what of it widens is approved.
    ///
    /// # Errors
    /// Whatever keeps it from being done; nothing has changed then.
    pub async fn install(&self, by: &str, source: &str, approve: Option<Approve>) -> Result<Done, NotDone> {
        let right = self.ground.right().await;
        let set = self.tidy().await?;
        let done = self.try_install(&right, by, source, approve, &set).await;
        if !matches!(done, Ok(Done { state: State::Done, .. })) {
            // What was laid down for it is in nobody's way.
            self.sweep(set).await;
        }
        done
    }

    async fn try_install(
        &self,
        right: &Right<'_>,
        by: &str,
        source: &str,
        approve: Option<Approve>,
        set: &InstalledSet,
    ) -> Result<Done, NotDone> {
        let from: Source = source.parse()?;
        let staged = self.blocking(Shelf::stage).await?;
        let fetched = artifact::fetch(&from, staged.dir(), &self.rules.limits).await?;
        // Before somebody vouches for it, it is neither compiled nor run.
        let now = SystemTime::now();
        let is_vouched = self.rules.vouched(&fetched.artifact, now)?.is_some();
        let max_component = self.rules.limits.max_component;
        let laid_down = self.blocking(move |shelf| shelf.lay_down(staged, max_component)).await?;
        // Others may have signed by now what lies there. That counts from here on, and lies there once it is written down.
        let (anew, mut artifact) = (laid_down.anew(is_vouched)?, laid_down.artifact);
        if let Some(anew) = &anew {
            artifact.signatures = Some(anew.signatures.clone());
        }
        let (name, found) = (artifact.manifest.name.as_str(), artifact.content());
        let was = set.plugins.get(name);
        let kept = was.and_then(|history| history.version(found));
        // All who vouch for it, wherever it came from this time; as of when it came, as whenever it is loaded.
        let vouched = self.rules.vouched(&artifact, kept.map_or(now, Version::came))?;
        let signed_by = vouched.as_ref().map(|vouched| vouched.signers().join(", "));
        let version = version(&artifact, source, signed_by, by);
        if let Some(Approve::Contents { after, before }) = approve {
            let in_force = was.map(|history| history.active);
            if after != found {
                return Err(NotDone::Other { approved: after, found });
            }
            if in_force != before && in_force != Some(found) {
                return Err(NotDone::Moved { compared: before, in_force });
            }
        }
        let mut done = Done {
            state: State::Unchanged,
            plugin: name.to_owned(),
            before: was.map(|history| contents(history.current())),
            after: Some(contents(&version)),
            changes: Vec::new(),
            unapproved: Vec::new(),
            signed_by: version.signed_by.clone(),
            left_out: Vec::new(),
        };
        // Whatever is kept was approved when it came. Who vouches for it may have changed since.
        let is_kept = kept.is_some();
        let is_by_others =
            anew.is_some() || kept.is_some_and(|kept| version.signed_by.is_some() && kept.signed_by != version.signed_by);
        if was.is_some_and(|history| history.active == found) && !is_by_others {
            return Ok(done);
        }
        let mut after = set.clone();
        after.install(name, version);
        after.prune(self.rules.keep);
        let would = right.load(self.sources, &after, name, anew.as_ref()).await?;
        done.left_out = would.left_out();
        if let (Some(vouched), Some(told)) = (vouched, would.generation().told(name)) {
            let plugin = name.to_owned();
            vouched.telling(told).map_err(|refusal| NotDone::Untrusted { plugin, refusal })?;
        }
        let face = would.generation().face(name);
        done.changes = self.compare(right, set, name, face.as_ref()).await;
        let standing = self.rules.standing()?;
        let covered = |change: &Change| face.as_ref().is_some_and(|face| standing.covers(change, face));
        let needing: Vec<&Change> = done.changes.iter().filter(|change| change.needs_approval()).collect();
        let open: Vec<Change> = needing.iter().filter(|change| !covered(change)).map(|change| (*change).clone()).collect();
        let approved = match approve {
            _ if is_kept => "kept",
            _ if needing.is_empty() => "nothing widens",
            _ if open.is_empty() => "standing",
            Some(Approve::Shown) => "shown",
            Some(Approve::Contents { .. }) => "digest",
            None => {
                (done.state, done.unapproved) = (State::Unapproved, open);
                return Ok(done);
            }
        };
        let (action, source, changes) = ("plugin_install", Some(source), &done.changes[..]);
        let anew = anew.as_ref();
        self.carry_out(Plan { action, by, plugin: name, source, before: set, after, anew, would, changes, approved }).await?;
        done.state = State::Done;
        Ok(done)
    }

    /// Goes back to a version that is kept. All of them were approved; whether who vouched for it still counts, loading it tells.
    ///
    /// # Errors
    /// Whatever keeps it from being done; nothing has changed then.
    pub async fn roll_back(&self, by: &str, name: &str, to: Option<&str>) -> Result<Done, NotDone> {
        let right = self.ground.right().await;
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
            left_out: Vec::new(),
        };
        if target.digest == history.active {
            return Ok(done);
        }
        let mut after = set.clone();
        if let Some(history) = after.plugins.get_mut(name) {
            history.go_back_to(target.digest, Timestamp::now());
        }
        let would = right.load(self.sources, &after, name, None).await?;
        done.left_out = would.left_out();
        done.changes = self.compare(&right, &set, name, would.generation().face(name).as_ref()).await;
        let (action, changes, approved) = ("plugin_rollback", &done.changes[..], "kept");
        self.carry_out(Plan {
            action,
            by,
            plugin: name,
            source: None,
            before: &set,
            after,
            anew: None,
            would,
            changes,
            approved,
        })
        .await?;
        done.state = State::Done;
        Ok(done)
    }

    /// Removes a plugin with all its versions.
    ///
    /// # Errors
    /// Whatever keeps it from being done; nothing has changed then.
    pub async fn remove(&self, by: &str, name: &str) -> Result<Done, NotDone> {
        let right = self.ground.right().await;
        let set = self.tidy().await?;
        let before = Some(contents(set.history(name)?.current()));
        let mut after = set.clone();
        after.plugins.remove(name);
        let would = right.load(self.sources, &after, name, None).await?;
        let left_out = would.left_out();
        let (action, approved) = ("plugin_remove", "removed");
        self.carry_out(Plan {
            action,
            by,
            plugin: name,
            source: None,
            before: &set,
            after,
            anew: None,
            would,
            changes: &[],
            approved,
        })
        .await?;
        let (changes, unapproved) = (Vec::new(), Vec::new());
        Ok(Done {
            state: State::Done,
            plugin: name.to_owned(),
            before,
            after: None,
            changes,
            unapproved,
            signed_by: None,
            left_out,
        })
    }

    /// Writes the plan down, then puts it in force on the disk, then in the host.
    async fn carry_out(&self, plan: Plan<'_, '_>) -> Result<(), NotDone> {
        let Plan { action, by, plugin, source, before, after, anew, would, changes, approved } = plan;
        let widened: Vec<Change> = changes.iter().filter(|change| change.needs_approval()).cloned().collect();
        let now = after.plugins.get(plugin).map(|history| history.current());
        let act = PluginAct {
            action,
            by,
            plugin,
            before: before.plugins.get(plugin).map(|history| recorded(history.current())),
            after: now.map(recorded),
            source,
            signed_by: now.and_then(|version| version.signed_by.as_deref()),
            approved,
            widened: &widened,
        };
        let (act, after) = (&act, &after);
        let record = async |version: Option<PolicyVersion>, change: Option<&GenerationChange>| {
            self.ledger.record_plugin_act(act, version).await?;
            let put_in_force = async {
                if let Some(change) = change {
                    fail::fail_point!("install::unchanged", |_| {
                        let (what, problem) = ("the change".to_owned(), "a failpoint says so".to_owned());
                        Err(crate::ledger::LedgerError::Refused { what, problem }.into())
                    });
                    self.ledger.record_change(change).await?;
                }
                fail::fail_point!("install::recorded", |_| std::process::abort());
                let (after, anew) = (after.clone(), anew.cloned());
                // What lies there has to be signed before it counts as signed.
                let put_in_place = move |shelf: &Shelf| {
                    anew.map_or(Ok(()), |anew| shelf.sign(&anew))?;
                    shelf.commit(&after)
                };
                self.blocking(put_in_place).await
            };
            let done = put_in_force.await;
            if done.is_err() {
                self.take_back(act, version).await;
            }
            done
        };
        would.adopt(by, record).await?;
        tracing::info!(
            action,
            plugin,
            by,
            approved,
            version = now.map(|version| &*version.version),
            "what is installed has changed"
        );
        // Versions that are kept no longer.
        self.sweep(after.clone()).await;
        Ok(())
    }

    /// Writes down that what the log says of `act` did not come about, if the log takes it.
    async fn take_back(&self, act: &PluginAct<'_>, version: Option<PolicyVersion>) {
        let undone = PluginAct { action: "plugin_undone", before: act.after, after: act.before, widened: &[], ..act.clone() };
        if let Err(error) = self.ledger.record_plugin_act(&undone, version).await {
            tracing::error!(%error, plugin = act.plugin, "that a plugin was not put in force after all could not be written down");
        }
    }

    /// What is installed, once what crashes left behind is gone.
    async fn tidy(&self) -> Result<InstalledSet, NotDone> {
        self.blocking(|shelf| {
            let set = shelf.read()?;
            shelf.sweep(&set);
            Ok(set)
        })
        .await
    }

    /// Removes what `set` does not keep.
    async fn sweep(&self, set: InstalledSet) {
        let shelf = self.sources.shelf.clone();
        let swept = tokio::task::spawn_blocking(move || shelf.sweep(&set)).await;
        swept.expect("sweeping tells of errors instead of panicking");
    }

    /// How the plugin would differ from what is in force.
    async fn compare(&self, right: &Right<'_>, set: &InstalledSet, name: &str, after: Option<&Face>) -> Vec<Change> {
        let before = right.face(&self.sources.shelf, set, name).await;
        after.map_or_else(Vec::new, |after| compare(before.as_ref(), after))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, InstallError> + Send + 'static,
    ) -> Result<T, NotDone> {
        let shelf = self.sources.shelf.clone();
        let worked = tokio::task::spawn_blocking(move || work(&shelf)).await;
        Ok(worked.expect("the shelf answers with errors instead of panicking")?)
    }
}

fn version(artifact: &Artifact, source: &str, signed_by: Option<String>, by: &str) -> Version {
    let now = Timestamp::now();
    Version {
        digest: artifact.content(),
        version: artifact.manifest.version.clone(),
        component: artifact.component,
        source: source.to_owned(),
        signed_by,
        by: by.to_owned(),
        installed_ms: now,
        active_ms: now,
        replaced: None,
    }
}

fn contents(version: &Version) -> Contents {
    Contents { version: version.version.clone(), sha256: version.digest }
}

fn recorded(version: &Version) -> PluginContents<'_> {
    PluginContents { version: &version.version, sha256: version.digest, component: version.component }
}
