//! Backends that die, hang, stumble and come back: what callers are told, what is sent, and what is written down.
//!
//! Whatever a backend does, a call ends as a result or as the envelope; never as a 500, a hang, or a success that was made up.

mod careless;
mod effects;
mod faults;
mod storm;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Client, Host, Started, plugins, tidegate, until_back};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A breaker that stays open for as long as a test takes.
const OPEN_FOR_LONG: &str = "breaker = { open = \"10m\", max_open = \"10m\" }\n";

/// A host that serves invoices and guests that are careless about them, with more of `[backends.billing]`.
struct Demo {
    host: Started,
    billing: Billing,
    client: Client,
    _plugins: tempfile::TempDir,
}

impl Demo {
    fn new(flags: &[&str], backend: &str) -> Self {
        let (billing, plugins) = (Billing::start(flags), plugins(&["invoices", "hostile"]));
        let config = format!("[backends.billing]\nurl = \"{}\"\n{backend}", billing.url);
        let host = Host::dev(plugins.path()).config(&config).start();
        let client = host.client();
        Self { host, billing, client, _plugins: plugins }
    }

    fn list(&self) -> Answer {
        self.client.call("list_invoices", json!({ "user_id": "u1" }))
    }

    fn create(&self, key: &str) -> Answer {
        let arguments = json!({ "user_id": "u1", "amount_cents": 4321, "description": key });
        self.client.call_keyed("create_invoice", arguments, key)
    }

    fn pay(&self, invoice: &str, key: &str) -> Answer {
        self.client.call_keyed("pay_invoice", json!({ "invoice_id": invoice }), key)
    }

    /// How many invoices were created with this key.
    fn created(&self, key: &str) -> usize {
        self.billing.invoices_from(1).iter().filter(|invoice| invoice["description"] == key).count()
    }

    /// Fails reads until the breaker opens.
    fn wear_out(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.breaker() != "open" {
            assert!(Instant::now() < deadline, "it never opens");
            self.list().envelope();
        }
    }

    fn breaker(&self) -> String {
        self.host.readiness()["backends"]["billing"]["breaker"].as_str().expect("a state").to_owned()
    }

    /// A metric of the host whose line begins so.
    fn metric(&self, line: &str) -> f64 {
        let metrics = self.host.admin("/metrics").1;
        metrics.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok()).unwrap_or_default()
    }

    /// How many attempts at requests ended so.
    fn attempts(&self, outcome: &str) -> f64 {
        self.metric(&format!("tidegate_backend_requests_total{{backend=\"billing\",outcome=\"{outcome}\"}}"))
    }

    /// What was written down of how a call ended.
    fn outcome_of(&self, answer: &Answer) -> Value {
        let id = answer.body["result"]["_meta"]["dev.tidegate/call-id"].as_str().expect("every result has one");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A read's outcome is on its way when its caller is answered.
            let shown = tidegate(&["audit", "show", id, "--output", "json", "--data", &self.host.data.display().to_string()]);
            assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
            let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
            let records = shown["records"].as_array().expect("records");
            if let Some(outcome) = records.iter().find(|record| record["kind"] == "outcome") {
                return outcome["body"].clone();
            }
            assert!(Instant::now() < deadline, "there is no outcome: {shown}");
        }
    }
}

#[test]
fn a_dead_backend_is_left_alone_and_the_envelope_says_for_how_long() {
    let mut demo = Demo::new(&[], OPEN_FOR_LONG);
    let invoice = demo.billing.invoice_of("u1");
    demo.billing.kill();
    demo.wear_out();
    let sent = demo.attempts("unreachable");
    assert!(sent >= 5.0, "{sent}");
    for n in 0..10 {
        let told = if n % 2 == 0 { demo.list() } else { demo.pay(&invoice, "left-alone-000001") };
        let envelope = told.envelope();
        assert_eq!((told.status, told.error().as_str(), &envelope["effect"]), (200, "backend_unavailable", &json!("none")));
        let wait = envelope["retry_after_seconds"].as_u64().expect("a time");
        assert!((100..=600).contains(&wait), "until the next probe: {envelope}");
        assert_eq!(envelope["retryable"], json!(true));
    }
    assert_eq!((demo.attempts("unreachable"), demo.attempts("breaker_open")), (sent, 10.0), "nothing was sent");
    assert_eq!(demo.metric("tidegate_breaker_state{backend=\"billing\"}"), 2.0);
    let (status, _) = demo.host.admin("/readyz");
    assert_eq!(status, 200, "a dead backend is a detail");
    let health = demo.host.readiness()["backends"]["billing"].take();
    assert_eq!((&health["last"], &health["breaker"]), (&json!("unavailable"), &json!("open")));
    assert!(health["waits_seconds"].as_u64().is_some_and(|wait| wait > 100), "{health}");
    let outcome = demo.outcome_of(&demo.list());
    assert_eq!((&outcome["sent_count"], &outcome["unsent_count"]), (&json!(0), &json!(1)));
    assert_eq!((&outcome["unsent"][0]["error"], &outcome["unsent"][0]["path"]), (&json!("breaker_open"), &json!("/invoices")));
}

#[test]
fn after_a_backend_is_back_traffic_recovers_by_itself() {
    let mut demo = Demo::new(&[], "");
    let invoice = demo.billing.invoice_of("u1");
    demo.billing.kill();
    demo.wear_out();
    assert!(demo.pay(&invoice, "recovers-00000001").envelope()["retry_after_seconds"].as_u64().is_some_and(|wait| wait <= 2));
    demo.billing.restart();
    let paid = until_back(|| demo.pay(&invoice, "recovers-00000001"));
    assert_eq!((paid.structured()["status"].as_str(), paid.is_replayed()), (Some("paid"), false));
    until_back(|| demo.list());
    assert_eq!((demo.breaker().as_str(), demo.metric("tidegate_breaker_state{backend=\"billing\"}")), ("closed", 0.0));
    assert_eq!(demo.billing.effects_on(&invoice).len(), 1);
}

#[test]
fn a_request_that_changes_nothing_is_tried_again_and_each_attempt_is_written_down() {
    // Every second request fails, whoever sends it.
    let demo = Demo::new(&["--failure-rate", "0.5"], "");
    // `struck` says when to come back, which is a reason not to try again.
    let told: Vec<_> = (0..2).map(|_| demo.list()).collect();
    assert_eq!(told[1].error(), "backend_unavailable");
    assert_eq!(told[1].envelope()["retry_after_seconds"], json!(1));
    assert_eq!(demo.metric("tidegate_backend_retries_total{backend=\"billing\"}"), 0.0);

    let demo = Demo::new(&["--fault", "unavailable"], "");
    let failed = demo.list();
    assert_eq!(failed.error(), "backend_unavailable");
    assert_eq!(demo.metric("tidegate_backend_retries_total{backend=\"billing\"}"), 2.0);
    let outcome = demo.outcome_of(&failed);
    let attempts: Vec<_> = outcome["sent"].as_array().expect("a list").iter().map(|sent| &sent["attempt"]).collect();
    assert_eq!(attempts, [&Value::Null, &json!(2), &json!(3)], "{outcome}");
    for sent in outcome["sent"].as_array().expect("a list") {
        assert_eq!((&sent["status"], &sent["request"], &sent["backend"]), (&json!(503), &json!(1), &json!("billing")));
        assert!(sent["latency_us"].as_u64().is_some_and(|micros| micros > 0));
    }
}

#[test]
fn a_backend_that_promises_nothing_about_keys_gets_a_change_once() {
    let demo = Demo::new(&["--fault", "unavailable changes"], "");
    assert_eq!(demo.create("once-00000000001").error(), "backend_unavailable");
    assert_eq!(demo.metric("tidegate_backend_retries_total{backend=\"billing\"}"), 0.0);
}

#[test]
fn limits_that_make_no_sense_are_refused_with_a_reason() {
    let plugins = plugins(&["invoices"]);
    for (limits, reason) in [
        ("breaker = { probes = 0 }", "`failures` and `probes` are at least 1"),
        ("breaker = { failure_rate = 1.5 }", "`failure_rate` is a share"),
        ("retry = { attempts = 0 }", "`attempts`"),
        ("retry = { budget = -1.0 }", "`budget`"),
    ] {
        let config = format!("[backends.billing]\nurl = \"http://127.0.0.1:9\"\n{limits}\n");
        let said = Host::dev(plugins.path()).config(&config).try_start().err().expect("it does not start");
        assert!(said.contains("backends.billing") && said.contains(reason), "{said}");
    }
}
