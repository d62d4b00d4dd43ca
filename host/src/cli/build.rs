//! Compiling plugin crates to components with cargo, and staging them the way a host loads them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::BuildArgs;
use crate::registry::{manifest, sources};

/// The target every plugin is compiled to.
const TARGET: &str = "wasm32-wasip2";

/// Small and quick guests: every call instantiates one.
const PROFILE: [&str; 4] =
    ["profile.release.lto=true", "profile.release.codegen-units=1", "profile.release.strip=true", "profile.release.opt-level=3"];

/// `tidegate plugin build`
pub fn run(args: &BuildArgs) -> Result<()> {
    for root in &args.dirs {
        for dir in sources::plugin_dirs(root)? {
            let staged = build(&dir, &args.out)?;
            println!("{}", staged.display());
        }
    }
    Ok(())
}

/// Compiles the plugin crate in `dir` and stages it as `out/<name>/{plugin.toml,<name>.wasm}`; returns that folder.
pub fn build(dir: &Path, out: &Path) -> Result<PathBuf> {
    let manifest_path = dir.join("plugin.toml");
    let text = std::fs::read_to_string(&manifest_path).with_context(|| format!("can't read `{}`", manifest_path.display()))?;
    let name = manifest::parse(&manifest_path, &text)?.name;
    let crate_manifest = dir.join("Cargo.toml");
    if !crate_manifest.exists() {
        bail!(
            "`{}` is not a Rust crate (no Cargo.toml); build its component with its own tools and put it at `{name}.wasm`",
            dir.display()
        );
    }
    ensure_target()?;
    eprintln!("building plugin `{name}`");
    let component = compile(&crate_manifest)?;

    put(&component, &manifest_path, &name, out)
}

/// Stages the plugin in `dir`, whose component is built already; returns the staged folder.
pub fn copy_built(dir: &Path, name: &str, out: &Path) -> Result<PathBuf> {
    put(&dir.join(format!("{name}.wasm")), &dir.join("plugin.toml"), name, out)
}

fn put(component: &Path, manifest: &Path, name: &str, out: &Path) -> Result<PathBuf> {
    let staged = out.join(name);
    std::fs::create_dir_all(&staged).with_context(|| format!("can't create `{}`", staged.display()))?;
    replace(component, &staged.join(format!("{name}.wasm")))?;
    replace(manifest, &staged.join("plugin.toml"))?;
    Ok(staged)
}

/// Compiles the demo backend with the profile this host was built with; returns its executable.
pub fn build_executable(crate_manifest: &Path) -> Result<PathBuf> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let artifacts = cargo(crate_manifest, &["--profile", profile])?;
    let executable = artifacts.iter().find_map(|artifact| artifact.get("executable").and_then(Value::as_str));
    executable.map(PathBuf::from).with_context(|| format!("`{}` builds no executable", crate_manifest.display()))
}

fn compile(crate_manifest: &Path) -> Result<PathBuf> {
    let mut flags = vec!["--release", "--target", TARGET];
    flags.extend(PROFILE.iter().flat_map(|setting| ["--config", setting]));
    let artifacts = cargo(crate_manifest, &flags)?;
    let files = artifacts.iter().filter_map(|artifact| artifact.get("filenames")?.as_array()).flatten().filter_map(Value::as_str);
    let mut components = files.map(PathBuf::from).filter(|path| path.extension() == Some(OsStr::new("wasm")));
    components.next().with_context(|| {
        format!("`{}` builds no component; its `[lib]` needs `crate-type = [\"cdylib\"]`", crate_manifest.display())
    })
}

/// Runs `cargo build`, whose own progress goes to stderr; returns the artifacts of that very crate.
fn cargo(crate_manifest: &Path, flags: &[&str]) -> Result<Vec<Value>> {
    let crate_manifest = crate_manifest.canonicalize().with_context(|| format!("can't find `{}`", crate_manifest.display()))?;
    let output = Command::new("cargo")
        .args(["build", "--message-format=json-render-diagnostics", "--manifest-path"])
        .arg(&crate_manifest)
        .args(flags)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("can't run `cargo`; install Rust with rustup")?;
    if !output.status.success() {
        bail!("`cargo build` of `{}` failed; its messages stand above", crate_manifest.display());
    }
    let messages = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let of_crate = |message: &Value| {
        message["reason"] == "compiler-artifact"
            && message["manifest_path"].as_str().map(Path::new) == Some(crate_manifest.as_path())
    };
    Ok(messages.filter(of_crate).collect())
}

/// Adds the wasm target through rustup if it is missing.
fn ensure_target() -> Result<()> {
    let libdir = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let libdir = libdir.context("can't run `rustc`; install Rust with rustup")?;
    let installed = libdir.status.success() && Path::new(String::from_utf8_lossy(&libdir.stdout).trim()).exists();
    if installed {
        return Ok(());
    }
    eprintln!("adding the target {TARGET}");
    let added = Command::new("rustup").args(["target", "add", TARGET]).stdin(Stdio::null()).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("the target {TARGET} is missing and `rustup target add {TARGET}` failed; run it by hand"),
    }
}

/// Puts a copy of `source` in the place of `target`, whole or not at all: a host may be loading it.
fn replace(source: &Path, target: &Path) -> Result<()> {
    let temporary = target.with_extension(format!("tmp{}", std::process::id()));
    std::fs::copy(source, &temporary)
        .and_then(|_| std::fs::rename(&temporary, target))
        .with_context(|| format!("can't write `{}`", target.display()))
}
