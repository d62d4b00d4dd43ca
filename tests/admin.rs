//! The admin API: who is let in, what a page in a browser gets, and that it says what the admin socket says.

mod plugins;
mod refused;
mod same;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Host, Started, command, plugins};

/// A host that serves echo to everybody.
fn echo(config: &str) -> (Started, tempfile::TempDir) {
    let plugins = plugins(&["echo"]);
    (Host::dev(plugins.path()).config(config).start(), plugins)
}

/// The admin token of a host.
fn token(host: &Started) -> String {
    std::fs::read_to_string(host.data.join("keys/admin-token")).expect("the host made one").trim().to_owned()
}

/// One answer of the admin API.
#[derive(Debug)]
struct Told {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: Value,
}

impl Told {
    /// Why it was refused.
    fn problem(&self) -> &str {
        assert_ne!(self.status, 200, "{self:?}");
        self.body["error"]["message"].as_str().unwrap_or_else(|| panic!("no reason: {self:?}"))
    }
}

/// Posts to the admin API with these headers and no others but those that HTTP demands.
fn post(host: &Started, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let mut request = agent.post(format!("{}/v1/admin/{path}", host.admin));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.send(body).expect("the host answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.body_mut().with_config().limit(64 << 20).read_to_string().expect("text");
    Told { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

/// Asks as an operator with this token does.
fn ask_as(host: &Started, token: &str, path: &str, params: &Value) -> Told {
    let headers = [("content-type", "application/json"), ("authorization", &format!("Bearer {token}"))];
    post(host, path, &headers, params.to_string().as_bytes())
}

/// Asks as the operator does.
fn ask(host: &Started, path: &str, params: &Value) -> Told {
    ask_as(host, &token(host), path, params)
}

/// Asks over the admin socket: the answer, or why there is none.
fn ask_socket(host: &Started, path: &str, params: &Value) -> Result<Value, String> {
    let mut socket = BufReader::new(UnixStream::connect(host.data.join("admin.sock")).expect("the host listens"));
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": format!("tidegate/{path}"), "params": params });
    socket.get_mut().write_all(format!("{request}\n").as_bytes()).expect("the host reads");
    let mut line = String::new();
    socket.read_line(&mut line).expect("the host answers");
    let mut answer: Value = serde_json::from_str(&line).expect("JSON");
    match answer["error"]["message"].as_str() {
        Some(problem) => Err(problem.to_owned()),
        None => Ok(answer["result"].take()),
    }
}

/// Runs a verb against the admin API of a host, and against nothing else: from a folder without a host's data.
fn verb(host: &Started, arguments: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut verb = command();
    verb.current_dir(elsewhere.path()).args(arguments).args(["--admin-url", &host.admin]);
    verb.arg("--admin-token-file").arg(host.data.join("keys/admin-token")).output().expect("tidegate runs")
}

/// What a verb prints, if it does well.
fn printed(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).expect("text")
}
