//! The official clients, Python and TypeScript, and the official conformance suite, against the real host.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Billing, Host, POLL_TOOL, foreign, plugins, report, workspace};

const TOOLS: [&str; 6] = ["create_invoice", "echo", "get_invoice", "list_invoices", "pay_invoice", POLL_TOOL];

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("`{command:?}` can't be run: {error}"))
}

/// Lists and calls all tools over HTTP, in both protocol eras.
fn lists_and_calls_all_tools(program: &std::path::Path, script: &str) {
    let billing = Billing::start(&[]);
    let plugins = plugins(&["echo", "invoices"]);
    let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
    for (mode, invoice) in ["auto", "legacy"].into_iter().zip(billing.open_invoices("u1")) {
        let get = json!({"invoice_id": invoice}).to_string();
        let pay = json!({"invoice_id": invoice, "idempotency_key": format!("{script}-{mode}")}).to_string();
        let create = json!({"user_id": "u1", "amount_cents": 100, "idempotency_key": format!("{script}-{mode}-new")}).to_string();
        let told = report(
            program,
            script,
            &[
                "--mode",
                mode,
                "--call",
                "echo",
                "{\"text\": \"hi\"}",
                "--call",
                "list_invoices",
                "{\"user_id\": \"u1\"}",
                "--call",
                "get_invoice",
                &get,
                "--call",
                "create_invoice",
                &create,
                "--call",
                "pay_invoice",
                &pay,
                "--call",
                "pay_invoice",
                &pay,
                "--call",
                "pay_invoice",
                &get,
                "--url",
                &host.mcp,
            ],
        );
        assert_eq!(told["tools"], json!(TOOLS), "{mode}: {told}");
        let calls = told["calls"].as_array().expect("calls");
        assert_eq!(calls[0]["structured"], json!({"text": "hi"}), "{mode}: {told}");
        assert!(calls[..6].iter().all(|call| call["isError"] == json!(false)), "{mode}: {told}");
        assert_eq!(calls[4]["structured"], calls[5]["structured"], "{mode}: the second payment is a replay");
        // The client validates structured content against the output schema; an error must get past that.
        assert!(
            calls[6]["isError"] == json!(true)
                && calls[6]["text"][0].as_str().expect("text").contains("idempotency_key_required")
        );
        assert_eq!(billing.effects_on(&invoice).len(), 1);
    }
}

/// Lists and calls over stdio, as a desktop client does.
fn works_over_stdio(program: &std::path::Path, script: &str) {
    let (plugins, data) = (plugins(&["echo"]), tempfile::tempdir().expect("a temporary folder"));
    let (plugins, data) = (plugins.path().display().to_string(), data.path().join("data").display().to_string());
    let command = [env!("CARGO_BIN_EXE_tidegate"), "run", "--plugins", &plugins, "--data", &data];
    let told = report(program, script, &[&["--call", "echo", "{\"text\": \"hi\"}", "--stdio"], command.as_slice()].concat());
    assert_eq!(told["tools"], json!(["echo", POLL_TOOL]), "{told}");
    assert_eq!(told["calls"][0]["structured"], json!({"text": "hi"}), "{told}");
}

#[test]
fn the_official_python_client_lists_and_calls_all_tools() {
    lists_and_calls_all_tools(&foreign().python, "python_client.py");
}

#[test]
fn the_official_typescript_client_lists_and_calls_all_tools() {
    lists_and_calls_all_tools(&foreign().node, "typescript_client.mjs");
}

#[test]
fn the_official_clients_work_over_stdio() {
    works_over_stdio(&foreign().python, "python_client.py");
    works_over_stdio(&foreign().node, "typescript_client.mjs");
}

/// The clients check what they get against the tool's output schema, and throw away what that does not allow.
#[test]
fn the_official_clients_take_pending_for_an_answer_and_ask_for_the_result() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[admission]\nsync_budget = \"0s\"\n").start();
    for (program, script) in [(&foreign().python, "python_client.py"), (&foreign().node, "typescript_client.mjs")] {
        for mode in ["auto", "legacy"] {
            let call = |tool: &str, arguments: &Value| {
                let arguments = arguments.to_string();
                let told = report(program, script, &["--mode", mode, "--call", tool, &arguments, "--url", &host.mcp]);
                assert_eq!(told["calls"][0]["isError"], false, "{script}, {mode}: {told}");
                told["calls"][0]["structured"].clone()
            };
            let pending = call("echo", &json!({"text": "later"}));
            assert_eq!(pending["status"], "pending", "{script}, {mode}: {pending}");
            let ask = json!({"call_id": pending["call_id"]});
            let told = std::iter::repeat_with(|| call(POLL_TOOL, &ask)).find(|told| told["status"] != "pending");
            assert_eq!(told, Some(json!({"text": "later"})), "{script}, {mode}");
        }
    }
}

/// Runs the conformance suite with further arguments; what it printed, and whether it passed.
fn suite(arguments: &[&str]) -> (bool, String) {
    let plugins = plugins(&["conformance"]);
    let host = Host::dev(plugins.path()).with(&["--profile", "conformance"]).start();
    let program = foreign().scripts.join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    let out = tempfile::tempdir().expect("a temporary folder");
    let output = run(Command::new(&foreign().node)
        .arg(program)
        .args(["server", "--url", &host.mcp, "-o"])
        .arg(out.path())
        .args(arguments)
        .current_dir(out.path()));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn the_conformance_suite_passes_but_for_what_is_not_advertised() {
    let baseline = workspace().join("tests/conformance-baseline.yml");
    let baseline = baseline.display().to_string();
    let (passed, said) = suite(&["--requirements", "2026-07-28", "--expected-failures", &baseline]);
    assert!(passed, "{said}");
}

#[test]
fn every_scenario_that_tools_alone_can_meet_passes() {
    for scenario in [
        "server-stateless",
        "caching",
        "dns-rebinding-protection",
        "tools-list",
        "tools-call-simple-text",
        "tools-call-image",
        "tools-call-audio",
        "tools-call-embedded-resource",
        "tools-call-mixed-content",
        "tools-call-error",
        "tools-call-with-progress",
        "http-header-validation",
        "http-custom-header-server-validation",
        "json-schema-2020-12",
    ] {
        let (passed, said) = suite(&["--scenario", scenario, "--spec-version", "2026-07-28"]);
        assert!(passed, "{scenario}: {said}");
    }
}
