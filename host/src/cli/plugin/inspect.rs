//! `tidegate plugin inspect`: one plugin as a host would load it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::{PluginArgs, built_dir, loader, row};
use crate::cli::{Output, print, serve};
use crate::registry::sources;

/// `tidegate plugin inspect`
pub fn run(args: &PluginArgs) -> Result<ExitCode> {
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
