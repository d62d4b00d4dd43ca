//! The resource server, with tokens from a certified OpenID provider: who gets in, who is told what to bring, who stays out.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Client, Host, Provider, Started, plugins, tidegate};

/// What the tools' manifests need, and what tokens may hold.
const READ: &str = "read:invoices.where(user_id=$principal.sub)";
const WRITE: &str = "write:invoices.where(user_id=$principal.sub)";
const ECHO: &str = "use:echo";
const SCOPES: [&str; 3] = [READ, WRITE, ECHO];

/// How long to wait for what happens by itself on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host that serves echo to bearers of tokens of the provider.
fn echo(provider: &Provider) -> (Started, tempfile::TempDir) {
    let plugins = plugins(&["echo"]);
    (Host::dev(plugins.path()).trusting(&[&provider.url]).start(), plugins)
}

fn call_echo(client: &Client) -> Answer {
    client.call("echo", json!({"text": "hi"}))
}

/// Calls until the answer has `status`.
fn await_status(client: &Client, status: u16) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = call_echo(client);
        if answer.status == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "still {answer:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_user_with_a_token_of_a_certified_provider_lists_and_calls_tools() {
    let provider = Provider::start(&SCOPES, &[]);
    let billing = Billing::start(&[]);
    let plugins = plugins(&["echo", "invoices"]);
    let backend = format!("billing={}", billing.url);
    let host = Host::dev(plugins.path()).trusting(&[&provider.url]).with(&["--backend", &backend]).start();

    let user = host.client().with_token(&provider.user_token("u1", &SCOPES, &host.mcp));
    assert_eq!(user.tools(), ["create_invoice", "echo", "get_invoice", "list_invoices", "pay_invoice"]);
    let listed = user.call("list_invoices", json!({"user_id": "u1"}));
    let invoices = listed.structured()["invoices"].as_array().expect("a list").clone();
    assert!(!invoices.is_empty() && invoices.iter().all(|invoice| invoice["user_id"] == "u1"), "{invoices:?}");
    let invoice = billing.open_invoices("u1").remove(0);
    user.call_keyed("pay_invoice", json!({"invoice_id": invoice}), "paid-with-a-token-1").structured();
    assert_eq!(billing.effects_on(&invoice).len(), 1);

    let robot = host.client().with_token(&provider.robot_token(&[ECHO], &host.mcp));
    assert_eq!(call_echo(&robot).structured(), &json!({"text": "hi"}));
    assert!(host.admin("/readyz").1.contains("\"issuers\":{\"i0\":\"4 keys\"}"), "{}", host.admin("/readyz").1);
}

#[test]
fn every_public_key_algorithm_of_a_certified_provider_counts() {
    let providers: Vec<_> =
        ["PS256", "ES256", "EdDSA"].into_iter().map(|alg| (alg, Provider::start(&SCOPES, &["--alg", alg]))).collect();
    let plugins = plugins(&["echo"]);
    let issuers: Vec<_> = providers.iter().map(|(_, provider)| provider.url.as_str()).collect();
    let host = Host::dev(plugins.path()).trusting(&issuers).start();
    for (alg, provider) in &providers {
        let answer = call_echo(&host.client().with_token(&provider.robot_token(&[ECHO], &host.mcp)));
        assert_eq!(answer.status, 200, "{alg}: {answer:?}");
    }
}

#[test]
fn a_narrow_token_is_told_exactly_what_is_missing_and_stepping_up_suffices() {
    let provider = Provider::start(&SCOPES, &[]);
    let billing = Billing::start(&[]);
    let plugins = plugins(&["echo", "invoices"]);
    let backend = format!("billing={}", billing.url);
    let host = Host::dev(plugins.path()).trusting(&[&provider.url]).with(&["--backend", &backend]).start();
    let invoice = billing.open_invoices("u1").remove(0);
    let pay = |token: &str| {
        host.client().with_token(token).call_keyed("pay_invoice", json!({"invoice_id": invoice}), "step-up-00000001")
    };

    let refused = pay(&provider.user_token("u1", &[READ], &host.mcp));
    assert_eq!(refused.status, 403, "{refused:?}");
    let challenge = refused.challenge();
    let scope = challenge.split("scope=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a scope");
    assert!(challenge.contains("error=\"insufficient_scope\"") && challenge.contains("resource_metadata=\""), "{challenge}");
    assert_eq!(scope, WRITE, "{challenge}");
    assert!(billing.effects_on(&invoice).is_empty());

    pay(&provider.user_token("u1", &[READ, scope], &host.mcp)).structured();
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn a_users_token_lists_that_users_rows_whatever_the_backend_returns() {
    let provider = Provider::start(&SCOPES, &[]);
    let billing = Billing::start(&["--ignore-filters"]);
    let plugins = plugins(&["invoices"]);
    let backend = format!("billing={}", billing.url);
    let host = Host::dev(plugins.path()).trusting(&[&provider.url]).with(&["--backend", &backend]).start();
    let list = |token: &str| host.client().with_token(token).call("list_invoices", json!({"user_id": "u1"}));
    let are_all = |answer: &Answer, user: &str| {
        let rows = answer.structured()["invoices"].as_array().expect("a list").clone();
        assert!(!rows.is_empty() && rows.iter().all(|row| row["user_id"] == user), "{user}: {rows:?}");
    };
    for user in ["u1", "u2"] {
        are_all(&list(&provider.user_token(user, &[READ], &host.mcp)), user);
    }

    // The same, said in authorization details (RFC 9396), by value.
    let detail = |conditions: &[&str]| {
        let detail = json!({"type": "tidegate_scope", "actions": ["read"], "datatypes": ["invoices"], "where": conditions});
        provider.detailed_token("u2", ECHO, &host.mcp, &json!([detail]))
    };
    are_all(&list(&detail(&["user_id='u2'"])), "u2");
    let narrowed = list(&detail(&["user_id='u2'", "status='open'"]));
    assert!(narrowed.status == 403 && narrowed.challenge().contains(READ), "the tool speaks of more rows: {narrowed:?}");
    let malformed = list(&detail(&["user_id~'u2'"]));
    assert!(malformed.status == 401 && malformed.challenge().contains("index 0"), "{malformed:?}");
}

#[test]
fn keys_that_were_fetched_count_while_the_provider_is_gone() {
    let mut provider = Provider::start(&SCOPES, &[]);
    let (host, _plugins) = echo(&provider);
    let (first, second) = (provider.robot_token(&[ECHO], &host.mcp), provider.robot_token(&[ECHO], &host.mcp));
    assert_eq!(call_echo(&host.client().with_token(&first)).status, 200);
    provider.stop();
    assert_eq!(call_echo(&host.client().with_token(&first)).status, 200);
    assert_eq!(call_echo(&host.client().with_token(&second)).status, 200, "verified only now, with the keys from before");
}

#[test]
fn a_provider_that_is_down_when_the_host_starts_is_waited_for_without_letting_anybody_in() {
    let mut provider = Provider::start(&SCOPES, &[]);
    let plugins = plugins(&["echo"]);
    let config = format!(
        "[server]\npublic_url = \"http://localhost/mcp\"\n[auth.issuers.late]\nissuer = \"{}\"\nmin_refresh = \"1s\"\n",
        provider.url
    );
    let token = provider.robot_token(&[ECHO], "http://localhost/mcp");
    provider.stop();
    let host = Host::dev(plugins.path()).config(&config).trusting(&[]).start();
    let client = host.client().with_token(&token);
    let refused = call_echo(&client);
    assert_eq!(refused.status, 503, "{refused:?}");
    let retry_after: u64 = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=30).contains(&retry_after));
    assert!(host.admin("/readyz").1.contains("can't be reached"), "{}", host.admin("/readyz").1);
    assert_eq!(call_echo(&host.client()).status, 401, "nor is anybody let in without");
    provider.restart();
    await_status(&client, 200);
}

#[test]
fn new_keys_are_found_when_they_are_needed_and_old_ones_stop_counting() {
    let mut provider = Provider::start(&SCOPES, &[]);
    let (host, _plugins) = echo(&provider);
    let old = host.client().with_token(&provider.robot_token(&[ECHO], &host.mcp));
    assert_eq!(call_echo(&old).status, 200);
    provider.rotate();
    let new = host.client().with_token(&provider.robot_token(&[ECHO], &host.mcp));
    await_status(&new, 200);
    let refused = call_echo(&old);
    assert_eq!(refused.status, 401, "verified before, but its key is gone: {refused:?}");
}

#[test]
fn a_token_for_another_server_is_refused_and_told_what_to_ask_for() {
    let provider = Provider::start(&SCOPES, &[]);
    let (host, _plugins) = echo(&provider);
    let elsewhere = provider.robot_token(&[ECHO], "https://elsewhere.example/mcp");
    let refused = call_echo(&host.client().with_token(&elsewhere));
    assert_eq!(refused.status, 401);
    assert!(refused.challenge().contains("invalid_token") && refused.challenge().contains(&host.mcp), "{}", refused.challenge());
}

#[test]
fn strangers_learn_where_to_get_a_token_and_for_what() {
    let provider = Provider::start(&SCOPES, &[]);
    let plugins = plugins(&["echo", "invoices"]);
    let host = Host::dev(plugins.path()).trusting(&[&provider.url]).with(&["--backend", "billing=http://127.0.0.1:9"]).start();
    let refused = call_echo(&host.client());
    assert_eq!(refused.status, 401);
    let origin = host.mcp.strip_suffix("/mcp").expect("the path");
    let metadata = format!("{origin}/.well-known/oauth-protected-resource/mcp");
    assert_eq!(refused.challenge(), format!("Bearer scope=\"{READ} {ECHO}\", resource_metadata=\"{metadata}\""));

    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for url in [metadata.clone(), format!("{origin}/.well-known/oauth-protected-resource")] {
        let mut response = agent.get(&url).header("origin", "https://app.example").call().expect("it answers");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["access-control-allow-origin"]),
            (200, &"*".parse().expect("text"))
        );
        let document: Value = serde_json::from_str(&response.body_mut().read_to_string().expect("text")).expect("JSON");
        assert_eq!(document["resource"], json!(host.mcp));
        assert_eq!(document["authorization_servers"], json!([provider.url]));
        assert_eq!(document["scopes_supported"], json!([READ, ECHO, WRITE]));
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
    }
    let elsewhere = agent.post(&host.mcp).header("origin", "https://app.example").send("{}").expect("it answers");
    assert_eq!(elsewhere.status(), 403, "only the metadata is for every page");
}

#[test]
fn ten_thousand_bad_tokens_cost_neither_disk_nor_much_time() {
    let provider = Provider::start(&SCOPES, &[]);
    let (host, _plugins) = echo(&provider);
    let good = host.client().with_token(&provider.robot_token(&[ECHO], &host.mcp));
    assert_eq!(call_echo(&good).status, 200);
    let token = provider.robot_token(&[ECHO], &host.mcp);
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let (before, begun) = (size(&host.data), Instant::now());
    let memory = resident(host.pid());
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (client, host) = (host.client(), &host);
            scope.spawn(move || {
                for index in 0..1250 {
                    // Each one distinct, the signature's first bytes overwritten: as costly to refuse as a forgery can be made.
                    let forged = format!("{signed}.{caller:03}{index:05}{}", &signature[8..]);
                    let refused = client.with_token(&forged).request("tools/list", json!({}));
                    assert_eq!(refused.status, 401, "{refused:?}\n{}", host.log());
                }
            });
        }
    });
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(120), "{took:?}");
    let grown = size(&host.data).saturating_sub(before);
    assert!(grown < 64 << 10, "the data folder grew by {grown} bytes");
    let grown = resident(host.pid()).saturating_sub(memory);
    assert!(grown < 64 << 20, "the process grew by {grown} bytes");
    let metrics = host.admin("/metrics").1;
    assert!(metrics.contains("tidegate_unauthenticated_total{reason=\"signature\"} 10000"), "{metrics}");
    assert!(metrics.contains("tidegate_auth_key_fetches_total{issuer=\"i0\",result=\"ok\"} 1"), "{metrics}");
    assert_eq!(call_echo(&good).status, 200);
}

/// The bytes of all files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("the folder is there").filter_map(Result::ok);
    entries
        .map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |data| data.len()) })
        .sum()
}

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
}

/// Passes everything on to a server, and remembers what was said to it.
fn listening_between(server: &str) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = server.strip_prefix("http://").expect("a URL").to_owned();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let upstream = TcpStream::connect(&server).expect("the server answers");
            let (mut from, mut to) = (client.try_clone().expect("cloned"), upstream.try_clone().expect("cloned"));
            let hears = hears.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    hears.lock().expect("no panic").extend_from_slice(&buffer[..count]);
                    if to.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
            let (mut from, mut to) = (upstream, client);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    (url, heard)
}

#[test]
fn the_token_goes_no_further_than_the_door() {
    let provider = Provider::start(&SCOPES, &[]);
    let billing = Billing::start(&[]);
    let (between, heard) = listening_between(&billing.url);
    let plugins = plugins(&["invoices"]);
    let mut host = Host::dev(plugins.path())
        .trusting(&[&provider.url])
        .with(&["--backend", &format!("billing={between}")])
        .with_config("[telemetry]\nlog = \"info,tidegate=trace,hyper=trace,hyper_util=trace,rmcp=trace\"\n")
        .start();
    let token = provider.user_token("u1", &[READ], &host.mcp);
    let client = host.client().with_token(&token);
    client.call("list_invoices", json!({"user_id": "u1"})).structured();
    assert_eq!(client.call_keyed("pay_invoice", json!({"invoice_id": "x"}), "no-scope-for-this-1").status, 403);
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    assert_eq!(host.client().with_token(&forged).call("list_invoices", json!({"user_id": "u1"})).status, 401);
    assert!(host.stop("-TERM").success());

    let signature = token.rsplit('.').next().expect("three parts");
    let claims = token.split('.').nth(1).expect("three parts");
    let heard = heard.lock().expect("no panic").clone();
    assert!(String::from_utf8_lossy(&heard).contains("GET /"), "the backend was asked");
    let mut places = vec![("the backend".to_owned(), heard), ("the log".to_owned(), host.log().into_bytes())];
    files(&host.data, &mut places);
    assert!(places.len() > 3 && places[1].1.len() > 1000, "there is something to look at");
    for (place, bytes) in places {
        for part in [&signature[..40], &claims[..40]] {
            assert!(!bytes.windows(40).any(|window| window == part.as_bytes()), "{place} holds a part of the token");
        }
    }
}

fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").filter_map(Result::ok) {
        let path = entry.path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.extend(std::fs::read(&path).map(|bytes| (path.display().to_string(), bytes))),
        }
    }
}

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
        (format!("{issuer}[server]\naddress = \"0.0.0.0\"\npublic_url = \"http://a.example/mcp\"\n"), &[], "TLS"),
        (format!("{issuer}algorithms = [\"HS256\"]\n"), &[], "secret"),
        (issuer.replace("https", "http"), &[], "not `https`"),
        (format!("{issuer}[auth.issuers.twin]\nissuer = \"https://id.example.com\"\n"), &[], "the same"),
    ] {
        let said = refusal(&config, flags);
        assert!(said.contains(reason), "`{reason}` is not in: {said}\n{config}");
    }
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
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
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
