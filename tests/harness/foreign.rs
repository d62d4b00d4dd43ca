//! The official clients and the official conformance suite, installed once at pinned versions.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::workspace;

/// Foreign software, ready to run.
pub struct Foreign {
    /// Python with the official `mcp` package.
    pub python: PathBuf,
    /// Node 22 or newer, which the suite needs.
    pub node: PathBuf,
    /// The folder with the scripts and `node_modules`.
    pub scripts: PathBuf,
}

/// Installs what is missing through pip and npm; fails loudly, never skips.
pub fn foreign() -> &'static Foreign {
    static FOREIGN: OnceLock<Foreign> = OnceLock::new();
    FOREIGN.get_or_init(|| {
        let clients = workspace().join("tests/clients");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
        std::fs::create_dir_all(&folder).expect("a folder for foreign clients");
        for entry in std::fs::read_dir(&clients).expect("the clients are there") {
            let path = entry.expect("readable").path();
            if path.is_file() {
                std::fs::copy(&path, folder.join(path.file_name().expect("a name"))).expect("copied");
            }
        }
        let venv = folder.join("venv");
        if !venv.join("bin/python").exists() {
            step("Python 3 with venv", Command::new("python3").args(["-m", "venv"]).arg(&venv));
        }
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
        step("pip", Command::new(venv.join("bin/python")).args(pip).current_dir(&folder));
        // `npm ci` starts from nothing; what is installed already at the locked versions may stay.
        step("npm", Command::new("npm").args(["install", "--no-audit", "--no-fund", "--silent"]).current_dir(&folder));
        Foreign { python: venv.join("bin/python"), node: folder.join("node_modules/node/bin/node"), scripts: folder }
    })
}

/// What an official client reports.
pub fn report(program: &Path, script: &str, arguments: &[&str]) -> Value {
    let mut client = Command::new(program);
    let output = client.arg(foreign().scripts.join(script)).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("`{client:?}` can't be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let line = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{script} said `{line}`\n{said}"))
}

fn step(needed: &str, command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("the tests with foreign clients need {needed}, which can't be run: {error}"));
    assert!(
        output.status.success(),
        "the tests with foreign clients need {needed}; `{command:?}` failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
