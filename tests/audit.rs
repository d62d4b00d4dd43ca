//! What operators and auditors do with the log: read it, check it, prove a part of it, take it elsewhere; of a live host and of a
//! stopped one.

mod export;
mod prove;
mod read;
mod verify;

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Host, Started, plugins, tidegate};

/// A host with `echo` and `rounds` calls of it by u1, besides one by ann and one by somebody who may not.
fn host(rounds: usize) -> (Started, tempfile::TempDir) {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    for round in 0..rounds {
        echo(&host.client(), &format!("hello {round}")).structured();
    }
    echo(&host.caller(&json!({ "subject": "ann" })), "hello from ann").structured();
    assert_eq!(echo(&host.caller(&json!({ "subject": "poor", "scopes": [] })), "hello").status, 403);
    // A read is answered before its outcome is written down; a checkpoint comes behind what is on its way.
    told(&host, &["checkpoint"]);
    (host, plugins)
}

fn echo(client: &Client, text: &str) -> Answer {
    client.call("echo", json!({ "text": text }))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// What a run of `tidegate audit …` came to.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `tidegate audit …`.
fn audit(arguments: &[&str]) -> Said {
    let output = tidegate(&[&["audit"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code().expect("it ends by itself"), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Said {
    /// What was printed, of a run that went well.
    fn good(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("not JSON:\n{}\n{}", self.stdout, self.stderr))
    }

    /// The words of a run that was refused.
    fn refused(self) -> String {
        assert_eq!(self.code, 1, "{}", self.stdout);
        self.stderr
    }
}

/// Asks a host's log, and reads the JSON that comes back.
fn ask(host: &Started, arguments: &[&str]) -> Value {
    let said = audit(&[arguments, &["--output", "json", "--data", path(&host.data)]].concat());
    assert_eq!(said.code, 0, "{arguments:?}: {}", said.stderr);
    said.json()
}

/// Asks a host's log for text.
fn told(host: &Started, arguments: &[&str]) -> String {
    audit(&[arguments, &["--data", path(&host.data)]].concat()).good()
}

/// The sequences of some rows.
fn seqs(rows: &Value) -> Vec<u64> {
    rows.as_array().expect("rows").iter().map(|row| row["seq"].as_u64().expect("a number")).collect()
}
