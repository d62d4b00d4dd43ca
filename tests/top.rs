//! `tidegate top`: who runs, who waits and who burns, as a live host tells it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Host, command, plugins, tidegate};

/// The loads named `name` in one list of a snapshot.
fn named<'a>(snapshot: &'a Value, list: &str, name: &str) -> Vec<&'a Value> {
    snapshot[list].as_array().expect("a list").iter().filter(|load| load["name"] == name).collect()
}

#[test]
fn a_snapshot_names_who_called_what() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let data = host.data.display().to_string();
    let look = || -> Value {
        let output = tidegate(&["top", "--output", "json", "--data", &data]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    };
    assert_eq!(look()["principals_known"], 0, "nobody has called yet");
    host.caller(&json!({"subject": "ada"})).call("echo", json!({"text": "hello"})).structured();
    let snapshot = look();
    assert_eq!((named(&snapshot, "tools", "echo").len(), named(&snapshot, "principals", "ada").len()), (1, 1), "{snapshot:#}");
    let load = &snapshot["host"];
    assert!(load["capacity"].as_u64() > Some(0) && load["slots"].as_u64() > Some(0), "{snapshot:#}");
    assert_eq!((&load["running"], &load["queued"], &load["rejects"]), (&json!(0), &json!(0), &json!(0)), "{snapshot:#}");
    // Where there is no terminal, the same as a table.
    let output = tidegate(&["top", "--data", &data]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("echo") && text.contains("ada") && text.contains("slots"), "{text}");
}

#[test]
fn a_watch_prints_a_snapshot_a_line_until_the_host_stops() {
    let plugins = plugins(&["echo"]);
    let mut host = Host::dev(plugins.path()).start();
    let mut watch = command();
    watch.args(["top", "--output", "json", "--watch", "--interval", "100ms", "--data"]).arg(&host.data);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("it goes on").expect("text");
        assert!(serde_json::from_str::<Value>(&line).expect("JSON")["host"].is_object(), "{line}");
    }
    assert!(host.stop("-INT").success());
    while lines.next().is_some_and(|line| line.is_ok()) {}
    assert_eq!(watch.wait().expect("it ends").code(), Some(1));
}

#[test]
fn without_a_live_host_there_is_nothing_to_see_and_it_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = tidegate(&["top", "--output", "json", "--data", &folder.path().display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no host answers"), "{said}");
    for flags in [&["--interval", "1ms"][..], &["--sort", "luck"]] {
        assert_eq!(tidegate(&[&["top"], flags].concat()).status.code(), Some(2), "{flags:?}");
    }
}
