//! Who signed a plugin, and how plugins travel.

mod archives;
mod downloads;
mod registries;
mod signatures;

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::harness::{command, plugins};

/// A built plugin, keys, a trust file, and nobody's credentials.
struct Bench {
    folder: tempfile::TempDir,
    plugins: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a temporary folder"), plugins: plugins(&["echo"]) };
        std::fs::create_dir(bench.path("docker")).expect("made");
        bench
    }

    /// A bench with the trusted key `acme`, whose owner signed the plugin.
    fn signed() -> Self {
        let bench = Self::new();
        let key = bench.keygen("acme");
        bench.trust(&format!("[keys.acme]\nkey = \"{key}\"\n"));
        bench.sign("acme");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The plugin's folder.
    fn plugin(&self) -> PathBuf {
        self.plugins.path().join("echo")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = command();
        command.current_dir(self.folder.path()).arg("plugin").args(arguments).env("DOCKER_CONFIG", self.path("docker"));
        command.output().expect("tidegate runs")
    }

    /// What a verb prints that works.
    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// What a verb says that does not.
    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}{said}", String::from_utf8_lossy(&output.stdout));
        said
    }

    /// Makes a key; answers its public half.
    fn keygen(&self, name: &str) -> String {
        self.prints(&["keygen", &format!("{name}.key")])
    }

    /// Signs the plugin; answers its content.
    fn sign(&self, key: &str) -> String {
        self.prints(&["sign", text(&self.plugin()), "--key", &format!("{key}.key")])
    }

    fn trust(&self, toml: &str) {
        std::fs::write(self.path("trust.toml"), toml).expect("written");
    }

    /// What `verify` prints of a source that somebody vouches for.
    fn verified(&self, source: &str) -> String {
        self.prints(&["verify", source, "--trust", "trust.toml"])
    }

    /// Why it does not vouch.
    fn unverified(&self, source: &str) -> String {
        self.refusal(&["verify", source, "--trust", "trust.toml"])
    }

    fn pack(&self) -> PathBuf {
        self.prints(&["pack", text(&self.plugin()), "--out", "echo.tar.gz"]);
        self.path("echo.tar.gz")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Changes a file.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}
