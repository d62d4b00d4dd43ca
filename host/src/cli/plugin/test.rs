//! `tidegate plugin test`: a plugin's own tests, then its component in the hands of a host.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::check;
use crate::cli::language::Language;
use crate::cli::print;
use crate::registry::sources;

/// `tidegate plugin test`
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// A plugin folder, or a folder of them; the plugin we stand in, or `plugins`, if absent.
    pub dir: Option<PathBuf>,
}

/// `tidegate plugin test`
pub fn run(args: &TestArgs) -> Result<ExitCode> {
    let dirs = sources::plugin_dirs(&args.dir.clone().unwrap_or_else(super::here))?;
    for dir in &dirs {
        if let Some(language) = Language::of(dir) {
            language.test(dir)?;
        }
    }
    match check::check(&dirs)? {
        Ok(generation) => {
            print::text(&check::summary(&generation))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(findings) => {
            findings.iter().for_each(|finding| eprintln!("error: {finding}"));
            Ok(ExitCode::FAILURE)
        }
    }
}
