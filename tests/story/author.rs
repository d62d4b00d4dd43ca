//! Whoever writes the plugin, and vouches for it.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{NAME, SCOPES};
use crate::harness::{Host, Language, Ran, Started, edit, foreign, report, target};

/// The author, at a desk of their own.
pub struct Author {
    language: Language,
    desk: tempfile::TempDir,
    /// The public half of the key, as trust files take it.
    pub key: String,
}

/// A version that is ready to be installed.
pub struct Shipped {
    /// What its manifest calls it.
    pub version: String,
    /// The archive.
    pub archive: PathBuf,
    /// The digest of its files.
    pub content: String,
    /// The digest of its component.
    pub component: String,
}

impl Author {
    /// Makes the plugin in an empty folder, and a key to sign it with.
    pub fn begin(language: &Language) -> Self {
        let desk = tempfile::tempdir().expect("a temporary folder");
        language.plugin(desk.path(), NAME);
        let key = Ran::within(desk.path(), &["plugin", "keygen", "author.key"]).done().out;
        Self { language: *language, desk, key: key.trim_end().to_owned() }
    }

    /// Has it served, edits it, and sees the official client answered by what was edited.
    pub fn tries_it(&self) {
        let host = Host::dev(&self.plugin()).env("CARGO_TARGET_DIR", target().to_str().expect("a plain path")).start();
        assert_eq!(greeting(&host), "Hello, Ada!");
        edit(&self.source(), "Hello, {name}!", "Good day, {name}!");
        host.until_said(&format!("{NAME} 0.1.0 served, "), 1);
        assert_eq!(greeting(&host), "Good day, Ada!");
    }

    /// Builds, signs and packs what lies there, which greets with this word.
    pub fn ships(&self, word: &str) -> Shipped {
        let text = std::fs::read_to_string(self.source()).expect("readable");
        assert!(text.contains(&format!("{word}, {{name}}!")), "{text}");
        let built = self.desk.path().join("target/plugins").join(NAME);
        self.run(&["plugin", "build", NAME]);
        let content = self.run(&["plugin", "sign", built.to_str().expect("a plain path"), "--key", "author.key"]);
        let manifest: toml::Table = std::fs::read_to_string(built.join("plugin.toml")).expect("built").parse().expect("TOML");
        let version = manifest["version"].as_str().expect("a version").to_owned();
        let archive = format!("{NAME}-{version}.tar.gz");
        self.run(&["plugin", "pack", built.to_str().expect("a plain path"), "--out", &archive]);
        let component = Sha256::digest(std::fs::read(built.join(format!("{NAME}.wasm"))).expect("built"));
        Shipped {
            version,
            archive: self.desk.path().join(archive),
            content,
            component: component.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Makes another version of it, which greets otherwise, and asks callers for one more scope.
    pub fn asks_for_more(&self) {
        edit(&self.source(), "Good day, {name}!", "Welcome, {name}!");
        let manifest = self.plugin().join("plugin.toml");
        edit(&manifest, "version = \"0.1.0\"", "version = \"0.2.0\"");
        let [first, further] = SCOPES;
        edit(&manifest, &format!("[\"{first}\"]"), &format!("[\"{first}\", \"{further}\"]"));
    }

    fn plugin(&self) -> PathBuf {
        self.desk.path().join(NAME)
    }

    fn source(&self) -> PathBuf {
        self.plugin().join(self.language.source)
    }

    /// What a verb prints that works.
    fn run(&self, arguments: &[&str]) -> String {
        Ran::within(self.desk.path(), arguments).done().out.trim_end().to_owned()
    }
}

/// How the official client is greeted.
fn greeting(host: &Started) -> Value {
    let ada = json!({ "name": "Ada" }).to_string();
    let told = report(&foreign().python, "python_client.py", &["--call", NAME, &ada, "--url", &host.mcp]);
    assert_eq!(told["calls"][0]["isError"], json!(false), "{told}");
    told["calls"][0]["structured"]["greeting"].clone()
}
