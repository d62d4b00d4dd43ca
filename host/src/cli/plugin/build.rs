//! `tidegate plugin build`: from sources to folders that a host loads.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::read_manifest;
use crate::cli::language::{Language, Purpose};
use crate::registry::sources;

/// `tidegate plugin build`
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// Plugins in source, or folders of them; the plugin we stand in, or `plugins`, if absent.
    pub dirs: Vec<PathBuf>,
    /// Where the built plugins go, one folder each.
    #[arg(long, value_name = "DIR", default_value = "target/plugins")]
    pub out: PathBuf,
}

/// `tidegate plugin build`
pub fn run(args: &BuildArgs) -> Result<ExitCode> {
    let dirs = if args.dirs.is_empty() { vec![super::here()] } else { args.dirs.clone() };
    for root in &dirs {
        for dir in sources::plugin_dirs(root)? {
            if Language::of(&dir).is_none() {
                bail!(
                    "`{}` holds no source that can be built here (neither Cargo.toml nor app.py); build its component with its \
                     own tools and put it at `{}.wasm`",
                    dir.display(),
                    read_manifest(&dir)?.name
                );
            }
            let staged = stage(&dir, &args.out, Purpose::Release)?;
            println!("{}", staged.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts the plugin in `dir` at `out/<name>/{plugin.toml,<name>.wasm}`, compiled if it is there in source; returns that folder.
///
/// # Errors
/// Its manifest is broken, it does not compile, or something can't be read or written.
pub fn stage(dir: &Path, out: &Path, purpose: Purpose) -> Result<PathBuf> {
    let name = read_manifest(dir)?.name;
    let component = match Language::of(dir) {
        Some(language) => {
            if let Some(advice) = language.sdk().advice(dir) {
                eprintln!("note: {advice}");
            }
            eprintln!("building plugin `{name}`");
            language.compile(dir, purpose)?
        }
        None => dir.join(format!("{name}.wasm")),
    };
    if !component.exists() {
        bail!("there is no component at `{}`; build it with its own tools", component.display());
    }
    let staged = out.join(&name);
    std::fs::create_dir_all(&staged).with_context(|| format!("can't create `{}`", staged.display()))?;
    replace(&component, &staged.join(format!("{name}.wasm")))?;
    replace(&dir.join("plugin.toml"), &staged.join("plugin.toml"))?;
    Ok(staged)
}

/// Puts a copy of `source` in the place of `target`, whole or not at all: a host may be loading it.
fn replace(source: &Path, target: &Path) -> Result<()> {
    let temporary = target.with_extension(format!("tmp{}", std::process::id()));
    std::fs::copy(source, &temporary)
        .and_then(|_| std::fs::rename(&temporary, target))
        .with_context(|| format!("can't write `{}`", target.display()))
}
