//! `tidegate plugin …`: what lies in a folder, as a host would see it, and what becomes of it.

mod act;
mod build;
mod changes;
mod check;
mod diff;
mod finding;
mod inspect;
mod installed;
mod list;
pub mod reload;
mod ship;
mod sign;
mod test;
mod verify;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::language::{Language, Purpose};
use super::{LiveArgs, Output};
use crate::ledger::LedgerConfig;
use crate::model::Manifest;
use crate::outbound;
use crate::policy::GeneratedPermits;
use crate::registry::installed::Promises;
use crate::registry::{Loader, manifest, sources};
use crate::sandbox::{Sandbox, SandboxConfig};

pub use act::{InstallArgs, RemoveArgs, RollbackArgs};
pub use build::{BuildArgs, stage};
pub use check::CheckArgs;
pub use diff::DiffArgs;
pub use inspect::InspectArgs;
pub use list::ListArgs;
pub use ship::{PackArgs, PushArgs};
pub use sign::{KeygenArgs, SignArgs};
pub use test::TestArgs;
pub use verify::VerifyArgs;

/// Where built plugins go when nobody says.
const BUILT: &str = "target/plugins";

/// `tidegate plugin …`
#[derive(Debug, Subcommand)]
pub enum PluginVerb {
    /// List what is installed, or the plugins and tools in a folder.
    List(ListArgs),
    /// Show the tools, schemas, scopes and limits of plugins; of one that is installed or served also who vouches for it and how it came.
    Inspect(InspectArgs),
    /// Install a plugin, or another version of one; what of it widens has to be approved.
    Install(InstallArgs),
    /// Show what one version of a plugin could do that the other could not.
    Diff(DiffArgs),
    /// Go back to a version that was installed before.
    Rollback(RollbackArgs),
    /// Remove an installed plugin, with all its versions.
    Remove(RemoveArgs),
    /// Compile plugins to components, ready to be served.
    Build(BuildArgs),
    /// Run a plugin's own tests, then load its component as a host would.
    Test(TestArgs),
    /// Have the running host load plugins and policies anew: all of them take effect at once, or none, and then it says why.
    Reload(LiveArgs),
    /// What the running host says of its plugins: which are in force, since when, and what was refused.
    Status(LiveArgs),
    /// Find everything a host would refuse a plugin for, with file and line, and without backends; exits with 1 if there is something.
    Check(CheckArgs),
    /// Make a key to sign plugins with; the public half is printed.
    Keygen(KeygenArgs),
    /// Sign a built plugin: its files, and what it tells of its tools.
    Sign(SignArgs),
    /// See who vouches for a plugin, wherever it is; exits with 1 if nobody does who is trusted.
    Verify(VerifyArgs),
    /// Pack a built plugin as a `.tar.gz`.
    Pack(PackArgs),
    /// Push a built plugin to an OCI registry.
    Push(PushArgs),
}

/// The folder a plugin verb looks at.
#[derive(Debug, Clone, Args)]
pub struct PluginArgs {
    /// A folder of plugin folders, or one plugin folder.
    #[arg(default_value = "plugins")]
    pub dir: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin …`
pub fn run(verb: &PluginVerb) -> Result<ExitCode> {
    match verb {
        PluginVerb::List(args) => list::run(args),
        PluginVerb::Inspect(args) => inspect::run(args),
        PluginVerb::Install(args) => act::install(args),
        PluginVerb::Diff(args) => diff::run(args),
        PluginVerb::Rollback(args) => act::roll_back(args),
        PluginVerb::Remove(args) => act::remove(args),
        PluginVerb::Build(args) => build::run(args),
        PluginVerb::Test(args) => test::run(args),
        PluginVerb::Check(args) => check::run(args),
        PluginVerb::Keygen(args) => sign::keygen(args),
        PluginVerb::Sign(args) => sign::sign(args),
        PluginVerb::Verify(args) => verify::run(args),
        PluginVerb::Pack(args) => ship::pack(args),
        PluginVerb::Push(args) => ship::push(args),
        PluginVerb::Reload(args) => reload::run(args),
        PluginVerb::Status(args) => reload::status(args),
    }
}

/// The plugin whose folder we stand in, or the folder of plugins here.
fn here() -> PathBuf {
    if Path::new("plugin.toml").exists() { ".".into() } else { "plugins".into() }
}

/// A loader for looking: what a backend's address is does not matter for that, so every backend counts as defined, and every origin
/// as allowed.
pub fn loader(dir: &Path) -> Result<Loader> {
    loader_of(&sources::plugin_dirs(dir)?)
}

/// [`loader`] for these plugin folders.
fn loader_of(dirs: &[PathBuf]) -> Result<Loader> {
    let (mut backends, mut origins) = (BTreeSet::new(), Vec::new());
    for dir in dirs {
        let sandbox = read_manifest(dir)?.sandbox;
        backends.extend(sandbox.backends);
        origins.extend(sandbox.origins);
    }
    let sandbox = Arc::new(Sandbox::new(&SandboxConfig::default(), outbound::is_reserved)?);
    Ok(Loader {
        sandbox,
        backends,
        origins,
        test_hooks: true,
        permits: GeneratedPermits::On,
        keep_answers: LedgerConfig::default().keep_answers,
        promises: Promises::default(),
    })
}

/// The folder with the component: `dir` itself, or, for a plugin in source, where it is staged after building it.
pub fn built_dir(dir: &Path) -> Result<PathBuf> {
    let name = read_manifest(dir)?.name;
    if dir.join(format!("{name}.wasm")).exists() || Language::of(dir).is_none() {
        return Ok(dir.to_owned());
    }
    stage(dir, Path::new(BUILT), Purpose::Release)
}

/// The manifest of the plugin in `dir`.
pub fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join("plugin.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read `{}`", path.display()))?;
    Ok(manifest::parse(&path, &text)?)
}
