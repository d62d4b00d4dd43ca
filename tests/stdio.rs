//! `tidegate run`: MCP over stdin and stdout, alone, and beside a host that is live on the same data.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::harness::{Host, POLL_TOOL, Started, command, plugins, tidegate, workspace};

struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    asked: u64,
}

impl Session {
    fn start(plugins: &std::path::Path, data: &std::path::Path) -> Self {
        Self::start_with(plugins, data, &[])
    }

    fn start_with(plugins: &std::path::Path, data: &std::path::Path, flags: &[&str]) -> Self {
        let mut child = command()
            .current_dir(workspace())
            .arg("run")
            .arg("--plugins")
            .arg(plugins)
            .arg("--data")
            .arg(data)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("tidegate starts");
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("piped")));
        Self { child, stdin, stdout, asked: 0 }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("still open"), "{line}").expect("it reads");
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it writes");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not one JSON message a line: `{line}`"))
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        self.request_with(&json!({}), method, params)
    }

    /// A request of a client with these capabilities.
    fn request_with(&mut self, capabilities: &Value, method: &str, mut params: Value) -> Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        });
        self.asked += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}).to_string());
        self.answer()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_desktop_client_calls_a_tool_and_the_host_ends_with_it() {
    let (plugins, data) = (plugins(&["echo"]), tempfile::tempdir().expect("a temporary folder"));
    let mut session = Session::start(plugins.path(), &data.path().join("data"));
    let answer = session.request("tools/call", json!({"name": "echo", "arguments": {"text": "over stdio"}}));
    assert_eq!(answer["result"]["structuredContent"], json!({"text": "over stdio"}), "{answer}");
    drop(session.stdin.take());
    assert!(session.child.wait().expect("it ends").success());
}

#[test]
fn a_line_that_is_no_message_is_answered_and_the_next_one_still_works() {
    let (plugins, data) = (plugins(&["echo"]), tempfile::tempdir().expect("a temporary folder"));
    let mut session = Session::start(plugins.path(), &data.path().join("data"));
    session.send("{ not json");
    assert_eq!(session.answer()["error"]["code"], json!(-32700));
    session.send("[]");
    assert_eq!(session.answer()["error"]["code"], json!(-32600));
    let answer = session.request("tools/list", json!({}));
    assert_eq!(answer["result"]["tools"][0]["name"], json!("echo"), "{answer}");
}

#[test]
fn a_second_run_on_the_same_data_speaks_for_the_first_host() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let mut beside = Session::start(plugins.path(), &host.data);
    let answer = beside.request("tools/call", json!({"name": "echo", "arguments": {"text": "beside"}}));
    assert_eq!(answer["result"]["structuredContent"], json!({"text": "beside"}), "{answer}");
    assert!(host.admin("/metrics").1.contains("tidegate_stage_seconds_count{stage=\"execute\"} 1"), "the live host ran it");
}

#[test]
fn a_run_that_says_who_the_local_user_is_does_not_speak_for_a_host_that_says_otherwise() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let beside = |host: &Started, subject: &str| {
        let run = command()
            .current_dir(workspace())
            .args(["run", "--plugins"])
            .arg(plugins.path())
            .arg("--data")
            .arg(&host.data)
            .env("TIDEGATE_AUTH__LOCAL__SUBJECT", subject)
            .stdin(Stdio::null())
            .output()
            .expect("tidegate runs");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success() || said.contains("decides who the local user is"), "{said}");
        run.status.success()
    };
    assert!(!beside(&host, "u1"), "`dev` asks no config");
    let config = "[auth.anonymous]\nsubject = \"a\"\n[auth.local]\nsubject = \"me\"\n";
    let host = Host::dev(plugins.path()).config(config).serve().start();
    assert!(!beside(&host, "you"));
    assert!(beside(&host, "me"), "the same everywhere");
}

#[test]
fn what_operators_ask_is_not_for_clients_and_each_has_places_of_their_own() {
    let plugins = plugins(&["echo"]);
    let mut host = Host::dev(plugins.path()).start();
    let mut beside = Session::start(plugins.path(), &host.data);
    let answer = beside.request("tidegate/policy/status", json!({}));
    assert_eq!(answer["error"]["code"], json!(-32601), "{answer}");
    let sockets = ["control.sock", "admin.sock"].map(|name| host.data.join(name));
    let [control, admin] = &sockets;
    // A few more than there are places: one that was just left may not be free yet.
    let crowd = |socket| (0..72).map(|_| UnixStream::connect(socket).expect("it listens")).collect::<Vec<_>>();
    let clients = crowd(control);
    // The host takes connections in their order, so the next one comes when all places are taken.
    let mut refused = Session::start(plugins.path(), &host.data);
    refused.send("{}");
    assert!(!refused.child.wait().expect("it ends").success());
    let data = host.data.display().to_string();
    let status = || tidegate(&["policy", "status", "--data", &data]);
    assert!(status().status.success(), "the operator has a place of their own");
    let mut operators = crowd(admin);
    let mut said = status();
    // The place of the one that asked before may have come free only now.
    for _ in 0..10 {
        if !said.status.success() {
            break;
        }
        operators.extend(crowd(admin));
        said = status();
    }
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("no place free, try again"), "{said:?}");
    drop((clients, operators));

    use std::os::unix::fs::PermissionsExt as _;
    for socket in &sockets {
        assert_eq!(socket.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    }
    assert!(host.stop("-TERM").success());
    assert!(sockets.iter().all(|socket| !socket.exists()), "both are gone with the host");
}

#[test]
fn a_second_serve_on_the_same_data_is_an_error_that_names_the_folder() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let data = host.data.display().to_string();
    let plugins = plugins.path().display().to_string();
    let second = tidegate(&["dev", "--port", "0", "--admin-port", "0", "--plugins", &plugins, "--data", &data]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains(&data), "{said}");
    assert_eq!(host.client().tools(), ["echo"], "the first host is unharmed");
}

#[test]
fn a_call_that_goes_on_without_its_caller_is_asked_for_over_the_same_connection() {
    let (plugins, data) = (plugins(&["echo"]), tempfile::tempdir().expect("a temporary folder"));
    let config = data.path().join("tidegate.toml");
    std::fs::write(&config, "[admission]\nsync_budget = \"0s\"\n").expect("it can be written");
    let mut session =
        Session::start_with(plugins.path(), &data.path().join("data"), &["--config", &config.display().to_string()]);
    let tasks = json!({"io.modelcontextprotocol/tasks": {}});
    let call = json!({"name": "echo", "arguments": {"text": "later"}});
    let created = session.request_with(&json!({"extensions": tasks}), "tools/call", call.clone())["result"].clone();
    assert_eq!((&created["resultType"], &created["status"]), (&json!("task"), &json!("working")), "{created}");
    let task = loop {
        let task = session.request_with(&json!({"extensions": tasks}), "tasks/get", json!({"taskId": created["taskId"]}));
        assert_eq!(task.get("error"), None, "{task}");
        if task["result"]["status"] != "working" {
            break task["result"].clone();
        }
    };
    assert_eq!(task["result"]["structuredContent"], json!({"text": "later"}), "{task}");
    let refused = session.request("tasks/get", json!({"taskId": created["taskId"]}));
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    let update = json!({"taskId": created["taskId"], "inputResponses": {"odd": {"ignored": true}}});
    let heard = session.request_with(&json!({"extensions": tasks}), "tasks/update", update);
    assert_eq!(heard["result"]["resultType"], "complete", "{heard}");

    let pending = session.request("tools/call", call)["result"].clone();
    assert_eq!(pending["_meta"]["dev.tidegate/pending"], true, "{pending}");
    let ask = json!({"name": POLL_TOOL, "arguments": {"call_id": pending["_meta"]["dev.tidegate/call-id"]}});
    let told = loop {
        let told = session.request("tools/call", ask.clone())["result"].clone();
        if told["_meta"].get("dev.tidegate/pending").is_none() {
            break told;
        }
    };
    assert_eq!(
        (&told["structuredContent"], &told["_meta"]["dev.tidegate/polled"]),
        (&json!({"text": "later"}), &json!(true)),
        "{told}"
    );
}

#[test]
fn a_tool_asks_over_stdio_as_over_http() {
    let (plugins, data) = (plugins(&["asker"]), tempfile::tempdir().expect("a folder"));
    let mut session = Session::start_with(plugins.path(), data.path(), &["--backend", "billing=http://127.0.0.1:9"]);
    let mut call = |more: Value| {
        let mut params = json!({"name": "converse", "arguments": {"forms": 2}});
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        session.request_with(&json!({"elicitation": {}}), "tools/call", params)
    };
    let mut asked = call(json!({}))["result"].clone();
    for (key, word) in [("word_0", "one"), ("word_1", "two")] {
        assert!(asked["inputRequests"][key].is_object(), "{asked}");
        let answer = json!({key: {"action": "accept", "content": {"word": word}}});
        asked = call(json!({"inputResponses": answer, "requestState": asked["requestState"]}))["result"].clone();
    }
    assert_eq!(asked["structuredContent"]["words"], json!(["one", "two"]), "{asked}");
    for malformed in [json!({"requestState": "garbage"}), json!({"requestState": 9}), json!({"inputResponses": 7})] {
        assert_eq!(call(malformed.clone())["error"]["code"], -32602, "{malformed}");
    }
}
