//! `tidegate plugin inspect`: one plugin as a host would load it, or as it is served and installed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{built_dir, diff, loader, read_manifest};
use crate::cli::audit::{printable, time};
use crate::cli::{Output, WhichHost, print, serve};
use crate::config::Config;
use crate::model::Digest;
use crate::pipeline::installer::{Inspected, Listed};
use crate::registry::artifact::{Artifact, Trust};
use crate::registry::installed::{Shelf, Version};
use crate::registry::{self, sources};
use crate::server::operator::installed::{INSPECT, Inspect};

/// `tidegate plugin inspect`
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A plugin folder or a folder of them, `plugins` if absent; or the name of a plugin that is installed or served, or `NAME@VERSION`
    /// or `sha256:…` of one that is kept.
    pub plugin: Option<String>,
    #[command(flatten)]
    pub host: WhichHost,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin inspect`
pub fn run(args: &InspectArgs) -> Result<ExitCode> {
    let path = Path::new(args.plugin.as_deref().unwrap_or("plugins"));
    match &args.plugin {
        Some(name) if !path.is_dir() && path.components().count() == 1 => one(args, name)?,
        _ => folder(path, args.output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the plugins in a folder.
fn folder(path: &Path, output: Output) -> Result<()> {
    let runtime = serve::runtime()?;
    let mut plugins = Vec::new();
    for dir in sources::plugin_dirs(path)? {
        let built = built_dir(&dir)?;
        plugins.push(runtime.block_on(load(&built))?.0);
    }
    match output {
        Output::Json => print::json(&plugins),
        Output::Table => plugins.iter().try_for_each(|plugin| print::text(&describe(plugin, &[]))),
    }
}

/// Shows the plugin that `name` means to the host.
fn one(args: &InspectArgs, name: &str) -> Result<()> {
    let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    let live = args.host.live()?;
    let inspected: Inspected = match live {
        Some(mut live) if is_plain => {
            let answer = live.ask(INSPECT, &json!(Inspect { name: name.to_owned() }))?;
            serde_json::from_value(answer).context("the host's answer makes no sense; is it of another version?")?
        }
        _ if args.host.elsewhere.admin_url.is_some() => {
            bail!("a host elsewhere tells of what it serves; name the plugin alone, without a version or a digest")
        }
        // What is kept lies there whether a host lives or not.
        _ => here(&args.host.configure()?, name)?,
    };
    match args.output {
        Output::Json => print::json(&inspected),
        Output::Table => print::text(&describe(&inspected.plugin, &history(&inspected))),
    }
}

/// The plugin as it lies in the data folder, or else in the folder of plugins that a host here would serve.
fn here(config: &Config, name: &str) -> Result<Inspected> {
    let shelf = Shelf::of(&serve::data_dir(config));
    let set = shelf.read()?;
    let runtime = serve::runtime()?;
    let trust = config.plugins.trust.as_deref().map(Trust::open).transpose()?;
    let installed = match diff::find(&shelf, &set, name) {
        Ok(dir) => dir,
        Err(error) => {
            let Some(dir) = served_from(config, name) else { return Err(error) };
            let plugin = runtime.block_on(load(&dir))?;
            let artifact = Artifact::open(&dir, config.sandbox.max_component)?;
            return Ok(Inspected::in_folder(plugin, Some(&artifact), trust.as_ref()));
        }
    };
    let artifact = Artifact::open(&installed, config.sandbox.max_component)?;
    diff::check(&shelf, &artifact)?;
    let plugin = runtime.block_on(load(&installed))?;
    let found =
        set.plugins.iter().find_map(|(name, history)| Some((name, history, history.version(shelf.promised(&installed)?)?)));
    let (name, history, version) = found.with_context(|| format!("`{}` is installed no longer", installed.display()))?;
    Ok(Inspected::installed(plugin, (name, history, version), Some(&artifact), trust.as_ref()))
}

/// The folder of the plugin of this name among those of the configured folder.
fn served_from(config: &Config, name: &str) -> Option<PathBuf> {
    let dirs = sources::plugin_dirs(&config.plugins.path).unwrap_or_default();
    dirs.into_iter().find(|dir| read_manifest(dir).is_ok_and(|manifest| manifest.name == name))
}

/// What is told of the plugin in `dir`, and a digest of what its component tells.
async fn load(dir: &Path) -> Result<(Value, Digest)> {
    let (plugin, advertised) = loader(dir)?.load_plugin(dir).await?;
    Ok((registry::inspect(&plugin, advertised.iter().map(|advertised| &advertised.listing)), plugin.told))
}

/// What is told of a plugin, with what is told of how it came between what it is and its tools.
fn describe(plugin: &Value, came: &[String]) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines: Vec<_> = ["name", "version", "contract", "sha256", "memory", "backends", "origins"]
        .map(|key| format!("{key:<10} {}", text(&plugin[key])))
        .into();
    lines.extend_from_slice(came);
    for tool in plugin["tools"].as_array().into_iter().flatten() {
        lines.push(format!("\n{} ({})", text(&tool["tool"]), text(&tool["effect"])));
        let keys = ["description", "scopes", "asks", "requires_client", "fuel", "deadline", "slow", "risk"];
        let documents = ["input_schema", "output_schema", "annotations"];
        lines.extend(keys.into_iter().chain(documents).map(|key| format!("  {key:<15} {}", text(&tool[key]))));
    }
    lines.join("\n")
}

/// Who vouches for it, how it came, and what is kept besides.
fn history(inspected: &Inspected) -> Vec<String> {
    let Inspected { digest, signed_by, counts_no_longer, installed, rolls_back_to, kept, .. } = inspected;
    let digest = digest.map_or_else(|| "not known: other files lie there by now".to_owned(), |digest| format!("sha256:{digest}"));
    let signers = |signers: &Option<String>| signers.as_deref().map_or_else(|| "nobody who is trusted".to_owned(), printable);
    let mut lines = vec![format!("digest     {digest}"), format!("signed by  {}", signers(signed_by))];
    lines.extend(counts_no_longer.as_deref().map(|why| format!("           counts no longer: {}", printable(why))));
    let Some(version) = installed else { return lines };
    let came = |version: &Version| {
        let Version { by, source, installed_ms, .. } = version;
        format!("{} by {}, from {}", time::show(installed_ms.as_millis()), printable(by), printable(source))
    };
    lines.push(format!("installed  {}", came(version)));
    let goes = |digest: Digest| kept.iter().find(|listed| listed.version.digest == digest);
    lines.push(match rolls_back_to.and_then(goes) {
        Some(Listed { version, .. }) => format!("rollback   to {} sha256:{}", printable(&version.version), version.digest),
        None => "rollback   there is nothing to go back to".to_owned(),
    });
    for Listed { active, version, .. } in kept {
        let since =
            if *active { format!("in force since {}", time::show(version.active_ms.as_millis())) } else { "kept".to_owned() };
        lines.push(format!("           {} sha256:{} {since}", printable(&version.version), version.digest));
        lines.push(format!("             signed by {}; installed {}", signers(&version.signed_by), came(version)));
    }
    lines
}
