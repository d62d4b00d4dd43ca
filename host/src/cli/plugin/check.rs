//! `tidegate plugin check`: everything a host would refuse a plugin for, before a host is near.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::finding::Finding;
use super::{BUILT, loader, stage};
use crate::cli::language::{Language, Purpose};
use crate::cli::{Output, print, serve};
use crate::registry::{Generation, manifest, sources};

/// `tidegate plugin check`
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// A plugin folder, or a folder of them; the plugin we stand in, or `plugins`, if absent.
    pub dir: Option<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin check`
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let dirs = sources::plugin_dirs(&args.dir.clone().unwrap_or_else(super::here))?;
    let checked = check(&dirs)?;
    let findings = checked.as_ref().err().map_or(&[][..], Vec::as_slice);
    match (args.output, &checked) {
        (Output::Json, _) => print::json(&findings)?,
        (Output::Table, Ok(generation)) => print::text(&summary(generation))?,
        (Output::Table, Err(findings)) => findings.iter().try_for_each(print::text)?,
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Loads these plugins together as a host would on which every backend is defined and every origin allowed, building what is there in
/// source; or tells everything that stands against it.
///
/// # Errors
/// The tools of a language are missing.
pub fn check(dirs: &[PathBuf]) -> Result<Result<Generation, Vec<Finding>>> {
    let mut findings: Vec<Finding> = dirs.iter().flat_map(|dir| of_manifest(dir)).collect();
    if !findings.is_empty() {
        return Ok(Err(findings));
    }
    let mut staged = Vec::new();
    for dir in dirs {
        let built = match Language::of(dir) {
            Some(_) => stage(dir, Path::new(BUILT), Purpose::Release),
            None => Ok(dir.clone()),
        };
        match built {
            Ok(built) => staged.push((dir.as_path(), built)),
            Err(error) => findings.push(Finding::of_build(dir, &error)),
        }
    }
    if !findings.is_empty() {
        return Ok(Err(findings));
    }
    let runtime = serve::runtime()?;
    for (dir, built) in &staged {
        if let Err(error) = runtime.block_on(loader(built)?.load(built, None)) {
            findings.extend(Finding::of_load(dir, &error));
        }
    }
    if !findings.is_empty() {
        return Ok(Err(findings));
    }
    // Each by itself is good; what is left is whether they go together.
    let folders: Vec<_> = staged.iter().map(|(_, built)| built.clone()).collect();
    let together = runtime.block_on(super::loader_of(&folders)?.load_dirs(&folders, None));
    Ok(together.map_err(|error| Finding::of_load(dirs.first().map_or(Path::new("."), PathBuf::as_path), &error)))
}

/// What is wrong with the manifest in `dir`.
fn of_manifest(dir: &Path) -> Vec<Finding> {
    let path = dir.join("plugin.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => manifest::problems(&path, &text).into_iter().map(Finding::from).collect(),
        Err(error) => vec![Finding::of_file(&path, format!("it can't be read: {error}"))],
    }
}

/// What a host would serve.
pub fn summary(generation: &Generation) -> String {
    let lines = generation.plugins.iter().map(|plugin| {
        let tools: Vec<_> = plugin.manifest.tools.iter().map(|tool| tool.name.as_str()).collect();
        format!("{} {} loads, with {}", plugin.manifest.name, plugin.manifest.version, tools.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}
