//! One plugin, looked at whole: what it is, who vouches for it, how it came here, and where a rollback would lead.

use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{InstallRules, Listed, NotDone};
use crate::model::{Digest, document};
use crate::registry::artifact::{self, Artifact, Trust};
use crate::registry::installed::{History, InstallError, InstalledSet, Version};
use crate::registry::{Generation, Plugin, Sources, sources};

/// What there is to tell about a plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inspected {
    /// What it asks for, and what clients are told of its tools.
    #[serde(flatten)]
    pub plugin: Value,
    /// The digest of all its files, by which it is pinned; none if others lie there by now.
    pub digest: Option<Digest>,
    /// Who signed it, as the trust file calls them: of what is installed, as it was when it came.
    pub signed_by: Option<String>,
    /// Why those who signed it would not count now, if it is installed and they wouldn't.
    #[serde(default)]
    pub counts_no_longer: Option<String>,
    /// How it came, if it is installed.
    pub installed: Option<Version>,
    /// Where a rollback leads, if it is installed and there is something to go back to.
    pub rolls_back_to: Option<Digest>,
    /// Every version of it that is kept, in the order in which they came.
    pub kept: Vec<Listed>,
}

impl Inspected {
    /// A plugin that is installed, or was: one of the versions in `history`. Its component tells what `told` is a digest of; who signed
    /// it is held to `trust`, if there is one, as far as its files can be read.
    pub fn installed(
        (plugin, told): (Value, Digest),
        (name, history, version): (&str, &History, &Version),
        artifact: Option<&Artifact>,
        trust: Option<&Trust>,
    ) -> Self {
        let counts = |artifact, trust| artifact::verify(artifact, trust, version.came())?.telling(told);
        let held = version.signed_by.as_ref().and(artifact.zip(trust));
        let counts_no_longer =
            held.and_then(|(artifact, trust)| counts(artifact, trust).err()).map(|refusal| refusal.to_string());
        let rolls_back_to = history.previous(name).ok().map(|previous| previous.digest);
        Self {
            plugin,
            digest: Some(version.digest),
            signed_by: version.signed_by.clone(),
            counts_no_longer,
            installed: Some(version.clone()),
            rolls_back_to,
            kept: Listed::of(name, history.clone()),
        }
    }

    /// A plugin that is served out of a folder, whose component tells what `told` is a digest of: its files are those of `artifact`, if
    /// they are there yet.
    pub fn in_folder((plugin, told): (Value, Digest), artifact: Option<&Artifact>, trust: Option<&Trust>) -> Self {
        let vouched = |(artifact, trust)| artifact::verify(artifact, trust, SystemTime::now())?.telling(told);
        let vouched = artifact.zip(trust).and_then(|held| vouched(held).ok());
        Self {
            plugin,
            digest: artifact.map(Artifact::content),
            signed_by: vouched.map(|vouched| vouched.signers.join(", ")),
            counts_no_longer: None,
            installed: None,
            rolls_back_to: None,
            kept: Vec::new(),
        }
    }

    /// The plugin that `generation` serves under `name`. Blocks on the disk.
    ///
    /// # Errors
    /// It serves none; or what is installed, or whom to trust, can't be told.
    pub fn served(generation: &Generation, sources: &Sources, rules: &InstallRules, name: &str) -> Result<Self, NotDone> {
        let Some((plugin, described)) = generation.inspect(name) else { return Err(unknown(generation, name).into()) };
        let (set, described): (InstalledSet, _) = (sources.shelf.read()?, (described, plugin.told));
        let trust = rules.trust.as_deref().map(Trust::open).transpose()?;
        if let Some(history) = set.plugins.get(name) {
            let files = Artifact::open(&sources.shelf.dir(history.active), rules.limits.max_component).ok();
            return Ok(Self::installed(described, (name, history, history.current()), files.as_ref(), trust.as_ref()));
        }
        Ok(Self::in_folder(described, files(&sources.plugins, plugin, rules).as_ref(), trust.as_ref()))
    }
}

/// The files of a plugin that is served out of a folder below `root`; none if others lie there by now.
fn files(root: &Path, plugin: &Plugin, rules: &InstallRules) -> Option<Artifact> {
    let dirs = sources::plugin_dirs(root).unwrap_or_default();
    let mut there = dirs.iter().filter_map(|dir| Artifact::open(dir, rules.limits.max_component).ok());
    there.find(|there| (there.component, there.manifest_digest) == (plugin.version.component, plugin.version.manifest))
}

fn unknown(generation: &Generation, name: &str) -> InstallError {
    let hint = document::nearest(name, generation.plugins.iter().map(|plugin| plugin.manifest.name.as_str()));
    let hint = hint.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    InstallError::Unknown(format!("the host serves no plugin `{name}`{hint}"))
}
