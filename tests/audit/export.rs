//! The log taken elsewhere, in pieces if need be.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{audit, echo, host, path, told};

/// Runs `audit export` of a host into a file; answers what it said.
fn export(host: &crate::harness::Started, file: &Path, flags: &[&str]) -> String {
    let said = audit(&[&["export", "--data", path(&host.data), "--out", path(file)], flags].concat());
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(said.stdout, "");
    said.stderr
}

#[test]
fn an_export_is_checked_elsewhere_with_nothing_but_the_public_key() {
    let (mut host, _plugins) = host(5);
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let key = told(&host, &["key"]);
    fs::write(elsewhere.path().join("log.key"), &key).expect("writable");
    for name in ["live.jsonl", "stopped.jsonl"] {
        export(&host, &elsewhere.path().join(name), &[]);
        // To a pipe, the same.
        let piped = told(&host, &["export"]);
        let written = fs::read_to_string(elsewhere.path().join(name)).expect("text");
        assert!(piped.starts_with(&written), "{piped}\n{written}");
        if name == "live.jsonl" {
            host.stop("-TERM");
        }
        let verify = |key: &str| {
            Command::new(env!("CARGO_BIN_EXE_tidegate"))
                .current_dir(elsewhere.path())
                .env_clear()
                .args(["audit", "verify", name, "--output", "json", "--key", key])
                .output()
                .expect("tidegate runs")
        };
        for key in ["log.key", key.trim()] {
            let verified = verify(key);
            assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
            let report: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
            assert_eq!(report["records"], written.lines().count() - 1, "{report}");
            assert_eq!((&report["unsigned"], &report["key"]), (&1.into(), &key_of(&written)), "{report}");
        }
    }
    assert_eq!(fs::read_dir(elsewhere.path()).expect("readable").count(), 3, "checking leaves nothing behind");
}

fn key_of(export: &str) -> Value {
    serde_json::from_str::<Value>(export.lines().next().expect("a header")).expect("JSON")["key"].clone()
}

#[test]
fn an_export_that_was_cut_off_goes_on_where_it_ends() {
    let (host, _plugins) = host(5);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for format in ["jsonl", "ocsf", "cloudevents"] {
        let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
        let flags = ["--format", format];
        export(&host, &whole, &flags);
        let text = fs::read_to_string(&whole).expect("text");
        let second = text.find('\n').expect("a line") + 1;
        // In the middle of a record, behind one, behind the first line, in the first line, before anything.
        let half = text.len() / 2;
        let behind = text[..half].rfind('\n').expect("several lines") + 1;
        for place in [half, behind, second, second - 3, 0] {
            fs::write(&cut, &text[..place]).expect("writable");
            export(&host, &cut, &flags);
            let resumed = fs::read_to_string(&cut).expect("text");
            assert!(resumed == text, "{format} cut at {place}:\n{resumed}\n{text}");
        }
        let said = export(&host, &cut, &flags);
        assert!(said.contains("nothing new"), "{said}");
        echo(&host.client(), "one more").structured();
        export(&host, &cut, &flags);
        let longer = fs::read_to_string(&cut).expect("text");
        assert!(longer.starts_with(&text) && longer.len() > text.len(), "{longer}");
        if format == "jsonl" {
            let report = audit(&["verify", path(&cut), "--key", key_of(&text).as_str().expect("a key")]);
            assert!(report.good().contains("signed to the end"));
        }
        fs::remove_file(&cut).expect("removable");
        fs::remove_file(&whole).expect("removable");
    }
}

#[test]
fn a_file_that_is_something_else_is_left_alone() {
    let ((host, _plugins), (other, _)) = (host(1), host(1));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    export(&other, &folder.path().join("other"), &[]);
    let foreign = fs::read_to_string(folder.path().join("other")).expect("text");
    let mut altered: Vec<String> = told(&host, &["export"]).lines().map(str::to_owned).collect();
    altered.pop();
    for (text, expected) in [
        ("precious work\n", "is no export"),
        ("precious work", "is no export"),
        (&foreign, "another log"),
        ("{}\n", "is no export"),
    ] {
        fs::write(&file, text).expect("writable");
        let said = audit(&["export", "--data", path(&host.data), "--out", path(&file)]).refused();
        assert!(said.contains(expected), "{said}");
        assert_eq!(fs::read_to_string(&file).expect("text"), text);
    }
    // An export of the same log before it was rolled back, as it were: it ends with a record that is not there.
    altered.push(foreign.lines().nth(2).expect("a record").to_owned());
    fs::write(&file, altered.join("\n") + "\n").expect("writable");
    let said = audit(&["export", "--data", path(&host.data), "--out", path(&file)]).refused();
    assert!(said.contains("another one there"), "{said}");
}

#[test]
fn a_part_of_the_log_says_what_of_it_is_not_signed() {
    let (host, _plugins) = host(5);
    told(&host, &["checkpoint"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("part.jsonl");
    let said = export(&host, &file, &["--from", "4", "--to", "9"]);
    assert!(said.contains("records 4 to 9") && said.contains("not signed"), "{said}");
    let report = audit(&["verify", path(&file), "--output", "json"]).json();
    assert_eq!((&report["records"], &report["checkpoints"], &report["broken"]), (&6.into(), &0.into(), &Value::Null));
    // To the end, the checkpoints sign what the header says of the records before.
    let file = folder.path().join("rest.jsonl");
    export(&host, &file, &["--from", "4"]);
    let text = fs::read_to_string(&file).expect("text");
    let verify = |text: &str| {
        fs::write(&file, text).expect("writable");
        audit(&["verify", path(&file), "--output", "json"]).json()
    };
    assert_eq!(verify(&text)["broken"], Value::Null);
    let peak = serde_json::from_str::<Value>(text.lines().next().expect("a header")).expect("JSON")["peaks"][0].clone();
    let forged = text.replacen(peak.as_str().expect("a hash"), &"0".repeat(64), 1);
    assert!(verify(&forged)["broken"]["problem"].as_str().expect("broken").contains("checkpoint"));
    let said = audit(&["export", "--data", path(&host.data), "--from", "999"]).refused();
    assert!(said.contains("ends before record 999"), "{said}");
}

#[test]
fn events_for_others_tell_of_every_record_and_of_the_caller_with_each_outcome() {
    let (host, _plugins) = host(2);
    let records = told(&host, &["export"]).lines().count() - 1;
    for format in ["ocsf", "cloudevents"] {
        let events: Vec<Value> =
            told(&host, &["export", "--format", format]).lines().map(|line| line.parse().expect("JSON")).collect();
        assert_eq!(events.len(), records);
        let ids: std::collections::BTreeSet<_> = events
            .iter()
            .map(|event| if format == "ocsf" { event["metadata"]["uid"].to_string() } else { event["id"].to_string() })
            .collect();
        assert_eq!(ids.len(), records);
        if format == "ocsf" {
            let outcomes: Vec<_> =
                events.iter().filter(|event| event["status"] == "Success" && event["api"]["operation"] == "echo").collect();
            assert!(outcomes.iter().any(|event| event["actor"]["user"]["uid"] == "ann"), "{events:?}");
        }
    }
}
