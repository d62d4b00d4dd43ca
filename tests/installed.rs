//! Installed plugins: what widens is approved first, what was installed is what runs, and whatever dies when leaves the old or the new.

mod anew;
mod crash;
mod demanded;
mod inspected;
mod live;
mod revoked;
mod signed;
mod stopped;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Host, Ran, Started, command, plugins, records, workspace};

/// A data folder, and versions of a plugin to install into it.
struct World {
    dir: tempfile::TempDir,
    built: tempfile::TempDir,
    config: String,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("plugins")).expect("writable");
        Self {
            dir,
            built: plugins(&["echo"]),
            config: "[auth.anonymous]\nsubject = \"u1\"\n[plugins]\nunsigned = \"allow\"\n".into(),
        }
    }

    /// With more of `[plugins]`.
    fn config(mut self, toml: &str) -> Self {
        self.config += toml;
        self
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A folder with `echo`, its manifest changed like this.
    fn version(&self, name: &str, edits: &[(&str, &str)]) -> PathBuf {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).expect("writable");
        let built = self.built.path().join("echo");
        std::fs::copy(built.join("echo.wasm"), dir.join("echo.wasm")).expect("it is built");
        let mut manifest = std::fs::read_to_string(built.join("plugin.toml")).expect("it is built");
        for (from, to) in edits {
            assert!(manifest.contains(from), "{from}");
            manifest = manifest.replace(from, to);
        }
        std::fs::write(dir.join("plugin.toml"), manifest).expect("writable");
        dir
    }

    /// Another version that asks for more.
    fn wider(&self) -> PathBuf {
        self.version("wider", &[("0.1.0", "0.2.0"), ("8MiB", "16MiB"), ("\"use:echo\"", "\"use:echo\", \"read:echoes\"")])
    }

    /// Runs `tidegate plugin …` on the data folder.
    fn plugin(&self, arguments: &[&str]) -> Ran {
        self.failing("", arguments)
    }

    /// The same with failpoints set.
    fn failing(&self, failpoints: &str, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).env("FAILPOINTS", failpoints).output().expect("tidegate runs"))
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let config = self.dir.path().join("cli.toml");
        std::fs::write(&config, &self.config).expect("writable");
        let mut run = command();
        run.current_dir(workspace()).arg("plugin").args(arguments);
        if !arguments.contains(&"--help") {
            run.arg("--data").arg(self.data()).arg("--config").arg(config);
        }
        if ["install", "rollback", "remove"].contains(&arguments[0]) {
            run.arg("--plugins").arg(self.dir.path().join("plugins"));
        }
        run
    }

    fn install(&self, source: &Path) -> Ran {
        self.plugin(&["install", path(source), "--approve"])
    }

    /// What is installed, as JSON.
    fn listed(&self) -> Vec<Value> {
        let ran = self.plugin(&["list", "--output", "json"]);
        serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"))
    }

    /// The version of `echo` that is in force, if one is.
    fn active(&self) -> Option<String> {
        let active = self.listed().into_iter().find(|version| version["active"] == true)?;
        Some(active["version"].as_str().expect("a version").to_owned())
    }

    fn host(&self) -> Host {
        Host::dev(&self.dir.path().join("plugins")).serve().config(&self.config).on(&self.data())
    }

    fn start(&self) -> Started {
        self.host().start()
    }

    /// What `tidegate audit …` says of the data folder.
    fn audit(&self, arguments: &[&str]) -> String {
        let told = command().arg("audit").args(arguments).arg("--data").arg(self.data()).output().expect("tidegate runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).expect("text")
    }

    /// The admin records of the stopped host whose action begins like this.
    fn records(&self, action: &str) -> Vec<Value> {
        let bodies = records(&self.data()).into_iter().map(|mut record| record["body"].take());
        bodies.filter(|body| body["action"].as_str().is_some_and(|told| told.starts_with(action))).collect()
    }
}

/// A path as a flag takes it.
fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}
