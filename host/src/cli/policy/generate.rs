//! `tidegate policy generate`: what the manifests mean to Cedar.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::cli::{Output, PluginArgs, plugin, print, serve};

/// `tidegate policy generate`
pub fn run(args: &PluginArgs) -> Result<ExitCode> {
    let generation = serve::runtime()?.block_on(plugin::loader(&args.dir)?.load(&args.dir, None))?;
    let policies = &generation.policies;
    let invisible = policies.invisible();
    match args.output {
        Output::Json => print::json(&json!({
            "schema": policies.schema_text(), "policies": policies.generated_text(), "hash": policies.hash(),
            "invisible": invisible.iter()
                .map(|part| json!({"tool": part.tool, "path": part.path, "reason": part.reason})).collect::<Vec<_>>(),
        }))?,
        Output::Table => {
            print::text(&policies.schema_text())?;
            print::text(&policies.generated_text())?;
            for part in invisible {
                print::text(&format_args!("// policies can't see `{}` of `{}`: {}", part.path, part.tool, part.reason))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
