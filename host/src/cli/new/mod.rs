//! `tidegate new`: from nothing to a plugin that builds and passes its own test.

mod name;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::language::{Language, sdk};
use super::print;

/// `tidegate new`
#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// The plugin's name, and that of its folder.
    #[arg(required_unless_present = "update_sdk", conflicts_with = "update_sdk")]
    pub name: Option<String>,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub lang: Language,
    /// Where the folder goes; `NAME` here if absent.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Make no plugin, but bring the SDK in this plugin's folder up to date.
    #[arg(long, value_name = "DIR")]
    pub update_sdk: Option<PathBuf>,
}

/// `tidegate new`
pub fn run(args: &NewArgs) -> Result<ExitCode> {
    match (&args.name, &args.update_sdk) {
        (_, Some(dir)) => update(dir)?,
        (Some(name), None) => create(name, args.lang, args.dir.as_deref())?,
        (None, None) => bail!("name the plugin: `tidegate new NAME`"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the plugin's folder, whole or not at all.
fn create(name: &str, language: Language, dir: Option<&Path>) -> Result<()> {
    name::check(name, language)?;
    let dir = dir.unwrap_or(Path::new(name));
    if dir.symlink_metadata().is_ok() {
        bail!("`{}` exists already; choose another name, or another folder with `--dir DIR`", dir.display());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("can't create `{}`", parent.display()))?;
    let begun = parent.join(format!(".{name}.tmp{}", std::process::id()));
    let made = fill(&begun, name, language)
        .and_then(|()| std::fs::rename(&begun, dir).with_context(|| format!("can't create `{}`", dir.display())));
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&begun);
    }
    made?;
    print::text(&format_args!(
        "{0}\n\nNext:\n  cd {0}\n  tidegate dev                 # serves it, also after each edit\n  tidegate plugin test         # runs its tests, loads it as a host would",
        dir.display()
    ))
}

fn fill(dir: &Path, name: &str, language: Language) -> Result<()> {
    for (path, text) in language.scaffold(name) {
        write(&dir.join(path), &text)?;
    }
    language.sdk().write(dir)
}

/// Replaces the SDK in a plugin's folder with the one this program carries.
fn update(dir: &Path) -> Result<()> {
    let Some(language) = Language::of(dir) else {
        bail!("`{}` holds no plugin in source, so there is no SDK to update", dir.display());
    };
    let sdk = language.sdk();
    let state = sdk.state(dir);
    if state == sdk::State::Current {
        return print::text(&format_args!("the SDK in `{}` is up to date", sdk::folder(dir).display()));
    }
    if state == sdk::State::Absent {
        bail!(
            "there is no SDK in `{}`; a plugin that `tidegate new` made has one, others name theirs among their dependencies",
            sdk::folder(dir).display()
        );
    }
    sdk.write(dir)?;
    print::text(&format_args!(
        "the SDK in `{}` is now that of tidegate {}",
        sdk::folder(dir).display(),
        env!("CARGO_PKG_VERSION")
    ))
}

/// Writes a file, and the folders it lies in.
fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .with_context(|| format!("can't write `{}`", path.display()))
}
