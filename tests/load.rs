//! `tidegate bench`: what it measures is so, and what is lost or done twice does not escape it.

mod peer;

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Billing, Host, plugins, tidegate};
use peer::{Book, Peer};

/// Runs a short load with a JSON report; answers how it ended, and the report.
fn bench(flags: &[&str]) -> (Option<i32>, Value) {
    let output = tidegate(&[&["bench", "--output", "json", "--concurrency", "4"], flags].concat());
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("no report: {said}{why}"));
    let whole = ["ok", "errors", "refused", "lost"].map(|outcome| number(&report, outcome)).iter().sum::<u64>();
    let missing = report["effects"]["missing"].as_u64().unwrap_or_default();
    assert_eq!(number(&report, "calls"), whole - missing, "every call ends in one way: {report:#}");
    (output.status.code(), report)
}

/// The same load of one tool of a peer, for a moment unless the flags say otherwise.
fn bench_peer(peer: &Peer, tool: &str, flags: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["--url", &peer.mcp, "--tool", tool, "--args", r#"{"n": {n}}"#];
    for (flag, value) in [("--duration", "300ms"), ("--drain", "3s")] {
        if !flags.contains(&flag) {
            all.extend([flag, value]);
        }
    }
    bench(&[&all, flags].concat())
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no `{name}`: {report:#}"))
}

fn interrupt(child: &Child) {
    // It may have ended meanwhile.
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status().expect("kill runs");
}

#[test]
fn an_honest_host_loses_and_doubles_nothing() {
    let (plugins, billing) = (plugins(&["echo", "invoices"]), Billing::start(&[]));
    let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
    let create = r#"{"user_id": "{principal}", "amount_cents": {n}, "description": "call {n}"}"#;
    let counts = format!("{}/counts#/invoices", billing.url);
    let (code, report) = bench(&[
        "--url",
        &host.mcp,
        "--effects",
        &counts,
        "--duration",
        "2s",
        "--principals",
        "4",
        "--repeat",
        "0.5",
        "--tool",
        "list_invoices=3",
        "--args",
        r#"{"user_id": "{principal}"}"#,
        "--tool",
        "create_invoice",
        "--args",
        create,
    ]);
    assert_eq!((code, number(&report, "lost"), number(&report, "doubled")), (Some(0), 0, 0), "{report:#}");
    assert!(number(&report, "ok") > 0 && number(&report, "repeated") > 0, "{report:#}");
    assert_eq!(number(&report, "ok"), number(&report, "calls"), "{report:#}");
    let created = &report["tools"][1];
    assert_eq!((&created["tool"], &created["keyed"]), (&"create_invoice".into(), &true.into()));
    assert_eq!((&report["effects"]["counted"], &report["effects"]["maybe"]), (&created["ok"], &0.into()), "{report:#}");
    // The seed has twelve; a repetition creates none.
    assert_eq!(billing.invoices_from(13).len() as u64, created["ok"].as_u64().expect("a number"));
    assert!(billing.invoices_from(13).iter().all(|invoice| invoice["user_id"].as_str().expect("text").starts_with("bench-")));
}

#[test]
fn an_older_protocol_is_spoken_where_nothing_newer_is_known() {
    let peer = Peer::legacy();
    let (code, report) = bench_peer(&peer, "steady", &[]);
    assert_eq!((code, number(&report, "ok")), (Some(0), number(&report, "calls")), "{report:#}");
    // One to ask what there is, one for each caller.
    assert_eq!(peer.book(|book| book.handshakes), 5);
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).start();
    let args = ["--url", &host.mcp, "--legacy", "--tool", "echo", "--args", r#"{"text": "{n}"}"#, "--duration", "300ms"];
    let (code, report) = bench(&args);
    assert_eq!((code, number(&report, "ok")), (Some(0), number(&report, "calls")), "{report:#}");
}

#[test]
fn pending_calls_are_polled_to_their_end_by_tool_and_as_tasks() {
    for flags in [&[][..], &["--tasks"]] {
        let peer = Peer::start();
        let (code, report) = bench_peer(&peer, "late", &[&["--effects", &peer.effects], flags].concat());
        assert_eq!((code, number(&report, "ok")), (Some(0), number(&report, "calls")), "{report:#}");
        assert_eq!((number(&report, "pending"), number(&report, "errors")), (number(&report, "calls"), 0), "{report:#}");
        assert_eq!(report["effects"]["counted"], report["ok"], "{report:#}");
        let median = |of: &str| report[of]["p50_ms"].as_f64().expect("a number");
        // The poll after the first is not told when to come again, so it comes a second later.
        assert!(median("resolved") >= 100.0 && median("first_answer") < median("resolved") - 90.0, "{report:#}");
    }
}

#[test]
fn what_never_ends_is_lost() {
    let peer = Peer::start();
    let (code, report) = bench_peer(&peer, "never", &["--drain", "1s"]);
    assert_eq!((code, number(&report, "lost"), number(&report, "pending")), (Some(1), 4, 4), "{report:#}");
    assert_eq!(report["lost_by_reason"]["unresolved"], 4);
    for flags in [&[][..], &["--tasks"]] {
        let (code, report) = bench_peer(&peer, "gone", flags);
        assert_eq!((code, &report["lost_by_reason"]["handle_gone"]), (Some(1), &report["calls"]), "{report:#}");
    }
}

#[test]
fn what_is_never_answered_is_lost() {
    let peer = Peer::start();
    let (code, report) = bench_peer(&peer, "mute", &["--timeout", "100ms", "--patience", "200ms"]);
    assert_eq!((code, &report["lost_by_reason"]["timed_out"]), (Some(1), &report["calls"]), "{report:#}");
    let before = peer.book(Book::requests);
    let mut command = crate::harness::command();
    command.args(["bench", "--output", "json", "--concurrency", "4", "--url", &peer.mcp, "--tool", "mute"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    // What there is to speak and to call, and four calls.
    peer.wait_for(|book| book.requests() >= before + 6);
    while child.try_wait().expect("it is there").is_none() {
        // The second one cuts off whatever is under way.
        interrupt(&child);
    }
    let report: Value = serde_json::from_slice(&child.wait_with_output().expect("it ended").stdout).expect("a report");
    assert_eq!((number(&report, "lost"), &report["lost_by_reason"]["unanswered"]), (4, &4.into()), "{report:#}");
}

#[test]
fn one_key_that_ends_as_two_calls_is_doubled() {
    for flags in [&[][..], &["--tasks"]] {
        let (code, report) = bench_peer(&Peer::start(), "switched", flags);
        assert_eq!((code, number(&report, "doubled")), (Some(1), number(&report, "calls")), "{report:#}");
    }
}

#[test]
fn the_backends_own_count_tells_what_answers_do_not() {
    let peer = Peer::start();
    let (code, report) = bench_peer(&peer, "forgets", &["--effects", &peer.effects]);
    assert_eq!((code, number(&report, "doubled")), (Some(1), number(&report, "ok")), "{report:#}");
    // Another backend, which did nothing of what callers were told.
    let (code, report) = bench_peer(&Peer::start(), "steady", &["--effects", &peer.effects]);
    assert_eq!((code, number(&report, "lost")), (Some(1), number(&report, "ok")), "{report:#}");
}

#[test]
fn a_broken_connection_is_opened_again_and_the_key_makes_that_safe() {
    let peer = Peer::start();
    let (code, report) = bench_peer(&peer, "drops", &["--effects", &peer.effects]);
    assert_eq!((code, number(&report, "ok"), number(&report, "errors")), (Some(0), number(&report, "calls"), 0), "{report:#}");
    assert!(peer.book(|book| book.attempts.values().all(|attempts| *attempts == 2)));
    // Without a key nobody knows whether it would happen twice.
    let (code, report) = bench_peer(&peer, "plain", &[]);
    assert_eq!((code, &report["lost_by_reason"]["connection_broken"]), (Some(1), &report["calls"]), "{report:#}");
}

#[test]
fn overloaded_calls_come_again_when_they_were_told_to() {
    let peer = Peer::start();
    let (code, report) = bench_peer(&peer, "busy", &["--effects", &peer.effects]);
    let calls = number(&report, "calls");
    assert_eq!((code, number(&report, "ok"), number(&report, "overloaded")), (Some(0), calls, calls), "{report:#}");
    assert_eq!((number(&report, "retried_ok"), number(&report, "retried_ok_at_once")), (calls, calls), "{report:#}");
    assert!(report["resolved"]["p50_ms"].as_f64().expect("a number") >= 50.0, "{report:#}");
    let (code, report) = bench_peer(&peer, "full", &["--drain", "200ms"]);
    assert_eq!(
        (code, number(&report, "refused"), number(&report, "errors")),
        (Some(0), number(&report, "calls"), 0),
        "{report:#}"
    );
}

#[test]
fn failures_are_counted_by_code_and_lose_nothing() {
    let (code, report) = bench_peer(&Peer::start(), "fails", &[]);
    assert_eq!((code, number(&report, "errors")), (Some(0), number(&report, "calls")), "{report:#}");
    assert_eq!(report["errors_by_code"]["backend_unavailable"], report["errors"]);
}

#[test]
fn a_repetition_is_answered_by_the_first_call_or_noticed() {
    let honest = Peer::start();
    let (code, report) = bench_peer(&honest, "steady", &["--repeat", "1", "--effects", &honest.effects]);
    assert_eq!((code, number(&report, "repeated")), (Some(0), number(&report, "calls")), "{report:#}");
    assert!(honest.book(|book| book.attempts.values().all(|attempts| *attempts == 2)));
}

#[test]
fn calls_begin_at_the_rate_asked_for_with_the_token_given() {
    let peer = Peer::start();
    let (code, report) = bench_peer(&peer, "steady", &["--rate", "50", "--duration", "2s", "--token", "secret"]);
    assert_eq!((code, number(&report, "calls"), number(&report, "not_begun")), (Some(0), 100, 0), "{report:#}");
    let tokens = peer.book(|book| book.tokens.clone());
    assert_eq!(tokens.keys().collect::<Vec<_>>(), ["Bearer secret"], "{tokens:?}");
}

#[test]
fn an_interrupt_prints_what_there_is() {
    let peer = Peer::start();
    let mut command = crate::harness::command();
    command.args(["bench", "--output", "json", "--url", &peer.mcp, "--tool", "steady", "--duration", "10m"]);
    let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    peer.wait_for(|book| book.effects >= 10);
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((output.status.code(), number(&report, "lost")), (Some(0), 0), "{report:#}");
    assert!(number(&report, "ok") >= 10, "{report:#}");
}

#[test]
fn what_can_not_begin_ends_with_2_and_says_why() {
    let peer = Peer::start();
    let url = ["--url", &peer.mcp];
    for (flags, problem) in [
        (&["--url", "http://127.0.0.1:1/mcp", "--tool", "a"][..], "is the server running"),
        (&["--url", "https://127.0.0.1:1/mcp", "--tool", "a"], "TLS"),
        (&[url[0], url[1], "--tool", "unheard_of"], "lists no tool `unheard_of`; it lists steady"),
        (&[url[0], url[1], "--tool", "steady", "--args", "[]"], "JSON object"),
        (&[url[0], url[1], "--tool", "steady", "--principals", "3"], "mints no tokens"),
        (&[url[0], url[1], "--tool", "steady", "--effects", "http://127.0.0.1:1/effects"], "does not say what the backend did"),
        (&[url[0], url[1]], "--tool"),
        (&[url[0], url[1], "--tool", "steady", "--rate", "fast"], "calls per second"),
    ] {
        let output = tidegate(&[&["bench"], flags].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(problem), "{flags:?}: {said}");
    }
}
