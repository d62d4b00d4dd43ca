//! The official clients and the official conformance suite, installed once at pinned versions.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

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
