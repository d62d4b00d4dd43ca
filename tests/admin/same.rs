//! What it says: the same as the admin socket, to programs and to the verbs of the command line, and who did what is written down.

use std::process::Command;

use super::*;
use crate::harness::{Billing, tidegate, workspace};
use crate::outbound::certificates::Authority;
use crate::outbound::server::{Seen, Server, respond};

/// A host with invoices, and a call whose outcome nobody knows: its id.
fn with_an_unknown_call() -> (Started, Billing, tempfile::TempDir, String) {
    let billing = Billing::start(&["--lose-answers", "1"]);
    let plugins = plugins(&["invoices", "echo"]);
    // Nothing is signed but when it is asked for: what is compared stands still.
    let config = format!(
        "[ledger]\ncheckpoint_every = \"1d\"\n\n[backends.billing]\nurl = \"{}\"\ntimeout = \"1s\"\nretry = {{ attempts = 1 }}\n",
        billing.url
    );
    let host = Host::dev(plugins.path()).config(&config).start();
    let key = json!({ "dev.tidegate/idempotency-key": "admin-00000000001" });
    let arguments = json!({ "user_id": "u1", "amount_cents": 4321 });
    let lost = host.client().try_call(json!({ "name": "create_invoice", "arguments": arguments, "_meta": key }));
    let call = lost.expect("the host answers").envelope()["call_id"].as_str().expect("an id").to_owned();
    (host, billing, plugins, call)
}

/// Calls echo, and waits until it has answered.
fn call_echo(host: &Started) {
    let called = host.client().try_call(json!({ "name": "echo", "arguments": { "text": "hi" } })).expect("the host answers");
    called.structured();
}

#[test]
fn every_question_is_answered_as_over_the_socket() {
    let (host, _billing, _plugins, call) = with_an_unknown_call();
    call_echo(&host);
    // What signs and counts goes first, so that what is compared stands still.
    let signed = ask(&host, "audit/checkpoint", &json!({}));
    assert!(signed.status == 200 && signed.body["note"].is_string(), "{signed:?}");
    let holds = json!({ "name": "case-1", "tool": "echo" });
    assert_eq!(ask(&host, "keeping/hold", &holds).body[0]["name"], "case-1");
    let questions = [
        ("policy/status", json!({})),
        ("calls/list", json!({ "limit": 10 })),
        ("calls/list", json!({ "state": "unknown", "limit": 10 })),
        ("calls/show", json!({ "call": call })),
        ("calls/show", json!({ "call": "call_00000000000000000000000000000000" })),
        ("calls/show", json!({})),
        ("audit/header", json!({ "from": 1 })),
        ("audit/lines", json!({ "from": 1 })),
        ("audit/query", json!({ "query": { "tool": "echo" }, "before": null, "limit": 10 })),
        ("audit/show", json!({ "record": 2 })),
        ("audit/show", json!({ "record": 999_999 })),
        ("audit/prove", json!({ "seq": 1, "with_body": true, "reveal": null })),
        ("audit/nonsense", json!({})),
        ("keeping/holds", json!({})),
        ("keeping/prune", json!({ "dry_run": true })),
        ("keeping/hold", holds),
        ("keeping/release", json!({ "name": "case-2" })),
        ("keeping/erase", json!({ "subject": "nobody", "reason": "asked to" })),
        ("keeping/nonsense", json!({})),
    ];
    let mut answered = 0;
    for (path, params) in questions {
        let told = ask(&host, path, &params);
        match ask_socket(&host, path, &params) {
            Ok(answer) => {
                assert_eq!((told.status, &told.body), (200, &answer), "{path} {params}");
                answered += 1;
            }
            Err(problem) => assert_eq!(told.problem(), problem, "{path} {params}"),
        }
    }
    assert!(answered >= 11, "only {answered} had an answer");
    // What changes from moment to moment says the same things, if not the same numbers.
    let (told, said) = (ask(&host, "admission/snapshot", &json!({})), ask_socket(&host, "admission/snapshot", &json!({})));
    let names = |answer: &Value| answer.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&told.body), names(&said.expect("answered")));
    let dir = tempfile::tempdir().expect("a folder");
    let backup = ask(&host, "audit/backup", &json!({ "dir": dir.path().join("backup") }));
    assert!(backup.status == 200 && dir.path().join("backup/keys/ledger.key").exists(), "{backup:?}");
    assert!(!dir.path().join("backup/keys/admin-token").exists(), "who can read a backup can't ask the host");
}

#[test]
fn what_changes_something_is_written_down_with_who_did_it() {
    let (mut host, _billing, _plugins, call) = with_an_unknown_call();
    let settled = ask(&host, "calls/resolve", &json!({ "call": call, "verdict": "executed", "note": "seen" }));
    assert_eq!((settled.status, &settled.body["resolved"]), (200, &json!("executed")), "{settled:?}");
    ask_socket(&host, "keeping/hold", &json!({ "name": "by-socket", "tool": "echo" })).expect("done");
    assert_eq!(ask(&host, "keeping/release", &json!({ "name": "by-socket" })).status, 200);
    assert_eq!(ask(&host, "keeping/erase", &json!({ "subject": "u1", "reason": "asked to" })).status, 200);
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(ask(&host, "audit/backup", &json!({ "dir": folder.path().join("backup") })).status, 200);
    // What is refused changes nothing and is not in it.
    assert_eq!(ask(&host, "audit/backup", &json!({ "dir": folder.path() })).status, 422, "it is not empty");
    assert_eq!(ask_as(&host, "wrong", "keeping/hold", &json!({ "name": "no", "tool": "echo" })).status, 401);
    let held = [("content-type", "application/json"), ("origin", "https://evil.example")];
    assert_eq!(post(&host, "keeping/hold", &held, br#"{"name": "no", "tool": "echo"}"#).status, 403);
    assert!(host.stop("-TERM").success());
    let listed = tidegate(&["audit", "list", "--output", "json", "--data", &host.data.display().to_string()]);
    let records: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let acts: Vec<_> = records.iter().filter(|record| record["body"]["by"].is_string()).map(|record| &record["body"]).collect();
    let by = |action: &str| {
        let act = acts.iter().find(|body| body["action"] == action).unwrap_or_else(|| panic!("no {action}: {acts:#?}"));
        act["by"].as_str().expect("a name").to_owned()
    };
    for action in ["call_resolved", "release", "erase", "backup"] {
        assert!(by(action).starts_with("admin token from 127.0.0.1:"), "{action}: {}", by(action));
    }
    assert!(by("hold").contains("uid "), "{}", by("hold"));
    assert_eq!(acts.len(), 5, "{acts:#?}");
}

#[test]
fn the_verbs_ask_a_host_elsewhere_over_its_admin_url() {
    let (host, _billing, _plugins, call) = with_an_unknown_call();
    call_echo(&host);
    let here = |arguments: &[&str]| {
        let output = tidegate(&[arguments, &["--data", &host.data.display().to_string()]].concat());
        printed(&output).to_owned()
    };
    for arguments in [
        &["policy", "status"][..],
        &["policy", "status", "--output", "json"],
        &["calls", "list", "--state", "unknown"],
        &["calls", "show", &call],
        &["audit", "query", "--tool", "echo"],
        &["audit", "show", "2"],
        &["audit", "tail", "-n", "2"],
        &["audit", "list"],
        &["audit", "key"],
        &["audit", "prove", "2"],
        &["audit", "hold", "list"],
        &["audit", "prune", "--dry-run"],
    ] {
        assert_eq!(printed(&verb(&host, arguments)), here(arguments), "{arguments:?}");
    }
    let top = verb(&host, &["top", "--output", "json"]);
    assert!(serde_json::from_str::<Value>(printed(&top)).expect("JSON")["principals"].is_array(), "{top:?}");
    assert!(printed(&verb(&host, &["audit", "verify"])).contains("unbroken"));
    let folder = tempfile::tempdir().expect("a folder");
    let (export, backup) = (folder.path().join("log.jsonl"), folder.path().join("backup"));
    printed(&verb(&host, &["audit", "export", "--out", &export.display().to_string()]));
    printed(&tidegate(&["audit", "verify", &export.display().to_string()]));
    printed(&verb(&host, &["audit", "backup", &backup.display().to_string()]));
    let resolved = verb(&host, &["calls", "resolve", &call, "not-executed"]);
    assert!(printed(&resolved).contains("not-executed"), "{resolved:?}");
    let held = verb(&host, &["audit", "hold", "add", "case-9", "--tool", "echo"]);
    assert!(printed(&held).contains("case-9"), "{held:?}");
}

#[test]
fn a_host_behind_a_proxy_with_tls_is_asked_if_its_certificate_is_good() {
    let (host, _plugins) = echo("");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let admin = host.admin.clone();
    let proxy = Server::tls(ours.server("127.0.0.1", false), move |seen: &Seen, to: &mut dyn std::io::Write| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let mut request = agent.post(format!("{admin}{}", seen.target));
        for name in ["content-type", "authorization"] {
            request = request.header(name, &seen.headers[name]);
        }
        let mut answer = request.send(&seen.body).expect("the host answers");
        let body = answer.body_mut().read_to_string().expect("text");
        respond(to, &answer.status().as_u16().to_string(), &[], &body)
    });
    let ask = |ca: Option<&Authority>| {
        let mut verb = command();
        verb.args(["policy", "status", "--admin-url", &proxy.url, "--admin-token-file"]).arg(host.data.join("keys/admin-token"));
        if let Some(ca) = ca {
            verb.arg("--admin-ca").arg(ca.file());
        }
        verb.output().expect("tidegate runs")
    };
    assert!(printed(&ask(Some(&ours))).contains("generation"));
    assert_eq!(proxy.seen()[0].target, "/v1/admin/policy/status");
    for refused in [ask(None), ask(Some(&theirs))] {
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains("certificate"), "{said}");
    }
    assert_eq!(proxy.seen().len(), 1, "nobody else was shown the token");
}

#[test]
fn a_verb_that_is_not_let_in_or_finds_nobody_says_so() {
    let (host, _plugins) = echo("");
    let failed = |mut verb: std::process::Command| {
        let output = verb.output().expect("tidegate runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let status = |url: &str| {
        let mut verb = command();
        verb.args(["policy", "status", "--admin-url", url]).env_remove("TIDEGATE_ADMIN_TOKEN");
        verb
    };
    assert!(failed(status(&host.admin)).contains("TIDEGATE_ADMIN_TOKEN"));
    let with = |url: &str, token: &str| {
        let mut verb = status(url);
        verb.env("TIDEGATE_ADMIN_TOKEN", token);
        verb
    };
    let well = with(&host.admin, &token(&host)).output().expect("tidegate runs");
    assert!(printed(&well).contains("generation"), "the variable is enough");
    let wrong = failed(with(&host.admin, "wrong"));
    assert!(wrong.contains("the host refuses: this is not the admin token"), "{wrong}");
    assert!(failed(with("http://127.0.0.1:1", "any")).contains("no host answers at `http://127.0.0.1:1`"));
    assert!(failed(with("http://tools.example.com", "any")).contains("must not travel without TLS"));
    let mcp = failed(with(host.mcp.trim_end_matches("/mcp"), &token(&host)));
    assert!(mcp.contains("the host refuses") && mcp.contains("/mcp"), "{mcp}");
    let refused = verb(&host, &["audit", "backup", "relative"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("whole path"), "{refused:?}");
    let both = verb(&host, &["policy", "status", "--data", "x"]);
    assert_eq!(both.status.code(), Some(2), "{both:?}");
}

#[test]
fn what_the_guide_shows_works_word_by_word() {
    let (host, _plugins) = echo("");
    call_echo(&host);
    let guide = std::fs::read_to_string(workspace().join("docs/admin.md")).expect("there is a guide");
    let blocks = guide.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands: Vec<_> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() >= 7, "{commands:?}");
    let here = |text: &str| {
        let text = text.replace("http://127.0.0.1:7301", &host.admin).replace(".tidegate/", &format!("{}/", host.data.display()));
        text.replace("tidegate ", &format!("{} ", env!("CARGO_BIN_EXE_tidegate")))
    };
    let run = |command: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &here(command)]).env_remove("TIDEGATE_SEED").current_dir(workspace());
        let output = shell.output().expect("sh runs");
        assert!(output.status.success(), "`{command}`: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let before = token(&host);
    for command in &commands {
        let said = run(command);
        assert!(said.contains("generation") || !command.contains("policy"), "`{command}`: {said}");
    }
    assert_ne!(token(&host), before, "the last one changes the token");
    assert!(run(commands[0]).contains("generation"), "and the new one counts");
    // Every method of the table is one, whatever it makes of no parameters.
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `")).filter(|row| row.contains('/'));
    let methods: Vec<_> = rows.filter_map(|row| row.split(" |").next()).flat_map(|cell| cell.split(", ")).collect();
    assert!(methods.len() >= 16, "{methods:?}");
    for method in methods {
        let method = method.trim_matches(['`', ' ', '\\', '*']);
        let told = ask(&host, method, &json!({ "dry_run": true }));
        assert_ne!(told.status, 404, "{method}: {told:?}");
    }
    let config = guide.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a config");
    // Ports are the reader's; here they are the test's.
    let plugins = plugins(&["echo"]);
    let mut everywhere = Host::dev(plugins.path()).config(config).start();
    assert_eq!(everywhere.admin("/healthz").0, 403, "the address of all interfaces is no name");
    everywhere.admin = everywhere.admin.replace("0.0.0.0", "127.0.0.1");
    assert_eq!((everywhere.admin("/healthz").0, ask(&everywhere, "policy/status", &json!({})).status), (200, 200));
    // Of the two names only one has TLS in front of it.
    let by = |path: &str, name: &str| {
        let bearer = format!("Bearer {}", token(&everywhere));
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let url = format!("{}{path}", everywhere.admin);
        match path {
            "/healthz" => agent.get(url).header("host", name).call(),
            _ => {
                let request = agent.post(url).header("host", name).header("authorization", bearer);
                request.header("content-type", "application/json").send("{}")
            }
        }
        .expect("the host answers")
        .status()
        .as_u16()
    };
    let status = "/v1/admin/policy/status";
    assert_eq!((by("/healthz", "10.0.0.5:7301"), by(status, "10.0.0.5:7301")), (200, 403));
    assert_eq!((by("/healthz", "tools.example.com:7301"), by(status, "tools.example.com:7301")), (200, 200));
}
