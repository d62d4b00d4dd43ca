//! What leaves the host and what comes back: real guests, real servers, good ones and bad ones.

mod bounds;
pub mod certificates;
mod credentials;
mod oauth;
mod origins;
mod redirects;
pub mod server;
mod tls;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Host, Started, plugins};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A host whose guest asks for whatever it is told to.
struct Fetching {
    host: Started,
    _plugins: tempfile::TempDir,
}

/// The guest that fetches, whose manifest names these backends and origins.
fn fetching_plugin(backends: &[&str], origins: &[&str]) -> tempfile::TempDir {
    let plugins = plugins(&["hostile"]);
    let path = plugins.path().join("hostile/plugin.toml");
    let text = std::fs::read_to_string(&path).expect("it has a manifest");
    let named = format!("backends = {}\norigins = {}", json!(backends), json!(origins));
    let changed = text.replace("backends = [\"billing\"]", &named).replace("deadline = \"2s\"", "deadline = \"100s\"");
    assert!(changed.contains(&named) && !changed.contains("\"2s\""), "{text}");
    std::fs::write(&path, changed).expect("the manifest can be written");
    plugins
}

impl Fetching {
    /// A host with this configuration.
    fn start(backends: &[&str], origins: &[&str], config: &str) -> Self {
        Self::start_with(backends, origins, config, |host| host)
    }

    /// The same, with something more.
    fn start_with(backends: &[&str], origins: &[&str], config: &str, more: impl FnOnce(Host) -> Host) -> Self {
        let plugins = fetching_plugin(backends, origins);
        let host = more(fetching_host(plugins.path(), config)).start();
        Self { host, _plugins: plugins }
    }

    /// A request of the guest.
    fn fetch(&self, url: &str) -> Answer {
        self.send(json!({"url": url}))
    }

    /// A request of the guest with more than a URL.
    fn send(&self, wanted: Value) -> Answer {
        self.host.client().try_call(json!({"name": "fetch", "arguments": wanted})).expect("the host lives")
    }
}

/// The host, to be started.
fn fetching_host(plugins: &Path, config: &str) -> Host {
    Host::dev(plugins).config(config)
}

fn until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
