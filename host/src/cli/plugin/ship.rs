//! `tidegate plugin pack` and `push`: a plugin on its way to others.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::Args;

use super::verify::limits;
use crate::cli::{print, serve};
use crate::config::Config;
use crate::outbound::OciReference;
use crate::registry::artifact::{self, Artifact};

/// `tidegate plugin pack`
#[derive(Debug, Clone, Args)]
pub struct PackArgs {
    /// The folder of the built plugin.
    pub dir: PathBuf,
    /// The archive to write, a `.tar.gz`.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `tidegate plugin push`
#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// The folder of the built plugin.
    pub dir: PathBuf,
    /// Where it goes: `oci://host/repository:tag`.
    pub target: String,
    /// The configuration file; `tidegate.toml` here if it exists.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `tidegate plugin pack`
pub fn pack(args: &PackArgs) -> Result<ExitCode> {
    let limits = limits(&Config::default());
    let artifact = Artifact::open(&args.dir, limits.max_component)?;
    artifact::pack(&artifact, &args.out, limits.max_component)?;
    remind(&artifact);
    print::text(&args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

/// `tidegate plugin push`
pub fn push(args: &PushArgs) -> Result<ExitCode> {
    let reference: OciReference = args.target.parse().map_err(Error::msg)?;
    let limits = limits(&Config::load(args.config.as_deref(), std::env::vars())?);
    let artifact = Artifact::open(&args.dir, limits.max_component)?;
    let digest = serve::runtime()?.block_on(artifact::push(&artifact, &reference, &limits))?;
    remind(&artifact);
    eprintln!("pushed to `{reference}`; exactly this one is");
    print::text(&reference.pinned(digest))?;
    Ok(ExitCode::SUCCESS)
}

/// Hosts refuse what nobody signed, so whoever ships that should know.
fn remind(artifact: &Artifact) {
    if artifact.signatures.is_none() {
        eprintln!("note: it is not signed, so hosts refuse it by default; `tidegate plugin sign` comes before");
    }
}
