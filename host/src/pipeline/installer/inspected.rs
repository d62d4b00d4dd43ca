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
    /// How it came, if it is installed.
    pub installed: Option<Version>,
    /// Where a rollback leads, if it is installed and there is something to go back to.
    pub rolls_back_to: Option<Digest>,
    /// Every version of it that is kept, in the order in which they came.
    pub kept: Vec<Listed>,
}

impl Inspected {
    /// A plugin that is installed, or was: one of the versions in `history`.
    pub fn installed(plugin: Value, name: &str, history: &History, version: &Version) -> Self {
        let rolls_back_to = history.previous(name).ok().map(|previous| previous.digest);
        Self {
            plugin,
            digest: Some(version.digest),
            signed_by: version.signed_by.clone(),
            installed: Some(version.clone()),
            rolls_back_to,
            kept: Listed::of(name, history.clone()),
        }
    }

    /// A plugin that is served out of a folder: its files are those of `artifact`, if they are there yet.
    pub fn in_folder(plugin: Value, artifact: Option<&Artifact>, trust: &Trust) -> Self {
        let vouched = artifact.and_then(|artifact| artifact::verify(artifact, trust, SystemTime::now()).ok());
        Self {
            plugin,
            digest: artifact.map(Artifact::content),
            signed_by: vouched.map(|vouched| vouched.signers().join(", ")),
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
        let Some((plugin, told)) = generation.inspect(name) else { return Err(unknown(generation, name).into()) };
        let set: InstalledSet = sources.shelf.read()?;
        if let Some(history) = set.plugins.get(name) {
            return Ok(Self::installed(told, name, history, history.current()));
        }
        let trust = rules.trust.as_deref().map_or_else(|| Ok(Trust::default()), Trust::open)?;
        Ok(Self::in_folder(told, files(&sources.plugins, plugin, rules).as_ref(), &trust))
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
