//! `tidegate call` as people type it, and what it shows of a call.

use serde_json::{Value, json};

use super::{refused, run};
use crate::harness::{Billing, Host, Ran, plugins, workspace};

#[test]
fn arguments_are_typed_by_the_schema_and_wrong_ones_never_leave() {
    let billing = Billing::start(&[]);
    let plugins = plugins(&["echo", "invoices"]);
    let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
    let url = ["--url", host.mcp.as_str()];
    let call = |words: &[&str]| run(workspace(), &[&["call"], words, &url].concat());
    // A text that looks like a number, and a number that has to be one.
    assert!(call(&["echo", "text=42"]).contains("\"42\""));
    let created: Value = call(&["create_invoice", "user_id=u1", "amount_cents=100", "description=Dues"]).parse().expect("JSON");
    assert_eq!((&created["amount_cents"], &created["description"]), (&json!(100), &json!("Dues")));
    assert!(call(&["list_invoices", "user_id=u1", "status:=null"]).contains(created["id"].as_str().expect("an id")));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("text");
    std::fs::write(&file, "from a file").expect("writable");
    assert!(call(&["echo", &format!("text=@{}", file.display())]).contains("from a file"));

    let refused = |words: &[&str]| refused(workspace(), &[&["call"], words, &url].concat());
    let looked_up = || {
        let (_, metrics) = host.admin("/metrics");
        metrics
            .lines()
            .find(|line| line.starts_with("tidegate_stage_seconds_count") && line.contains("look_up"))
            .map(str::to_owned)
    };
    let before = looked_up().expect("calls are counted");
    for (words, hint) in [
        (&["echo", "txt=hi"][..], "`echo` takes no argument `txt`; did you mean `text`?"),
        (&["ecko", "text=hi"], "no tool `ecko` for this caller; did you mean `echo`?"),
        (&["create_invoice", "user_id=u1", "amount_cents=ten"], "`amount_cents` takes integer, and `ten` is none"),
        (&["echo", "hi"], "write `key=value`"),
    ] {
        let said = refused(words);
        assert!(said.contains(hint), "{said}");
    }
    assert_eq!(looked_up(), Some(before), "none of them was called");
}

#[test]
fn a_trace_shows_what_the_host_measured_and_wrote_down_of_that_call() {
    let billing = Billing::start(&["--latency", "30ms"]);
    let plugins = plugins(&["echo", "invoices"]);
    let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
    let data = host.data.display().to_string();
    let further = ["--trace", "--data", &data, "--url", &host.mcp];
    let told = run(workspace(), &[&["call", "list_invoices", "user_id=u1", "--output", "json"][..], &further].concat());
    let told: Value = told.parse().expect("JSON");
    let trace = &told["trace"];
    assert_eq!(trace["call"], told["_meta"]["dev.tidegate/call-id"]);
    // The same figures as in the audit record.
    let shown = run(workspace(), &["audit", "show", trace["call"].as_str().expect("an id"), "--output", "json", "--data", &data]);
    let shown: Value = shown.parse().expect("JSON");
    let outcome = &shown["records"][1]["body"];
    for figure in ["fuel", "memory_peak", "latency_us", "sent", "ended"] {
        assert!(!trace[figure].is_null() && trace[figure] == outcome[figure], "{figure}: {trace}\n{outcome}");
    }
    assert_eq!((&trace["sent"][0]["status"], &trace["sent"][0]["method"]), (&json!(200), &json!("GET")));
    let stages = trace["stages"].as_array().expect("they are kept");
    let took = |name: &str| {
        stages.iter().find(|stage| stage["name"] == name).unwrap_or_else(|| panic!("no {name}: {stages:?}"))["took_us"]
            .as_u64()
            .expect("a number")
    };
    for name in ["look_up", "validate", "authorize", "record_intent", "record_outcome"] {
        took(name);
    }
    assert!(took("execute") >= took("GET") && took("GET") >= 30_000, "{stages:?}");

    let ran = Ran::within(workspace(), &[&["call", "echo", "text=hi"][..], &further].concat());
    let said = ran.err;
    assert!(
        said.contains("record_intent") && said.contains("fuel") && said.contains("of 10000000") && said.contains("memory"),
        "{said}"
    );
    assert!(ran.out.contains("hi"));
}

#[test]
fn a_trace_says_what_is_not_measured_rather_than_making_it_up() {
    let plugins = plugins(&["echo"]);
    let host = Host::dev(plugins.path()).config("[auth.anonymous]\nsubject = \"u1\"\nscopes = [\"use:echo\"]\n").serve().start();
    let data = host.data.display().to_string();
    let arguments = ["call", "echo", "text=hi", "--output", "json", "--trace", "--data", &data, "--url", &host.mcp];
    let told: Value = run(workspace(), &arguments).parse().expect("JSON");
    assert!(told["trace"]["fuel"].as_u64().is_some_and(|fuel| fuel > 0), "{told}");
    assert!(
        told["trace"]["stages"].is_null() && told["trace"]["not_measured"].as_str().expect("a reason").contains("tidegate dev"),
        "{told}"
    );
    let said = refused(workspace(), &["call", "echo", "text=hi", "--trace", "--data", "/no/such", "--url", &host.mcp]);
    assert!(said.contains("a trace is asked for at the host itself") && said.contains("no host answers"), "{said}");
}
