//! Who is not let in: without the token, with another one, from a page in a browser, by another name, too much, too slowly.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use super::*;

/// The path that most of these ask for.
const STATUS: &str = "policy/status";

/// The listener's address.
fn address(host: &Started) -> &str {
    host.admin.trim_start_matches("http://")
}

/// Sends these bytes and reads what comes back, until the host closes the connection.
fn raw(host: &Started, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address(host)).expect("the host listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP socket");
    stream.write_all(bytes).expect("the host reads");
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

/// The head of a good question, but for these lines, whose connection ends with the answer.
fn head(host: &Started, name: &str, lines: &str) -> String {
    format!(
        "POST /v1/admin/{STATUS} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {}\r\n{lines}\r\n",
        token(host)
    )
}

#[test]
fn only_the_admin_token_lets_in_and_no_token_of_a_caller_does() {
    let (host, _plugins) = echo("");
    let json = ("content-type", "application/json");
    let nobody = post(&host, STATUS, &[json], b"{}");
    assert_eq!((nobody.status, nobody.headers["www-authenticate"].to_str().expect("text")), (401, "Bearer"));
    let callers = host.mint(&json!({ "subject": "u1", "scopes": ["use:echo"] }));
    for wrong in [callers.as_str(), "wrong", &format!("{}x", token(&host)), &token(&host)[1..], "tga_"] {
        let refused = ask_as(&host, wrong, STATUS, &json!({}));
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(refused.headers["www-authenticate"].to_str().expect("text").contains("invalid_token"), "{refused:?}");
        assert!(refused.problem().contains("not the admin token"), "{refused:?}");
    }
    let basic = post(&host, STATUS, &[json, ("authorization", "Basic dXNlcjpwYXNz")], b"{}");
    assert_eq!(basic.status, 400, "{basic:?}");
    assert_eq!(ask(&host, STATUS, &json!({})).status, 200);
    // Nor the other way round, neither where callers bring tokens nor as one of them.
    let as_caller = host.client().with_token(&token(&host)).call("echo", json!({ "text": "hi" }));
    assert_eq!(as_caller.status, 401, "{as_caller:?}");
    // Whoever has the socket needs no token.
    assert!(ask_socket(&host, STATUS, &json!({})).is_ok());
    let log = host.log();
    assert!(log.contains("wrong admin token") && !log.contains(&token(&host)) && !log.contains(&callers), "{log}");
}

#[test]
fn a_page_in_a_browser_gets_nowhere() {
    let (host, _plugins) = echo("");
    let bearer = format!("Bearer {}", token(&host));
    let (json, bearer) = (("content-type", "application/json"), ("authorization", bearer.as_str()));
    // What a form or a script can send without asking first.
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json"]
    {
        assert_eq!(post(&host, STATUS, &[("content-type", kind), bearer], b"{}").status, 415, "{kind}");
    }
    assert_eq!(post(&host, STATUS, &[bearer], b"{}").status, 415, "no type at all");
    let own = format!("http://{}", address(&host));
    for origin in ["https://evil.example", "http://localhost:3000", &own, "null"] {
        let refused = post(&host, STATUS, &[json, bearer, ("origin", origin)], b"{}");
        assert!(refused.status == 403 && refused.problem().contains("browsers"), "{origin}: {refused:?}");
    }
    for site in ["cross-site", "same-site", "same-origin"] {
        assert_eq!(post(&host, STATUS, &[json, bearer, ("sec-fetch-site", site)], b"{}").status, 403, "{site}");
    }
    // A script that asks first is not told that it may.
    let asked = raw(
        &host,
        format!(
            "OPTIONS /v1/admin/{STATUS} HTTP/1.1\r\nhost: {}\r\norigin: https://evil.example\r\nconnection: close\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type\r\n\r\n",
            address(&host)
        )
        .as_bytes(),
    );
    assert!(asked.starts_with("HTTP/1.1 403") && !asked.to_ascii_lowercase().contains("access-control"), "{asked}");
    // A name that leads here today, and somewhere else yesterday.
    for name in ["evil.example", "evil.example:7301", "127.0.0.1.evil.example", "0.0.0.0", "localhost@evil.example"] {
        let told = raw(&host, format!("{}{{}}", head(&host, name, "content-length: 2\r\n")).as_bytes());
        assert!(told.starts_with("HTTP/1.1 403") || told.starts_with("HTTP/1.1 400"), "{name}: {told}");
    }
    for name in ["localhost", address(&host)] {
        let told = raw(&host, format!("{}{{}}", head(&host, name, "content-length: 2\r\n")).as_bytes());
        assert!(told.starts_with("HTTP/1.1 200"), "{name}: {told}");
    }
    // A cookie is no credential, and what is good is not spoilt by one.
    assert_eq!(post(&host, STATUS, &[json, ("cookie", &format!("token={}", token(&host)))], b"{}").status, 401);
    let query = post(&host, &format!("{STATUS}?access_token={}", token(&host)), &[json], b"{}");
    assert!(query.status == 400 && query.problem().contains("ends up in logs"), "{query:?}");
}

#[test]
fn a_question_that_makes_no_sense_is_told_what_is_wrong_with_it() {
    let (host, _plugins) = echo("");
    let (authorization, agent) = (format!("Bearer {}", token(&host)), ureq::agent());
    let got = agent.get(format!("{}/v1/admin/{STATUS}", host.admin)).header("authorization", &authorization);
    let got = got.config().http_status_as_error(false).build().call().expect("the host answers");
    assert_eq!((got.status().as_u16(), got.headers()["allow"].to_str().expect("text")), (405, "POST"));
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    let deep = "[".repeat(1000);
    for (body, words) in [
        (&b"{"[..], "not JSON"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"{\"a\": 1, \"a\": 2}", "twice"),
        (b"\xff\xfe", "not JSON"),
        (b"{} {}", "not JSON"),
        (format!("{{\"a\": {deep}").as_bytes(), "not JSON"),
    ] {
        let refused = post(&host, STATUS, &headers, body);
        assert!(refused.status == 400 && refused.problem().contains(words), "{refused:?}");
    }
    for nowhere in ["", "policy", "policy/status/", "../mcp", "tidegate/policy/status", "tools/list", "policy%2fstatus"] {
        let refused = ask(&host, nowhere, &json!({}));
        assert_eq!(refused.status, 404, "{nowhere}: {refused:?}");
    }
    let wrong = ask(&host, "calls/show", &json!({ "call": "inv_1" }));
    assert_eq!((wrong.status, &wrong.body["error"]["code"]), (400, &json!(-32602)), "{wrong:?}");
    let unknown = ask(&host, "calls/show", &json!({ "call": "call_00000000000000000000000000000000" }));
    assert!(unknown.status == 422 && unknown.problem().contains("does not remember"), "{unknown:?}");
}

#[test]
fn too_much_and_too_slowly_is_cut_off_while_others_are_answered() {
    let (host, _plugins) = echo("");
    let large = vec![b' '; (1 << 20) + 1];
    let announced = raw(&host, head(&host, "localhost", &format!("content-length: {}\r\n", large.len())).as_bytes());
    assert!(announced.starts_with("HTTP/1.1 413") && announced.contains("1048576 bytes"), "{announced}");
    // Of unknown length.
    let chunked = format!("{}200000\r\n", head(&host, "localhost", "transfer-encoding: chunked\r\n"));
    let endless = [chunked.as_bytes(), &large].concat();
    assert!(raw(&host, &endless).starts_with("HTTP/1.1 413"), "a body that says nothing of its size");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let lorises: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| raw(&host, format!("{}{{", head(&host, "localhost", "content-length: 100\r\n")).as_bytes())))
            .collect();
        while !lorises.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let told = ask(&host, STATUS, &json!({}));
            assert_eq!(told.status, 200, "{told:?}");
            assert!(begun.elapsed() < Duration::from_secs(60), "they are never cut off");
        }
        for loris in lorises {
            let told = loris.join().expect("no panic");
            assert!(told.starts_with("HTTP/1.1 408"), "{told}");
        }
    });
    // Those who show no token are not even waited for.
    let told = raw(
        &host,
        format!(
            "POST /v1/admin/{STATUS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: 100\r\n\r\n{{"
        )
        .as_bytes(),
    );
    assert!(told.starts_with("HTTP/1.1 401"), "{told}");
}

#[test]
fn whoever_tries_too_many_tokens_is_told_to_wait_and_whoever_has_the_right_one_is_let_in_beside_them() {
    let (host, _plugins) = echo("");
    let tries: Vec<u16> = (0..12).map(|n| ask_as(&host, &format!("guess-{n}"), STATUS, &json!({})).status).collect();
    assert_eq!(tries, [&[401; 10][..], &[429; 2]].concat());
    // From the same address, as all those behind one proxy.
    assert_eq!(ask(&host, STATUS, &json!({})).status, 200);
    let wrong = ask_as(&host, "guess-12", STATUS, &json!({}));
    assert_eq!(wrong.status, 429, "what went well for one makes nothing good for another: {wrong:?}");
    let wait: u64 = wrong.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(ask_socket(&host, STATUS, &json!({})).is_ok());
    assert!(host.admin("/metrics").1.contains("tidegate_admin_refused_total 13"));
    assert_eq!(host.log().matches("wrong admin token").count(), 10, "guesses don't fill the log");
}

#[test]
fn whoever_replaces_the_file_has_changed_the_token() {
    let (host, _plugins) = echo("");
    let (path, old) = (host.data.join("keys/admin-token"), token(&host));
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(old.starts_with("tga_") && old.len() == 47, "256 random bits");
    let new = "rotated-0123456789abcdef0123456789abcdef";
    let aside = host.data.join("keys/next");
    std::fs::write(&aside, new).expect("written");
    std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600)).expect("changed");
    std::fs::rename(&aside, &path).expect("replaced");
    assert_eq!((ask_as(&host, &old, STATUS, &json!({})).status, ask_as(&host, new, STATUS, &json!({})).status), (401, 200));
    // Others may read it: nobody is let in with it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let exposed = ask_as(&host, new, STATUS, &json!({}));
    assert!(exposed.status == 503 && !exposed.problem().contains("keys"), "{exposed:?}");
    assert!(host.log().contains("mode 644"), "{}", host.log());
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(ask_as(&host, new, STATUS, &json!({})).status, 503);
    assert_eq!(ask_as(&host, "", STATUS, &json!({})).status, 400);
    assert!(ask_socket(&host, STATUS, &json!({})).is_ok());
}

#[test]
fn a_token_stays_across_starts_and_may_be_brought_by_the_operator() {
    let (mut host, plugins) = echo("");
    let first = token(&host);
    assert!(host.stop("-TERM").success());
    let again = Host::dev(plugins.path()).on(&host.data).start();
    assert_eq!(ask_as(&again, &first, STATUS, &json!({})).status, 200);
    drop(again);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let config = format!("[admin]\ntoken_file = \"{}\"\n", file.display());
    let missing = Host::dev(plugins.path()).config(&config).try_start().err().expect("it needs the token");
    assert!(missing.contains("can't read the admin token") && missing.contains("openssl rand"), "{missing}");
    std::fs::write(&file, "brought-0123456789abcdef0123456789abcdef\n").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let exposed = Host::dev(plugins.path()).config(&config).try_start().err().expect("it is no secret");
    assert!(exposed.contains("chmod 600"), "{exposed}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("changed");
    let brought = Host::dev(plugins.path()).config(&config).start();
    assert_eq!(ask_as(&brought, "brought-0123456789abcdef0123456789abcdef", STATUS, &json!({})).status, 200);
    assert!(!brought.data.join("keys/admin-token").exists(), "no other one is made");
}

#[test]
fn beyond_loopback_it_wants_tls_or_no_api_and_it_may_be_switched_off() {
    let plugins = plugins(&["echo"]);
    for (config, words) in [
        ("address = \"0.0.0.0\"", "admin.public_url"),
        ("address = \"0.0.0.0\"\nallowed_hosts = [\"tools\"]", "without TLS"),
        ("address = \"0.0.0.0\"\npublic_url = \"http://tools.example.com\"", "not an https URL"),
        ("tokens = 1", "unknown field"),
    ] {
        let refused = Host::dev(plugins.path()).config(&format!("[admin]\n{config}\n")).try_start();
        let said = refused.err().unwrap_or_else(|| panic!("it starts with {config}"));
        assert!(said.contains(words), "{config}: {said}");
    }
    let (host, _plugins) = echo("[admin]\npublic_url = \"https://tools.example.com:7301\"\n");
    let told = raw(&host, format!("{}{{}}", head(&host, "tools.example.com:7301", "content-length: 2\r\n")).as_bytes());
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    let (off, _plugins) = echo("[admin]\napi = false\n");
    assert!(!off.data.join("keys/admin-token").exists());
    let headers = [("content-type", "application/json")];
    assert_eq!((post(&off, STATUS, &headers, b"{}").status, off.admin("/healthz").0), (404, 200));
    assert!(ask_socket(&off, STATUS, &json!({})).is_ok());
}
