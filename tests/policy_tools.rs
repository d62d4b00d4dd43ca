//! What admins do with policies: change them under a running host, check, explain, test and replay them.

mod ask;
mod reload;
mod replay;

use std::path::Path;

use serde_json::Value;

use crate::harness::tidegate;

/// A path as a flag takes it.
fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Runs `tidegate policy …`; answers the exit code and what it printed: to stdout and to stderr.
fn policy(arguments: &[&str]) -> (i32, String, String) {
    let output = tidegate(&[&["policy"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
}

/// The same with `--output json`; answers the exit code and the document.
fn policy_json(arguments: &[&str]) -> (i32, Value) {
    let (code, stdout, stderr) = policy(&[arguments, &["--output", "json"]].concat());
    (code, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("not JSON:\n{stdout}\n{stderr}")))
}
