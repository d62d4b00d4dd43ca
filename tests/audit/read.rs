//! Finding and showing what was written down.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{ask, audit, echo, host, path, seqs, told};
use crate::harness::{Host, PROTOCOL, plugins};

#[test]
fn a_live_host_and_a_stopped_one_answer_alike() {
    let (mut host, _plugins) = host(3);
    let live = ask(&host, &["list"]);
    let rows = live.as_array().expect("one array").clone();
    assert!(rows.len() >= 10 && seqs(&live) == (1..=rows.len() as u64).collect::<Vec<_>>(), "{live}");
    let call = rows[1]["call"].as_str().expect("the first call").to_owned();
    let questions: [&[&str]; 5] =
        [&["query", "--limit", "100"], &["query", "--subject", "ann"], &["show", "2"], &["show", &call], &["key"]];
    let before = questions.map(|question| ask(&host, question));
    assert_eq!(before[2], before[3], "a call by its id and by its record");
    let shown = &before[3];
    assert_eq!((&shown["call"], seqs(&shown["records"])), (&json!(call), vec![2, 3]), "{shown}");
    assert_eq!(shown["records"][0]["body"]["arguments"], json!({ "text": "hello 0" }));
    let last: Vec<Value> = told(&host, &["tail", "-n", "3", "--output", "json"])
        .lines()
        .map(|line| line.parse().expect("an object a line"))
        .collect();
    assert_eq!(last.iter().map(|row| &row["kind"]).collect::<Vec<_>>(), ["outcome", "rejection", "checkpoint"]);

    assert!(host.stop("-TERM").success());
    for (question, before) in questions.iter().zip(before) {
        assert_eq!(ask(&host, question), before, "{question:?}");
    }
    let stopped = ask(&host, &["list"]);
    assert_eq!(stopped.as_array().expect("one array")[..rows.len()], rows[..]);
    let said = audit(&["tail", "--follow", "--data", path(&host.data)]).refused();
    assert!(said.contains("no host is live"), "{said}");
}

#[test]
fn calls_are_found_by_all_that_can_be_asked_for() {
    let (host, _plugins) = host(4);
    let query = |flags: &[&str]| ask(&host, &[&["query"], flags].concat())["calls"].clone();
    let all = query(&[]);
    let rows = all.as_array().expect("rows").clone();
    assert!(seqs(&all).is_sorted_by(|one, other| one > other), "newest first: {all}");
    let count = |flags: &[&str]| query(flags).as_array().expect("rows").len();
    assert_eq!(rows.len(), 6);
    let (poor, ann) = (&rows[0], &rows[1]);
    assert_eq!((&poor["outcome"], &poor["kind"]), (&json!("insufficient_scope"), &json!("rejection")));
    // What only the intent says, and what only the outcome says, in one row.
    assert_eq!((&ann["body"]["subject"], &ann["body"]["arguments"]["text"]), (&json!("ann"), &json!("hello from ann")));
    assert!(ann["body"]["fuel"].as_u64() > Some(0) && ann["started_ms"].as_u64() <= ann["at_ms"].as_u64(), "{ann}");

    assert_eq!(query(&["--subject", "ann"]), json!([ann]));
    assert_eq!(count(&["--subject", "u1"]), 4);
    assert_eq!(count(&["--subject", "u1", "--issuer", "https://elsewhere.example"]), 0);
    assert_eq!(count(&["--issuer", ann["body"]["issuer"].as_str().expect("an issuer")]), 6);
    assert_eq!((count(&["--tool", "echo"]), count(&["--tool", "ohce"])), (6, 0));
    assert_eq!(query(&["--outcome", "insufficient_scope"]), json!([poor]));
    assert_eq!(count(&["--outcome", "completed"]), 5);
    assert_eq!(query(&["--trace", ann["body"]["trace_id"].as_str().expect("a trace")]), json!([ann]));
    assert_eq!(query(&["--call", ann["call"].as_str().expect("a call")]), json!([ann]));
    assert_eq!((count(&["--since", "1h"]), count(&["--until", "1h"]), count(&["--since", "0s"])), (6, 0, 0));
    let since = humantime::format_rfc3339_millis(
        std::time::UNIX_EPOCH + std::time::Duration::from_millis(ann["at_ms"].as_u64().expect("a time")),
    );
    let recent = query(&["--since", &since.to_string()]);
    assert!(recent.as_array().expect("rows").contains(ann) && recent.as_array().expect("rows").contains(poor), "{recent}");

    // Page by page, the same.
    let mut paged: Vec<Value> = Vec::new();
    let mut before = None;
    loop {
        let flags = before.iter().flat_map(|before: &String| ["--before", before]).collect::<Vec<_>>();
        let page = ask(&host, &[&["query", "--limit", "4"][..], &flags].concat());
        paged.extend(page["calls"].as_array().expect("rows").iter().cloned());
        match page["next"].as_u64() {
            Some(next) => before = Some(next.to_string()),
            None => break,
        }
    }
    assert_eq!(paged, rows);
    let table = told(&host, &["query", "--limit", "2"]);
    assert!(table.contains(&format!("--before {}", ann["seq"])), "{table}");
}

#[test]
fn what_is_not_there_is_not_made_up() {
    let (host, _plugins) = host(1);
    let nobody = format!("call_{}", "0".repeat(32));
    for (what, expected) in [("999", "no record 999"), (&*nobody, "no record of call_0"), ("ann", "neither a record's number")] {
        let said = audit(&["show", what, "--data", path(&host.data)]);
        assert!(said.code != 0 && said.stderr.contains(expected), "{what}: {}", said.stderr);
    }
    let said = audit(&["query", "--since", "lately", "--data", path(&host.data)]);
    assert!(said.code == 2 && said.stderr.contains("2h"), "{}", said.stderr);
}

#[test]
fn nothing_that_callers_write_acts_on_the_operators_terminal() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    // Not over HTTP, whose headers would not let such a name through.
    let name = "mal\u{1b}[31mlory\u{9b}2J\u{202e}";
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": PROTOCOL, "io.modelcontextprotocol/clientCapabilities": {} });
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": {}, "_meta": meta },
    });
    let mut socket = UnixStream::connect(host.data.join("control.sock")).expect("it listens");
    writeln!(socket, "{call}").expect("it reads");
    let mut answer = String::new();
    BufReader::new(&socket).read_line(&mut answer).expect("it answers");
    assert!(answer.contains("unknown tool"), "{answer}");
    told(&host, &["checkpoint"]);
    let call = ask(&host, &["query"])["calls"][0]["call"].as_str().expect("an id").to_owned();
    for question in [&["list"][..], &["tail"], &["query"], &["show", &call]] {
        let table = told(&host, question);
        assert!(table.contains("mal\\u{1b}[31mlory") || table.contains("mal\\u001b[31mlory"), "{question:?}: {table}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!table.contains(acts), "{question:?}: {table:?}");
    }
}

#[test]
fn tail_follows_a_live_host() {
    let (host, _plugins) = host(1);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["audit", "tail", "-n", "1", "--follow", "--output", "json", "--data", path(&host.data)])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tidegate runs");
    let mut lines = BufReader::new(tail.stdout.take().expect("piped")).lines().map(|line| {
        let line = line.expect("text");
        line.parse::<Value>().unwrap_or_else(|_| panic!("no JSON: {line}"))
    });
    let first = lines.next().expect("the last record so far");
    echo(&host.client(), "made afterwards").structured();
    let later = lines.by_ref().find(|row| row["body"]["arguments"]["text"] == "made afterwards").expect("it follows");
    assert!(later["seq"].as_u64() > first["seq"].as_u64());
    let outcome = lines.by_ref().find(|row| row["kind"] == "outcome").expect("it goes on");
    assert_eq!(outcome["call"], later["call"]);
    tail.kill().expect("it runs");
    tail.wait().expect("it ends");
}
