//! `tidegate policy check`: whether a host would take these policies, before it is asked to.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::CheckArgs;
use super::workspace::Workspace;
use crate::cli::{Output, print};
use crate::model::{DocumentError, LoadProblem};
use crate::registry::Generation;
use crate::registry::error::of_document;

/// `tidegate policy check`
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let workspace = match (Workspace::open(&args.workspace), args.output) {
        (Ok(workspace), _) => workspace,
        (Err(error), Output::Table) => return Err(error),
        (Err(error), Output::Json) => {
            print::json(&json!({ "ok": false, "problems": [unopened(&error)] }))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    match (workspace.load()?, args.output) {
        (Ok(generation), Output::Table) => {
            let (hash, tools, files) = (generation.policies.hash(), generation.tools.len(), generation.policy_files.len());
            let folder = workspace.policies().map_or_else(|| "no folder".to_owned(), |folder| format!("`{}`", folder.display()));
            print::text(&format_args!("good: {files} policy files of {folder} over {tools} tools; hash {hash}"))?;
            Ok(ExitCode::SUCCESS)
        }
        (Ok(generation), Output::Json) => {
            print::json(&good(&generation))?;
            Ok(ExitCode::SUCCESS)
        }
        (Err(error), Output::Table) => Err(error.into()),
        (Err(error), Output::Json) => {
            print::json(&json!({ "ok": false, "problems": error.problems() }))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn good(generation: &Generation) -> serde_json::Value {
    json!({
        "ok": true, "problems": [], "hash": generation.policies.hash(), "files": generation.policy_files,
        "tools": generation.tools.len(),
    })
}

/// Why there is nothing to be checked: mostly a file that is broken, at a place.
fn unopened(error: &anyhow::Error) -> LoadProblem {
    match error.chain().find_map(|cause| cause.downcast_ref::<DocumentError>()) {
        Some(broken) => of_document(broken),
        None => LoadProblem::new(format!("{error:#}")),
    }
}
