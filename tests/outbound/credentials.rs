//! What lets the host in: sent where it belongs, renewed when it changes, seen by nobody else.

use std::path::Path;

use serde_json::json;

use super::server::{Server, respond};
use super::{Fetching, until};
use crate::harness::tidegate;

const CANARY: &str = "c4n4ry-s3cr3t";

fn echoing() -> Server {
    Server::plain(|seen, to| {
        let sent = seen.headers.get("x-api-key").map_or("none", String::as_str);
        respond(to, "200 OK", &[("x-api-key", sent), ("authorization", "Bearer echoed"), ("set-cookie", "a=b")], "in")
    })
}

fn keep(folder: &Path, text: &str) -> String {
    let path = folder.join("secret");
    std::fs::write(&path, text).expect("it can be written");
    path.display().to_string()
}

#[test]
fn each_kind_of_credential_is_sent_and_neither_guest_nor_log_nor_record_sees_it() {
    let server = echoing();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = keep(folder.path(), &format!("{CANARY}\n"));
    let credential = |name: &str, credential: &str| {
        format!("[backends.{name}]\nurl = \"{}\"\ncredential = {{ file = \"{file}\", {credential} }}\n", server.url)
    };
    let config = [
        credential("whole", ""),
        credential("key", "header = \"X-Api-Key\""),
        credential("bearer", "kind = \"bearer\""),
        credential("basic", "kind = \"basic\", user = \"me\""),
        format!("[backends.variable]\nurl = \"{}\"\ncredential = {{ kind = \"bearer\", env = \"BILLING_TOKEN\" }}\n", server.url),
    ];
    let config = config.concat() + "[telemetry]\nlog = \"debug,hyper=trace,hyper_util=trace,rustls=trace\"\n";
    let mut fetching = Fetching::start_with(&["whole", "key", "bearer", "basic", "variable"], &[], &config, |host| {
        host.env("BILLING_TOKEN", CANARY)
    });
    let forged = json!({"authorization": "forged", "x-api-key": "forged", "Proxy-Authorization": "forged", "x-own": "mine"});
    for (backend, header, value) in [
        ("whole", "authorization", CANARY.to_owned()),
        ("key", "x-api-key", CANARY.to_owned()),
        ("bearer", "authorization", format!("Bearer {CANARY}")),
        ("variable", "authorization", format!("Bearer {CANARY}")),
        ("basic", "authorization", "Basic bWU6YzRuNHJ5LXMzY3IzdA==".to_owned()),
    ] {
        let answer = fetching.send(json!({"url": format!("http://{backend}/v1"), "headers": forged}));
        let came = answer.structured();
        assert_eq!((&came["status"], &came["body"]), (&json!(200), &json!("in")), "{answer:?}");
        assert!(!answer.body.to_string().contains(CANARY), "{answer:?}");
        for hidden in ["authorization", "set-cookie"] {
            assert!(came["headers"].get(hidden).is_none(), "{answer:?}");
        }
        assert_eq!(came["refused"], json!(["Proxy-Authorization", "authorization"]), "{answer:?}");
        let seen = server.seen().pop().expect("it came");
        assert_eq!((seen.headers.get(header), seen.headers["x-own"].as_str()), (Some(&value), "mine"), "{seen:?}");
        assert!(!seen.headers.contains_key("proxy-authorization"), "{seen:?}");
    }
    fetching.host.stop("-TERM");
    let data = fetching.host.data.display().to_string();
    let records = tidegate(&["audit", "list", "--output", "json", "--data", &data]);
    let records = String::from_utf8_lossy(&records.stdout).into_owned();
    let log = fetching.host.log();
    assert!(records.contains("\"bearer\"") && log.contains("DEBUG"), "{records}");
    for hidden in [CANARY, "bWU6YzRuNHJ5LXMzY3IzdA"] {
        assert!(!records.contains(hidden) && !log.contains(hidden), "{hidden}: {records}\n{log}");
    }
}

#[test]
fn a_file_that_is_replaced_counts_soon_and_at_once_for_a_backend_that_refuses_the_old() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (patient, strict) = (echoing(), {
        let path = folder.path().join("secret");
        Server::plain(move |seen, to| {
            let current = std::fs::read_to_string(&path)?;
            let status = if seen.headers["x-api-key"] == current { "200 OK" } else { "401 Unauthorized" };
            respond(to, status, &[("www-authenticate", "Bearer")], "")
        })
    });
    let file = keep(folder.path(), "first");
    let credential = |name: &str, url: &str| {
        format!("[backends.{name}]\nurl = \"{url}\"\ncredential = {{ header = \"x-api-key\", file = \"{file}\" }}\n")
    };
    let config = credential("patient", &patient.url) + &credential("strict", &strict.url);
    let fetching = Fetching::start(&["patient", "strict"], &[], &config);
    for secret in ["first", "second", "third"] {
        keep(folder.path(), secret);
        let answer = fetching.send(json!({"url": "http://strict/", "method": "POST", "body": "{}"}));
        assert_eq!(answer.structured()["status"], json!(200), "{answer:?}");
        let last = strict.seen().pop().expect("it came");
        assert_eq!((last.headers["x-api-key"].as_str(), last.body.as_str()), (secret, "{}"), "the whole request comes again");
        until("the new secret is sent", || {
            fetching.fetch("http://patient/").structured();
            patient.seen().last().is_some_and(|seen| seen.headers["x-api-key"] == secret)
        });
    }
    // A file that is gone: what it held stays in use, and the log says so.
    std::fs::remove_file(folder.path().join("secret")).expect("it can be removed");
    until("the log tells", || {
        fetching.fetch("http://patient/").structured();
        fetching.host.log().contains("holds none any more")
    });
    assert_eq!(patient.seen().last().expect("it came").headers["x-api-key"], "third");
}
