//! Plugins in Rust: crates that cargo compiles to components.

mod beside;
mod lock;
mod messages;
pub mod scaffold;

use std::ffi::OsStr;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::{NotCompiled, Purpose};
use messages::Messages;
pub use scaffold::{reserves, sdk};

/// The target every plugin is compiled to.
const TARGET: &str = "wasm32-wasip2";

/// Small and quick guests: every call instantiates one.
const RELEASE: [&str; 4] =
    ["profile.release.lto=true", "profile.release.codegen-units=1", "profile.release.strip=true", "profile.release.opt-level=3"];

/// Whether the plugin in `dir` is a crate.
pub fn is_at(dir: &Path) -> bool {
    dir.join("Cargo.toml").exists()
}

/// The folders of the crates that the one in `dir` is built from besides.
pub fn sources_beside(dir: &Path) -> Vec<PathBuf> {
    beside::of(dir).into_iter().collect()
}

/// Compiles the crate in `dir`; returns its component.
pub fn compile(dir: &Path, purpose: Purpose) -> Result<PathBuf> {
    ensure_target(dir)?;
    let (profile, settings) = match purpose {
        Purpose::Release => ("release", RELEASE.map(str::to_owned).to_vec()),
        Purpose::Trial => ("tidegate-dev", trial(dir)?),
    };
    let mut flags = vec!["--lib", "--profile", profile, "--target", TARGET];
    flags.extend(settings.iter().flat_map(|setting| ["--config", setting.as_str()]));
    let artifacts = build(dir, &flags)?;
    let files = artifacts.iter().filter_map(|artifact| artifact.get("filenames")?.as_array()).flatten().filter_map(Value::as_str);
    let mut components = files.map(PathBuf::from).filter(|path| path.extension() == Some(OsStr::new("wasm")));
    components.next().with_context(|| {
        format!("`{}` builds no component; its `[lib]` needs `crate-type = [\"cdylib\"]`", dir.join("Cargo.toml").display())
    })
}

/// A rebuild after one edit takes as little as it can, yet a call burns about what it will: what never changes is compiled once, and
/// just as for a release.
fn trial(dir: &Path) -> Result<Vec<String>> {
    let path = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read `{}`", path.display()))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("`{}` is no TOML", path.display()))?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let name = name.with_context(|| format!("`{}` names no package", path.display()))?;
    let own = format!("package.'{name}'.opt-level=1");
    let settings = ["inherits='release'", "incremental=true", "strip=true", own.as_str()];
    Ok(settings.map(|setting| format!("profile.tidegate-dev.{setting}")).to_vec())
}

/// Runs the crate's own tests, natively, with a stand-in for the host.
pub fn test(dir: &Path) -> Result<()> {
    let tested = cargo(dir, "test")?.status().map_err(no_cargo)?;
    if !tested.success() {
        bail!("the tests of `{}` failed; what they said stands above", dir.display());
    }
    Ok(())
}

/// Compiles the program in `dir` with the profile this host was built with; returns its executable.
pub fn build_executable(dir: &Path) -> Result<PathBuf> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let artifacts = build(dir, &["--profile", profile])?;
    let executable = artifacts.iter().find_map(|artifact| artifact.get("executable").and_then(Value::as_str));
    executable.map(PathBuf::from).with_context(|| format!("`{}` builds no executable", dir.display()))
}

/// Runs `cargo build`, whose own progress goes to stderr, and so does what the compiler says; returns the artifacts of that very crate.
fn build(dir: &Path, flags: &[&str]) -> Result<Vec<Value>> {
    let mut command = cargo(dir, "build")?;
    // A bar that is drawn again and again would stand in the way of what the compiler says.
    command.args(Messages::format()).env("CARGO_TERM_PROGRESS_WHEN", "never").args(flags);
    let manifest = dir.canonicalize()?.join("Cargo.toml");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(no_cargo)?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let Messages { artifacts, problems } = Messages::read(BufReader::new(stdout), &manifest);
    if !child.wait().context("can't wait for `cargo`")?.success() {
        return Err(NotCompiled { dir: dir.to_owned(), problems }.into());
    }
    Ok(artifacts)
}

/// Cargo in the crate's folder, as its author would run it: a `rust-toolchain.toml` there counts.
fn cargo(dir: &Path, verb: &str) -> Result<Command> {
    let dir = dir.canonicalize().with_context(|| format!("can't find `{}`", dir.display()))?;
    let mut command = Command::new("cargo");
    command.arg(verb).arg("--manifest-path").arg(dir.join("Cargo.toml")).current_dir(&dir).stdin(Stdio::null());
    Ok(command)
}

fn no_cargo(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!("`cargo` is not there; plugins in Rust need it: install Rust from https://rustup.rs"),
        _ => anyhow::Error::new(error).context("can't run `cargo`"),
    }
}

/// Adds the wasm target through rustup if it is missing.
fn ensure_target(dir: &Path) -> Result<()> {
    let libdir = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).current_dir(dir).output();
    let libdir = libdir.map_err(no_cargo)?;
    let installed = libdir.status.success() && Path::new(String::from_utf8_lossy(&libdir.stdout).trim()).exists();
    if installed {
        return Ok(());
    }
    eprintln!("adding the target {TARGET}");
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(dir).stdin(Stdio::null()).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "the target {TARGET} is missing, and `rustup` is not there to add it; install Rust from https://rustup.rs, or the \
             package of your system that holds the standard library for {TARGET}"
        ),
        _ => bail!("the target {TARGET} is missing; run `rustup target add {TARGET}`, which failed just now"),
    }
}
