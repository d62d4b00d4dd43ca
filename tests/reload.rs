//! Plugins that change under a running host: what takes effect and what does not, who is told, what calls notice.

mod calls;
mod refusals;
mod triggers;
mod warm;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Host, Started, Version, tidegate};

/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everybody is somebody who holds what the loaded plugins declare.
const OPEN: &str = "[auth.anonymous]\nsubject = \"a\"\n";

/// A daemon and its folder of plugins.
struct World {
    host: Started,
    client: Client,
    plugins: tempfile::TempDir,
}

impl World {
    /// A daemon that serves version 1, with this config besides.
    fn new(config: &str) -> Self {
        Self::of(&[Version::new(1)], config)
    }

    fn of(versions: &[Version], config: &str) -> Self {
        let plugins = tempfile::tempdir().expect("a temporary folder");
        versions.iter().for_each(|version| version.put(plugins.path()));
        let host = Host::dev(plugins.path()).config(&format!("{OPEN}{config}")).serve().start();
        Self { client: host.client(), host, plugins }
    }

    /// `tidegate plugin reload`: the exit code, and what it printed.
    fn reload(&self) -> (i32, String) {
        let data = self.host.data.display().to_string();
        let output = tidegate(&["plugin", "reload", "--data", &data]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it ends by itself"), String::from_utf8(said).expect("text"))
    }

    /// Which version answers.
    fn version(&self) -> String {
        answer_of(&self.client, &Version::new(0).tool())
    }

    /// What readiness says of the plugins.
    fn plugin(&self) -> Value {
        self.host.readiness()["plugin"].take()
    }

    fn status(&self) -> Value {
        let output = tidegate(&["plugin", "status", "--output", "json", "--data", &self.host.data.display().to_string()]);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Waits until something is so.
    fn until(&self, what: &str, is: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is() {
            assert!(Instant::now() < deadline, "{what} never came");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn until_version(&self, version: &Version) {
        self.until(&version.answer(), || self.version() == version.answer());
    }

    fn until_refused(&self) -> Value {
        self.until("a refusal", || self.plugin()["state"] == "refused");
        self.plugin()
    }
}

fn answer_of(client: &Client, tool: &str) -> String {
    client.call(tool, json!({})).structured()["version"].as_str().expect("a text").to_owned()
}
