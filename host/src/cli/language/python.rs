//! Plugins in Python: modules that are put into a component together with an interpreter.

mod component;
mod scaffold;
mod sources;
mod tools;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

pub use component::compile;
pub use scaffold::{files, reserves, sdk};
use tools::Python;

/// The module whose tools are served.
const APP: &str = "app.py";

/// Whether the plugin in `dir` is written in Python.
pub fn is_at(dir: &Path) -> bool {
    dir.join(APP).exists()
}

/// Runs the plugin's own tests, natively, with a stand-in for the host.
pub fn test(dir: &Path) -> Result<()> {
    if !dir.join("tests").is_dir() {
        eprintln!("note: `{}` has no tests; they go to `tests/test_*.py`", dir.display());
        return Ok(());
    }
    let python = Python::find()?;
    let mut command = native(&python, dir)?;
    let tested = command.args(["-m", "unittest", "discover", "--start-directory", "tests"]).status();
    if !tested.context("can't run `python3`")?.success() {
        bail!("the tests of `{}` failed; what they said stands above", dir.display());
    }
    Ok(())
}

/// Imports the plugin as building it does, but natively: a mistake is told in a moment, and with the author's own paths.
fn import(python: &Python, dir: &Path) -> Result<()> {
    let imported = native(python, dir)?.args(["-c", "import app"]).status();
    if !imported.context("can't run `python3`")?.success() {
        bail!("`{}` can't be imported; what Python said stands above", dir.join(APP).display());
    }
    Ok(())
}

/// Python in the plugin's folder, which finds the plugin, the SDK and what the plugin depends on.
fn native(python: &Python, dir: &Path) -> Result<Command> {
    let dir = dir.canonicalize().with_context(|| format!("can't find `{}`", dir.display()))?;
    let mut path: Vec<PathBuf> = vec![dir.clone(), tools::sdk_of(&dir)?.join("python")];
    path.extend(tools::dependencies(&dir)?);
    let path: OsString = std::env::join_paths(path).context("a folder with `:` in its name can't be named to Python")?;
    let mut command = python.command();
    command.env("PYTHONPATH", path).current_dir(&dir).stdin(Stdio::null());
    Ok(command)
}
