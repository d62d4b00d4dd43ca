//! `tidegate plugin diff`: what one version of a plugin could do that the other could not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use super::{built_dir, changes, loader};
use crate::cli::{HostArgs, Output, print, serve};
use crate::model::Face;
use crate::model::widening::compare;
use crate::registry::artifact::Artifact;
use crate::registry::installed::{InstallError, InstalledSet, Shelf};
use crate::sandbox::SandboxConfig;

/// `tidegate plugin diff`
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The one before: a folder, `NAME` or `NAME@VERSION` of an installed plugin, or a digest.
    pub before: String,
    /// The one after, named in the same ways.
    pub after: String,
    #[command(flatten)]
    pub host: HostArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin diff`
pub fn run(args: &DiffArgs) -> Result<ExitCode> {
    let shelf = Shelf::of(&serve::data_dir(&serve::configure(&args.host, None)?));
    let set = shelf.read()?;
    let (before, after) = (look(&shelf, &set, &args.before)?, look(&shelf, &set, &args.after)?);
    if before.face.manifest.name != after.face.manifest.name {
        eprintln!("these are two plugins, `{}` and `{}`", before.face.manifest.name, after.face.manifest.name);
    }
    let changes = compare(Some(&before.face), &after.face);
    match args.output {
        Output::Json => print::json(&json!({"before": before.told(), "after": after.told(), "changes": changes}))?,
        Output::Table if changes.is_empty() && before.artifact.content() == after.artifact.content() => {
            print::text(&"they are the same")?;
        }
        Output::Table if changes.is_empty() => print::text(&"they ask for the same, and tell the same; only their code differs")?,
        Output::Table => print::text(&changes::table(&changes))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One of the two.
struct Looked {
    artifact: Artifact,
    face: Face,
}

impl Looked {
    fn told(&self) -> serde_json::Value {
        let manifest = &self.face.manifest;
        json!({"name": manifest.name, "version": manifest.version, "sha256": self.artifact.content()})
    }
}

fn look(shelf: &Shelf, set: &InstalledSet, spec: &str) -> Result<Looked> {
    let dir = find(shelf, set, spec)?;
    let artifact = Artifact::open(&dir, SandboxConfig::default().max_component)?;
    check(shelf, &artifact)?;
    let (plugin, advertised) = serve::runtime()?.block_on(loader(&dir)?.load_plugin(&dir))?;
    Ok(Looked { artifact, face: plugin.face(&advertised) })
}

/// Whether a plugin that is installed is as it was.
///
/// # Errors
/// It was changed since.
pub fn check(shelf: &Shelf, artifact: &Artifact) -> Result<(), InstallError> {
    match (shelf.promised(&artifact.dir), artifact.content()) {
        (Some(promised), found) if promised != found => {
            let (plugin, dir) = (artifact.manifest.name.clone(), artifact.dir.clone());
            Err(InstallError::Tampered { plugin, dir, found })
        }
        _ => Ok(()),
    }
}

/// The folder that `spec` names.
pub fn find(shelf: &Shelf, set: &InstalledSet, spec: &str) -> Result<PathBuf> {
    let path = Path::new(spec);
    if path.join("plugin.toml").exists() {
        return built_dir(path);
    }
    if path.components().count() > 1 {
        bail!("`{spec}` holds no plugin: there is no `plugin.toml` in it");
    }
    if let Some((name, version)) = spec.split_once('@') {
        return Ok(shelf.dir(set.history(name)?.find(name, version)?.digest));
    }
    if let Some(history) = set.plugins.get(spec) {
        return Ok(shelf.dir(history.active));
    }
    let found = set.plugins.iter().find_map(|(name, history)| history.find(name, spec).ok());
    let found = found.map(|version| shelf.dir(version.digest));
    found.with_context(|| match set.history(spec) {
        Err(error) => format!("there is no folder `{spec}` with a `plugin.toml`, and {error}"),
        Ok(_) => format!("`{spec}` is no plugin"),
    })
}
