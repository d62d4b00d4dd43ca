//! `tidegate plugin keygen` and `sign`: vouching for a plugin.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Error, Result};
use clap::Args;

use crate::cli::{print, serve};
use crate::model::Digest;
use crate::outbound;
use crate::registry::artifact::{self, Artifact, PrivateKey, SIGNATURES};
use crate::sandbox::{Sandbox, SandboxConfig};

/// `tidegate plugin keygen`
#[derive(Debug, Clone, Args)]
pub struct KeygenArgs {
    /// Where the private key goes: a new file.
    pub out: PathBuf,
}

/// `tidegate plugin sign`
#[derive(Debug, Clone, Args)]
pub struct SignArgs {
    /// The folder of the built plugin; `plugin.sig` is written into it.
    pub dir: PathBuf,
    /// The file with the private key, as `keygen` made it.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

/// `tidegate plugin keygen`
pub fn keygen(args: &KeygenArgs) -> Result<ExitCode> {
    let key = PrivateKey::create(&args.out).map_err(Error::msg)?;
    eprintln!("the private key is in `{}`; the public one, for those who are to trust it:", args.out.display());
    print::text(&key.public())?;
    Ok(ExitCode::SUCCESS)
}

/// `tidegate plugin sign`
pub fn sign(args: &SignArgs) -> Result<ExitCode> {
    let key = PrivateKey::open(&args.key).map_err(Error::msg)?;
    let config = SandboxConfig::default();
    let artifact = Artifact::open(&args.dir, config.max_component)?;
    let told = told(&artifact, &config)?;
    let signatures = artifact::sign(&artifact, told, &key).map_err(Error::msg)?;
    let (path, unfinished) = (args.dir.join(SIGNATURES), args.dir.join("plugin.sig.unfinished"));
    std::fs::write(&unfinished, signatures.to_toml())
        .and_then(|()| std::fs::rename(&unfinished, &path))
        .with_context(|| format!("can't write `{}`", path.display()))?;
    let manifest = &artifact.manifest;
    eprintln!("`{}` {} is signed; its content is", manifest.name, manifest.version);
    print::text(&artifact.content())?;
    Ok(ExitCode::SUCCESS)
}

/// A digest of what the component of `artifact` tells of its tools. It is compiled and asked for that, in the sandbox.
///
/// # Errors
/// It is no plugin of this host's contract, or can't tell.
pub fn told(artifact: &Artifact, config: &SandboxConfig) -> Result<Digest> {
    let path = artifact.dir.join(format!("{}.wasm", artifact.manifest.name));
    let wasm = std::fs::read(&path).with_context(|| format!("can't read `{}`", path.display()))?;
    let sandbox = Sandbox::new(config, outbound::is_reserved)?;
    let shown = |path: &Path| format!("`{}`", path.display());
    let program = sandbox.compile(&wasm, &artifact.component).with_context(|| shown(&path))?;
    let definitions = serve::runtime()?.block_on(sandbox.describe(&program)).with_context(|| shown(&path))?;
    artifact::published(&definitions).map_err(|problem| Error::msg(problem).context(shown(&path)))
}
