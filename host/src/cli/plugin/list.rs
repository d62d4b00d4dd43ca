//! `tidegate plugin list`: what is installed, or the plugins and tools in a folder.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::Value;

use super::{installed, read_manifest};
use crate::cli::{Output, WhichHost, print};
use crate::registry::{sources, tool_row};

/// `tidegate plugin list`
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// A folder of plugin folders, or one plugin folder; what is installed if absent.
    #[arg(conflicts_with_all = ["config", "data", "admin_url"])]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub host: WhichHost,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin list`
pub fn run(args: &ListArgs) -> Result<ExitCode> {
    let Some(dir) = &args.dir else {
        installed::list(&args.host, args.output)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut rows = Vec::new();
    for dir in sources::plugin_dirs(dir)? {
        let manifest = read_manifest(&dir)?;
        let is_built = dir.join(format!("{}.wasm", manifest.name)).exists();
        rows.extend(manifest.tools.iter().map(|tool| tool_row(&manifest, tool, is_built)));
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
