//! Plugins in Python: modules that are put into a component together with an interpreter.

mod component;
mod scaffold;
mod sources;
mod tools;

use std::path::Path;

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

/// Runs the plugin's own tests, natively, with a stand-in for the host. The only verb that runs a plugin outside of a sandbox.
pub fn test(dir: &Path) -> Result<()> {
    let dir = dir.canonicalize().with_context(|| format!("can't find `{}`", dir.display()))?;
    if !dir.join("tests").is_dir() {
        eprintln!("note: `{}` has no tests; they go to `tests/test_*.py`", dir.display());
        return Ok(());
    }
    let mut path = vec![dir.clone(), tools::sdk_of(&dir)?.join("python")];
    path.extend(tools::dependencies(&dir)?);
    let path = std::env::join_paths(path).context("a folder with `:` in its name can't be named to Python")?;
    let mut command = Python::find()?.command();
    command.args(["-m", "unittest", "discover", "--start-directory", "tests"]).env("PYTHONPATH", path).current_dir(&dir);
    let tested = command.status();
    if !tested.context("can't run `python3`")?.success() {
        bail!("the tests of `{}` failed; what they said stands above", dir.display());
    }
    Ok(())
}
