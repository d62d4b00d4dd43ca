//! Callers whom no provider vouches for: tokens that `dev` mints, what `serve` demands, the local user over stdio.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};

use super::{ECHO, call_echo};
use crate::harness::{Host, Started, command, plugins, tidegate};

/// Asks a `dev` host for a token.
fn mint(host: &Started, request: &Value) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = host.mcp.replace("/mcp", "/dev/token");
    let request = agent.post(url).header("content-type", "application/json").send(request.to_string());
    let mut response = request.expect("it answers");
    let body = response.body_mut().read_to_string().expect("text");
    (response.status().as_u16(), serde_json::from_str(&body).unwrap_or_else(|_| panic!("not JSON: {body}")))
}

#[test]
fn dev_mints_tokens_in_any_name_and_refuses_bad_ones() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    assert_eq!(call_echo(&host.client()).status, 200, "without a token, u1 with every scope");
    let token = |request: Value| {
        let (status, minted) = mint(&host, &request);
        assert_eq!((status, &minted["token_type"], &minted["expires_in"]), (200, &json!("Bearer"), &json!(600)), "{minted}");
        minted["access_token"].as_str().expect("a token").to_owned()
    };
    let all = token(json!({"subject": "u2", "groups": ["finance"], "tenant": "acme", "claims": {"pay_limit": 5}}));
    assert_eq!(call_echo(&host.client().with_token(&all)).status, 200, "all scopes by default");
    let none = token(json!({"subject": "u2", "scopes": []}));
    let refused = call_echo(&host.client().with_token(&none));
    assert!(refused.status == 403 && refused.challenge().contains(ECHO), "{refused:?}");
    let forged = format!("{}AAAA", &all[..all.len() - 4]);
    assert_eq!(call_echo(&host.client().with_token(&forged)).status, 401, "not taken for nobody");
    assert_eq!(call_echo(&host.client().with_token("x")).status, 401);

    for (request, reason) in [
        (json!({"subject": "u2", "scope": "read:invoices"}), "scope"),
        (json!({"subject": ""}), "subject"),
        (json!({"subject": "u2", "scopes": ["read"]}), "not a scope"),
        (json!({"subject": "u2", "claims": {"iss": "https://id.example.com"}}), "iss"),
    ] {
        let (status, refused) = mint(&host, &request);
        assert!(status == 400 && refused["error"]["message"].as_str().expect("why").contains(reason), "{request}: {refused}");
    }
}

#[test]
fn only_dev_mints_tokens_and_only_for_programs_on_this_machine() {
    let plugins = plugins(&["echo"]);
    let serve = Host::dev(plugins.path()).config("[auth.anonymous]\nsubject = \"u1\"\n").serve().start();
    assert_eq!(mint(&serve, &json!({"subject": "u2"})).0, 404);
    let dev = Host::dev(plugins.path()).start();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = dev.mcp.replace("/mcp", "/dev/token");
    let post = |name: &str, value: &str, kind: &str| {
        let request = agent.post(&url).header(name, value).header("content-type", kind);
        request.send("{\"subject\":\"u2\"}").expect("it answers").status().as_u16()
    };
    assert_eq!(post("x-from", "here", "application/json"), 200);
    assert_eq!(post("origin", "https://evil.example", "application/json"), 403);
    assert_eq!(post("host", "evil.example", "application/json"), 403);
    assert_eq!(post("x-from", "a form", "text/plain"), 415, "what a page may send without asking first");
}

#[test]
fn serve_starts_only_when_what_is_said_about_callers_makes_sense() {
    let plugins = plugins(&["echo"]);
    let plugins = plugins.path().display().to_string();
    let refusal = |config: &str, flags: &[&str]| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, data) = (folder.path().join("tidegate.toml"), folder.path().join("data"));
        std::fs::write(&file, config).expect("it can be written");
        let (file, data) = (file.display().to_string(), data.display().to_string());
        let arguments = ["serve", "--port", "0", "--admin-port", "0", "--config", &file, "--data", &data, "--plugins", &plugins];
        let output = tidegate(&[&arguments[..], flags].concat());
        assert!(!output.status.success(), "it served: {config}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let issuer = "[auth.issuers.corp]\nissuer = \"https://id.example.com\"\n";
    let anonymous = "[auth.anonymous]\nsubject = \"u1\"\n";
    for (config, flags, reason) in [
        (String::new(), &[][..], "[auth.issuers.corp]"),
        (String::new(), &["--insecure-no-auth"][..], "[auth.anonymous]"),
        (anonymous.into(), &[], "pass `--insecure-no-auth`"),
        (format!("{issuer}{anonymous}"), &["--insecure-no-auth"], "drop one"),
        (format!("{anonymous}[server]\naddress = \"0.0.0.0\"\n"), &["--insecure-no-auth"], "loopback only"),
        (format!("{issuer}[server]\naddress = \"0.0.0.0\"\nallowed_hosts = [\"a.example\"]\n"), &[], "set `server.public_url`"),
        (format!("{issuer}audience = \"a\"\n[server]\naddress = \"0.0.0.0\"\nallowed_hosts = [\"a.example\"]\n"), &[], "TLS"),
        (format!("{issuer}[server]\naddress = \"0.0.0.0\"\npublic_url = \"http://a.example/mcp\"\n"), &[], "TLS"),
        (format!("{issuer}[server]\npublic_url = \"http://a.example/mcp\"\n"), &[], "TLS"),
        (format!("{anonymous}[server]\npublic_url = \"https://a.example/mcp\"\n"), &["--insecure-no-auth"], "through a proxy"),
        (format!("{anonymous}[server]\nallowed_hosts = [\"a.example\"]\n"), &["--insecure-no-auth"], "through a proxy"),
        (format!("{issuer}algorithms = [\"HS256\"]\n"), &[], "secret"),
        (issuer.replace("https", "http"), &[], "not `https`"),
        (format!("{issuer}[auth.issuers.twin]\nissuer = \"https://id.example.com\"\n"), &[], "the same"),
    ] {
        let said = refusal(&config, flags);
        assert!(said.contains(reason), "`{reason}` is not in: {said}\n{config}");
    }
}

#[test]
fn dev_does_not_start_under_names_that_a_proxy_could_lend_it() {
    let plugins = plugins(&["echo"]);
    for config in ["public_url = \"https://a.example/mcp\"", "allowed_hosts = [\"a.example\"]"] {
        let Err(said) = Host::dev(plugins.path()).config(&format!("[server]\n{config}\n")).try_start() else {
            panic!("it serves: {config}")
        };
        assert!(said.contains("`dev` lets callers in") && said.contains("a.example"), "{said}");
    }
}

#[test]
fn dev_mints_nothing_for_pages_that_may_call_tools() {
    let plugins = plugins(&["echo"]);
    let dev = Host::dev(plugins.path()).config("[server]\nallowed_origins = [\"https://app.example\"]\n").start();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = dev.mcp.replace("/mcp", "/dev/token");
    let request = agent.post(&url).header("origin", "https://app.example").header("content-type", "application/json");
    assert_eq!(request.send("{\"subject\":\"u2\"}").expect("it answers").status().as_u16(), 403);
}

#[test]
fn over_stdio_the_environment_says_who_calls() {
    let plugins = plugins(&["echo"]);
    let call = |variables: &[(&str, &str)]| {
        let data = tempfile::tempdir().expect("a temporary folder");
        let meta =
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
        let params = json!({"name": "echo", "arguments": {"text": "hi"}, "_meta": meta});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let mut child = command()
            .current_dir(data.path())
            .args(["run", "--data", "data", "--plugins"])
            .arg(plugins.path())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("tidegate starts");
        writeln!(child.stdin.take().expect("piped"), "{message}").expect("it reads");
        let mut said = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
        assert!(child.wait().expect("it ends").success());
        serde_json::from_str::<Value>(said.lines().next().expect("an answer")).expect("JSON")["result"].clone()
    };
    assert_eq!(call(&[])["structuredContent"], json!({"text": "hi"}));
    let refused = call(&[("TIDEGATE_AUTH__LOCAL__SUBJECT", "u2"), ("TIDEGATE_AUTH__LOCAL__SCOPES", "[\"read:nothing\"]")]);
    assert_eq!(refused["isError"], json!(true), "{refused}");
    assert!(refused["content"][0]["text"].as_str().expect("text").contains("permission_denied"), "{refused}");
}
