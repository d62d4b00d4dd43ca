//! The resource server, with tokens from a certified OpenID provider: who gets in, who is told what to bring, who stays out.

mod local;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Client, Host, POLL_TOOL, Provider, Started, foreign, plugins};

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
fn the_official_client_finds_the_provider_asks_for_little_and_steps_up_by_itself() {
    let provider = Provider::start(&SCOPES, &[]);
    let billing = Billing::start(&[]);
    let plugins = plugins(&["echo", "invoices"]);
    let backend = format!("billing={}", billing.url);
    let host = Host::dev(plugins.path()).trusting(&[&provider.url]).with(&["--backend", &backend]).start();
    // A program's token names the program as its subject, so its invoices are its own.
    let arguments = json!({"user_id": "robot", "amount_cents": 700, "idempotency_key": "official-step-up-1"}).to_string();
    let output = Command::new(&foreign().node)
        .arg(foreign().scripts.join("typescript_oauth.mjs"))
        .args(["--url", &host.mcp, "--call", "create_invoice", &arguments])
        .stdin(Stdio::null())
        .output()
        .expect("node runs");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(told["before"], json!([READ, ECHO]), "what strangers are told to ask for, and no more: {told}");
    assert_eq!(told["tools"], json!(["echo", "get_invoice", "list_invoices", POLL_TOOL]), "{told}");
    assert_eq!(told["call"]["structured"]["user_id"], "robot", "{told}");
    assert_eq!(told["after"], json!([READ, ECHO, WRITE]), "{told}");
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
