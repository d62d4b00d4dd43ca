//! `tidegate plugin verify`: who vouches for a plugin, wherever it is.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use super::sign::told;
use crate::cli::{Output, print, serve};
use crate::config::Config;
use crate::model::Digest;
use crate::registry::artifact::{self, Artifact, FetchLimits, Fetched, Provenance, Refusal, Source, Trust, Unsigned};

/// `tidegate plugin verify`
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// A plugin folder, a `.tar.gz`, an `https://` URL of one, or `oci://host/repository:tag`.
    pub source: String,
    /// Whose signatures count; what `[plugins] trust` says, by default.
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// The configuration file; `tidegate.toml` here if it exists.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin verify`
pub fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let config = Config::load(args.config.as_deref(), std::env::vars())?;
    let trust = match args.trust.as_ref().or(config.plugins.trust.as_ref()) {
        Some(path) => Trust::open(path)?,
        None => Trust::default(),
    };
    let source: Source = args.source.parse()?;
    // Gone at the end, however that comes.
    let staging = tempfile::tempdir().context("can't make a folder for what is fetched")?;
    let Fetched { artifact, pinned } = serve::runtime()?.block_on(artifact::fetch(&source, staging.path(), &limits(&config)))?;
    let what = format!("`{source}`, plugin `{}` {}", artifact.manifest.name, artifact.manifest.version);
    match vouched(&artifact, &trust, &config)? {
        Ok(provenance) => show(&artifact, pinned, &provenance, args.output).map(|()| ExitCode::SUCCESS),
        Err(refusal) if refusal.is_of_a_stranger() && config.plugins.unsigned == Unsigned::Allow => {
            bail!("{what}: {refusal}; `[plugins] unsigned = \"allow\"` would let it in all the same")
        }
        Err(refusal) => bail!("{what}: {refusal}"),
    }
}

/// What fetching may take by this configuration.
pub fn limits(config: &Config) -> FetchLimits {
    FetchLimits::new(config.sandbox.max_component, config.plugins.fetch_timeout)
}

fn vouched(artifact: &Artifact, trust: &Trust, config: &Config) -> Result<Result<Provenance, Refusal>> {
    Ok(match artifact::verify(artifact, trust, SystemTime::now()) {
        Ok(vouched) => vouched.telling(told(artifact, &config.sandbox)?),
        Err(refusal) => Err(refusal),
    })
}

fn show(artifact: &Artifact, pinned: Option<Digest>, provenance: &Provenance, output: Output) -> Result<()> {
    let (name, version, content) = (&artifact.manifest.name, &artifact.manifest.version, artifact.content());
    let Provenance { signers, others } = provenance;
    if output == Output::Json {
        return print::json(&json!({
            "name": name, "version": version, "content": content, "oci_digest": pinned, "signers": signers, "others": others,
        }));
    }
    let pinned = pinned.map_or_else(String::new, |digest| format!("\noci        sha256:{digest}"));
    let others = others.iter().map(|other| format!("\nbut        {other}")).collect::<String>();
    print::text(&format!("plugin     {name} {version}\ncontent    {content}{pinned}\nsigned by  {}{others}", signers.join(", ")))
}
