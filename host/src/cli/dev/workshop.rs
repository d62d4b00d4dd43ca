//! Where plugins are built for `tidegate dev`: their sources, and the folder that the host serves them from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::DevProfile;
use super::watch::Watch;
use crate::cli::language::{Language, Purpose};
use crate::cli::plugin;
use crate::model::Manifest;
use crate::registry::artifact::MANIFEST;
use crate::registry::sources;

/// The plugins that are served, and where they are built to.
pub struct Workshop {
    root: PathBuf,
    profile: DevProfile,
    data: PathBuf,
    out: StagedPlugins,
    /// Where the plugin of each source folder was put.
    staged: BTreeMap<PathBuf, PathBuf>,
}

/// A folder of this process's own for built plugins, gone with it: nothing of the user's, or of another host's, is touched.
struct StagedPlugins(PathBuf);

impl Drop for StagedPlugins {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Workshop {
    /// The plugins under `root` that belong to `profile`, to be built to a folder in `data`.
    ///
    /// # Errors
    /// There is none, or one has a manifest that is broken.
    pub fn open(root: PathBuf, profile: DevProfile, data: &Path) -> Result<Self> {
        let out = data.join(format!("staged-plugins-{}", std::process::id()));
        std::fs::create_dir_all(&out).with_context(|| format!("can't create `{}`", out.display()))?;
        let workshop = Self { root, profile, data: data.to_owned(), out: StagedPlugins(out), staged: BTreeMap::new() };
        workshop.plugins()?;
        Ok(workshop)
    }

    /// The folder to serve from.
    pub fn out(&self) -> &Path {
        &self.out.0
    }

    /// The plugins there are now.
    ///
    /// # Errors
    /// There is none for the profile, or one has a manifest that is broken.
    pub fn plugins(&self) -> Result<Vec<(PathBuf, Manifest)>> {
        let mut selected = Vec::new();
        for dir in sources::plugin_dirs(&self.root)? {
            let manifest = plugin::read_manifest(&dir)?;
            if self.serves(&manifest) {
                selected.push((dir, manifest));
            }
        }
        if selected.is_empty() {
            bail!("`{}` holds no plugin for this profile", self.root.display());
        }
        Ok(selected)
    }

    /// A watch on the sources of all plugins, those that come included.
    pub fn watch(&self) -> Watch {
        Watch::of(&self.root, &self.data)
    }

    /// Whether the plugin in `dir` is built from sources, which an edit may mend.
    pub fn has_source(dir: &Path) -> bool {
        Language::of(dir).is_some()
    }

    /// Puts the plugin in `dir` where it is served from, compiled if it is there in source; one that is gone, or belongs to another
    /// profile, is taken away from there. What was there stays if that fails.
    ///
    /// # Errors
    /// Its manifest is broken, or it does not compile.
    pub fn stage(&mut self, dir: &Path) -> Result<()> {
        let is_there = dir.join(MANIFEST).exists() && self.serves(&plugin::read_manifest(dir)?);
        let staged = if is_there { Some(plugin::stage(dir, &self.out.0, self.purpose())?) } else { None };
        let before = match &staged {
            Some(staged) => self.staged.insert(dir.to_owned(), staged.clone()),
            None => self.staged.remove(dir),
        };
        // It has another name now, or none; what it is called no longer may be what another one is called.
        match before.filter(|before| !self.staged.values().any(|staged| staged == before)) {
            Some(before) => std::fs::remove_dir_all(&before).with_context(|| format!("can't remove `{}`", before.display())),
            None => Ok(()),
        }
    }

    /// Whether the plugin belongs to the profile. Conformance fixtures use test hooks, others never do.
    fn serves(&self, manifest: &Manifest) -> bool {
        let is_fixture = manifest.tools.iter().any(|tool| tool.test_hook.is_some());
        is_fixture == (self.profile == DevProfile::Conformance)
    }

    /// Whoever works on one plugin waits for it; many together are a demonstration, which is to be quick when called.
    fn purpose(&self) -> Purpose {
        if self.root.join("plugin.toml").exists() { Purpose::Trial } else { Purpose::Release }
    }
}

/// The plugin we stand in, or the `plugins` folder of the workspace we stand in.
///
/// # Errors
/// There is neither.
pub fn find() -> Result<PathBuf> {
    if Path::new("plugin.toml").exists() {
        return Ok(".".into());
    }
    let here = std::env::current_dir().context("can't tell the current folder")?;
    let found = here.ancestors().map(|dir| dir.join("plugins")).find(|dir| dir.is_dir());
    found.with_context(|| {
        format!(
            "there is no plugin in `{0}`, and no `plugins` folder in it or above; name one (`tidegate dev DIR`), or make one: \
             `tidegate new NAME`",
            here.display()
        )
    })
}
