//! `tidegate plugin build`: from sources to folders that a host loads.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::read_manifest;
use crate::cli::language::{Language, Purpose};
use crate::model::Bytes;
use crate::registry::artifact::Kind;
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

/// Puts the plugin in `dir` at `out/<name>/{plugin.toml,<name>.wasm}`, compiled if it is there in source, with its `README.md` if it has
/// one; returns that folder.
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
    stage_readme(dir, &staged)?;
    Ok(staged)
}

/// What people are to read belongs to the plugin and is signed with it. What an earlier build put there goes with its source.
fn stage_readme(dir: &Path, staged: &Path) -> Result<()> {
    let (name, most) = (Kind::Readme.name(""), Kind::Readme.limit(Bytes(0)));
    let (source, target) = (dir.join(&name), staged.join(&name));
    if !source.is_file() {
        return match std::fs::remove_file(&target) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("can't remove `{}`", target.display()))
            }
            _ => Ok(()),
        };
    }
    // As every host would, and its author had better know first.
    let text = std::fs::read(&source).with_context(|| format!("can't read `{}`", source.display()))?;
    if text.len() as u64 > most.0 {
        bail!("`{}` is longer than the {most} that a plugin's may have", source.display());
    }
    if std::str::from_utf8(&text).is_err() {
        bail!("`{}` is not UTF-8 text, as a plugin's has to be", source.display());
    }
    replace(&source, &target)
}

/// Puts a copy of `source` in the place of `target`, whole or not at all: a host may be loading it.
fn replace(source: &Path, target: &Path) -> Result<()> {
    let temporary = target.with_extension(format!("tmp{}", std::process::id()));
    std::fs::copy(source, &temporary)
        .and_then(|_| std::fs::rename(&temporary, target))
        .with_context(|| format!("can't write `{}`", target.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_people_read_goes_with_the_plugin_as_long_as_hosts_would_take_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (source, staged) = (folder.path().join("source"), folder.path().join("staged"));
        for dir in [&source, &staged] {
            fs::create_dir(dir).expect("writable");
        }
        let stage = || stage_readme(&source, &staged).map_err(|error| error.to_string());
        let read = || fs::read_to_string(staged.join("README.md")).ok();
        assert_eq!((stage(), read()), (Ok(()), None));
        for text in ["# Greets\n", "# Greets people\n"] {
            fs::write(source.join("README.md"), text).expect("writable");
            assert_eq!((stage(), read().as_deref()), (Ok(()), Some(text)));
        }
        fs::write(source.join("README.md"), "x".repeat((1 << 20) + 1)).expect("writable");
        assert!(stage().expect_err("it is too long").contains("README.md` is longer than the 1.0 MiB"));
        fs::write(source.join("README.md"), b"\xff").expect("writable");
        assert!(stage().expect_err("it is no text").contains("is not UTF-8 text"));
        fs::remove_file(source.join("README.md")).expect("it is there");
        assert_eq!((stage(), read()), (Ok(()), None), "what was built before goes with its source");
        assert_eq!(fs::read_dir(&staged).expect("there").count(), 0);
    }
}
