//! What an installation stands on: a live host, whose calls go on, or the data folder of a stopped one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::NotDone;
use crate::model::{ChangeSource, Face, GenerationChange, LoadProblem, PolicyVersion};
use crate::registry::installed::{Anew, InstallError, InstalledSet, Shelf, installed_and};
use crate::registry::{Candidate, Generation, LoadError, Loader, Look, Reloader, Sources, Turn};

/// A live host or a stopped one.
#[derive(Clone, Copy)]
pub enum Ground<'a> {
    /// What changes the generation in force.
    Live(&'a Reloader),
    /// What would load one.
    Stopped(&'a Loader),
}

/// The right to change what is installed, held by one at a time.
pub enum Right<'a> {
    /// At a live host: nobody else changes what is in force.
    Live(Turn<'a>),
    /// Whoever owns the data folder of a stopped host has it.
    Stopped(&'a Loader),
}

/// Everything as it would be.
pub enum Would<'t> {
    /// A generation that a live host can take into force.
    Candidate(&'t Turn<'t>, Box<Candidate>),
    /// What a live host serves already: other contents that come to the same, or other signatures. What of it would not be let in now:
    /// why.
    Same(&'t Turn<'t>, Arc<Generation>, Vec<LoadProblem>),
    /// What a host would load at its start, but for others that it would refuse: why.
    Loaded(Box<Generation>, Vec<String>),
}

impl<'a> Ground<'a> {
    /// Waits for the right to change something.
    pub async fn right(self) -> Right<'a> {
        match self {
            Self::Live(reloader) => Right::Live(reloader.turn().await),
            Self::Stopped(loader) => Right::Stopped(loader),
        }
    }
}

impl Right<'_> {
    /// Loads everything as it would be with `set` installed, of which only `plugin` is to change. That somebody does not vouch any more
    /// for others is no reason not to put this one right: it is told of, and stands in the way of the next start or reload. The
    /// signatures in `anew` count in place of those that lie there.
    ///
    /// # Errors
    /// No host could serve that.
    pub async fn load(
        &self,
        sources: &Sources,
        set: &InstalledSet,
        plugin: &str,
        anew: Option<&Anew>,
    ) -> Result<Would<'_>, NotDone> {
        let dirs = match (installed_and(&sources.plugins, sources.shelf.dirs(set)), self) {
            // The last one is removed; the next start says so.
            (Err(LoadError::NoPlugins(_)), Self::Stopped(_)) if set.plugins.is_empty() => Vec::new(),
            (dirs, _) => dirs?,
        };
        let changed = set.plugins.get(plugin).map(|history| sources.shelf.dir(history.active));
        match self {
            Self::Live(turn) => match turn.look_at(dirs, changed.as_deref(), anew, ChangeSource::Verb).await {
                Look::Changed(candidate) => Ok(Would::Candidate(turn, candidate)),
                Look::Unchanged(disowned) => Ok(Would::Same(turn, turn.current(), disowned)),
                Look::Refused(refusal) => Err(NotDone::Refused(refusal)),
            },
            Self::Stopped(loader) => {
                let (loaded, left_out) =
                    load_but_for_others(loader, dirs, changed.as_deref(), anew, sources.policy_folder()).await?;
                Ok(Would::Loaded(Box::new(loaded), left_out))
            }
        }
    }

    /// What the plugin in force under `name` shows; none if it is not installed, or can't be told any more: then all of it counts as
    /// new.
    pub async fn face(&self, shelf: &Shelf, set: &InstalledSet, name: &str) -> Option<Face> {
        let history = set.plugins.get(name)?;
        match self {
            Self::Live(turn) => turn.current().face(name),
            Self::Stopped(loader) => {
                let (plugin, advertised) = loader.load_plugin(&shelf.dir(history.active)).await.ok()?;
                Some(plugin.face(&advertised))
            }
        }
    }
}

/// What a host would load at its start, without those that it would refuse because nobody vouches for them, but for `changed`; and why
/// it would refuse those.
async fn load_but_for_others(
    loader: &Loader,
    mut dirs: Vec<PathBuf>,
    changed: Option<&Path>,
    anew: Option<&Anew>,
    policies: Option<&Path>,
) -> Result<(Generation, Vec<String>), LoadError> {
    let (mut policies, mut left_out) = (policies, Vec::new());
    loop {
        match loader.load_signed(&dirs, policies, anew).await {
            Err(LoadError::Installed(other @ InstallError::Unvouched { .. })) if other.folder() != changed => {
                left_out.push(other.to_string());
                dirs.retain(|dir| Some(&**dir) != other.folder());
                // They may speak of what is left out here.
                policies = None;
            }
            loaded => return loaded.map(|loaded| (loaded, left_out)),
        }
    }
}

impl Would<'_> {
    /// The generation.
    pub fn generation(&self) -> &Generation {
        match self {
            Self::Candidate(_, candidate) => candidate.generation(),
            Self::Same(_, generation, _) => generation,
            Self::Loaded(generation, _) => generation,
        }
    }

    /// Why others keep a stopped host from starting.
    pub fn left_out(&self) -> Vec<String> {
        match self {
            Self::Loaded(_, left_out) => left_out.clone(),
            // Of a live one that is told by its status.
            Self::Candidate(..) | Self::Same(..) => Vec::new(),
        }
    }

    /// Puts it in force, once `record` has written it down and committed it to the disk: with a live host along with the change of
    /// its generation.
    ///
    /// # Errors
    /// What `record` answers with; everything is as before then.
    pub async fn adopt<E>(
        self,
        by: &str,
        record: impl AsyncFnOnce(Option<PolicyVersion>, Option<&GenerationChange>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Candidate(turn, candidate) => {
                let candidate = candidate.asked_by(by);
                turn.adopt(candidate, async |change| record(Some(change.after), Some(change)).await).await.map(drop)
            }
            Self::Same(turn, generation, disowned) => {
                record(Some(generation.policy_version()), None).await?;
                // What was told of this one is over.
                turn.confirm_but_for(ChangeSource::Verb, disowned);
                Ok(())
            }
            // Nobody decides anything by these policies before a host starts.
            Self::Loaded(..) => record(None, None).await,
        }
    }
}
