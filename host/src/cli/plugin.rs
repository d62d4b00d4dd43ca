//! `tidegate plugin …`: what lies in a folder, as a host would see it, and what is installed.

mod act;
mod changes;
mod diff;
mod installed;

pub mod ship;
pub mod sign;
pub mod verify;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{ListArgs, Output, PluginArgs, build, print, serve};
use crate::ledger::LedgerConfig;
use crate::model::{Bytes, Manifest, Scope, ToolManifest};
use crate::outbound;
use crate::policy::GeneratedPermits;
use crate::registry::installed::Promises;
use crate::registry::{Loader, manifest, sources};
use crate::sandbox::{Sandbox, SandboxConfig};

pub use act::{InstallArgs, RemoveArgs, RollbackArgs, install, remove, roll_back};
pub use diff::{DiffArgs, run as diff};

/// `tidegate plugin list`
pub fn list(args: &ListArgs) -> Result<ExitCode> {
    let Some(dir) = &args.dir else {
        installed::list(&args.host, args.output)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut rows = Vec::new();
    for dir in sources::plugin_dirs(dir)? {
        let manifest = read_manifest(&dir)?;
        let is_built = dir.join(format!("{}.wasm", manifest.name)).exists();
        rows.extend(manifest.tools.iter().map(|tool| row(&manifest, tool, is_built)));
    }
    match args.output {
        Output::Json => print::json(&rows)?,
        Output::Table => {
            const COLUMNS: [&str; 8] = ["plugin", "version", "tool", "effect", "scopes", "fuel", "deadline", "built"];
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header(COLUMNS);
            for row in &rows {
                table.add_row(COLUMNS.map(|column| match &row[column] {
                    Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                }));
            }
            print::text(&table)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `tidegate plugin inspect`
pub fn inspect(args: &PluginArgs) -> Result<ExitCode> {
    let runtime = serve::runtime()?;
    let mut plugins = Vec::new();
    for dir in sources::plugin_dirs(&args.dir)? {
        let built = built_dir(&dir)?;
        plugins.push(runtime.block_on(inspect_plugin(&built))?);
    }
    match args.output {
        Output::Json => print::json(&plugins)?,
        Output::Table => plugins.iter().try_for_each(|plugin| print::text(&describe(plugin)))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A loader for looking: what a backend's address is does not matter for that, so every backend counts as defined, and every origin
/// as allowed.
pub fn loader(dir: &Path) -> Result<Loader> {
    let (mut backends, mut origins) = (BTreeSet::new(), Vec::new());
    for dir in sources::plugin_dirs(dir)? {
        let sandbox = read_manifest(&dir)?.sandbox;
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

/// The folder with the component: `dir` itself, or, for a crate, where it is staged after building it.
pub fn built_dir(dir: &Path) -> Result<std::path::PathBuf> {
    let name = read_manifest(dir)?.name;
    if dir.join(format!("{name}.wasm")).exists() || !dir.join("Cargo.toml").exists() {
        return Ok(dir.to_owned());
    }
    build::build(dir, Path::new("target/plugins"))
}

async fn inspect_plugin(dir: &Path) -> Result<Value> {
    let (plugin, advertised) = loader(dir)?.load_plugin(dir).await?;
    let tools: Vec<_> = plugin
        .manifest
        .tools
        .iter()
        .zip(&advertised)
        .map(|(tool, advertised)| {
            let listing = &advertised.listing;
            let mut row = row(&plugin.manifest, tool, true);
            row["title"] = json!(listing.title);
            row["description"] = json!(listing.description);
            row["input_schema"] = json!(*listing.input_schema);
            row["output_schema"] = json!(listing.output_schema.as_deref());
            row["annotations"] = json!(listing.annotations);
            row
        })
        .collect();
    let sandbox = &plugin.manifest.sandbox;
    Ok(json!({
        "name": plugin.manifest.name, "version": plugin.manifest.version, "contract": plugin.manifest.contract,
        "sha256": plugin.version.component, "memory": sandbox.memory.to_string(), "backends": sandbox.backends,
        "origins": sandbox.origins.iter().map(ToString::to_string).collect::<Vec<_>>(), "tools": tools,
    }))
}

fn describe(plugin: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines: Vec<_> = ["name", "version", "contract", "sha256", "memory", "backends", "origins"]
        .map(|key| format!("{key:<10} {}", text(&plugin[key])))
        .into();
    for tool in plugin["tools"].as_array().into_iter().flatten() {
        lines.push(format!("\n{} ({})", text(&tool["tool"]), text(&tool["effect"])));
        let keys = ["description", "scopes", "fuel", "deadline", "slow", "risk", "input_schema", "output_schema", "annotations"];
        lines.extend(keys.map(|key| format!("  {key:<14} {}", text(&tool[key]))));
    }
    lines.join("\n")
}

fn row(manifest: &Manifest, tool: &ToolManifest, is_built: bool) -> Value {
    json!({
        "plugin": manifest.name, "version": manifest.version, "tool": tool.name, "effect": tool.effect,
        "scopes": tool.scopes.iter().map(Scope::to_string).collect::<Vec<_>>(), "fuel": tool.fuel,
        "deadline": tool.deadline.to_string(), "slow": tool.slow, "risk": tool.risk, "memory": Bytes::to_string(&manifest.sandbox.memory),
        "backend_keyed": tool.backend_keyed, "built": is_built,
    })
}

pub fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join("plugin.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read `{}`", path.display()))?;
    Ok(manifest::parse(&path, &text)?)
}
