//! Retention, legal holds and erasure, as an operator does them: on a live host and on a stopped one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Host, Started, plugins, tidegate};

/// What a verb answers about the log of this host.
fn audit(host: &Started, arguments: &[&str]) -> Value {
    let data = host.data.display().to_string();
    let told = tidegate(&[&["audit"], arguments, &["--output", "json", "--data", &data]].concat());
    assert!(told.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).expect("JSON")
}

/// What a verb says that refuses.
fn refusal(host: &Started, arguments: &[&str]) -> String {
    let data = host.data.display().to_string();
    let told = tidegate(&[&["audit"], arguments, &["--data", &data]].concat());
    assert!(!told.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&told.stdout));
    String::from_utf8_lossy(&told.stderr).into_owned()
}

fn verified(host: &Started) -> Value {
    let verified = audit(host, &["verify"]);
    assert_eq!(verified["broken"], Value::Null);
    verified
}

#[test]
fn a_person_is_erased_on_a_live_host_and_the_log_still_verifies() {
    let plugins = plugins(&["echo"]);
    let mut host = Host::dev(plugins.path()).start();
    host.client().call("echo", json!({"text": "of a person"})).structured();
    host.client().call("no_such_tool", json!({}));
    // A read is answered a moment before its outcome is in the log.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !audit(&host, &["query", "--subject", "u1", "--tool", "echo"]).to_string().contains("of a person") {
        assert!(Instant::now() < deadline, "the call is nowhere in the log");
    }

    let nobody = refusal(&host, &["erase", "--subject", "nobody", "--reason", "asked"]);
    assert!(nobody.contains("nobody") && nobody.contains("--issuer"), "{nobody}");
    let erased = audit(&host, &["erase", "--subject", "u1", "--reason", "asked by letter"]);
    assert_eq!(erased["keys"], 1);
    let again = refusal(&host, &["erase", "--subject", "u1", "--issuer", "tidegate:dev", "--reason", "again"]);
    assert!(again.contains("erased already"), "{again}");

    let gone = audit(&host, &["query", "--subject", "u1"]);
    assert!(!gone.to_string().contains("of a person"), "{gone}");
    host.client().call("echo", json!({"text": "of the same person, later"})).structured();
    assert!(verified(&host)["erased_bodies"].as_u64() >= Some(2));
    let records = audit(&host, &["list"]);
    let act = records.as_array().expect("records").iter().find(|record| record["body"]["action"] == "erase");
    let act = &act.expect("the act is written down")["body"];
    assert!(act["by"].as_str().is_some_and(|by| by.contains("uid")) && act["reason"] == "asked by letter", "{act}");
    assert!(!act.to_string().contains("\"u1\""), "the record of an erasure names nobody");

    assert!(host.stop("-TERM").success());
    assert!(verified(&host)["erased_bodies"].as_u64() >= Some(2), "and on the stopped one");
    let files = std::process::Command::new("grep").args(["-rl", "of a person"]).arg(&host.data).output().expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&files.stdout), "", "nothing of it lies anywhere in clear");
}

#[test]
fn what_has_had_its_time_goes_unless_a_hold_keeps_it() {
    let plugins = plugins(&["echo"]);
    let short = "[ledger.retention]\nlow = \"1m\"\nmedium = \"1m\"\nrejections = \"1m\"\n";
    let mut host = Host::dev(plugins.path()).config(short).start();
    host.client().call("echo", json!({"text": "young"})).structured();
    let none = audit(&host, &["prune", "--dry-run"]);
    assert_eq!((&none["medium"], &none["records"]), (&json!(0), &json!(0)), "nothing is a minute old");
    let holds = audit(&host, &["hold", "add", "case-7", "--tool", "echo"]);
    assert_eq!(holds[0]["name"], "case-7");
    assert!(refusal(&host, &["hold", "add", "case-7", "--tool", "echo"]).contains("release it first"));
    assert!(refusal(&host, &["hold", "add", "case-8"]).contains("what is held"));
    assert!(host.stop("-TERM").success());
    assert_eq!(audit(&host, &["hold", "list"]), holds, "a hold outlives the host");
    assert_eq!(audit(&host, &["hold", "release", "case-7"]), json!([]));
    assert!(refusal(&host, &["hold", "release", "case-7"]).contains("none of that name"));
    assert_eq!(audit(&host, &["prune"])["low"], 0);
    verified(&host);
}

#[test]
fn a_retention_that_the_law_forbids_is_refused_at_the_start() {
    let plugins = plugins(&["echo"]);
    let said = Host::dev(plugins.path()).config("[ledger.retention]\nhigh = \"30d\"\n").try_start().err();
    let said = said.expect("it does not start");
    assert!(said.contains("high") && said.contains("184 days"), "{said}");
}
