//! Idempotency keys to the letter: what a key stands for, what burns it, what settles a call that nobody knows the end of.

mod keys;
mod operator;
mod reads;
mod storm;
mod unknown;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Client, Host, Started, plugins};

/// A host that serves invoices, with more of a config, and its backend with these flags. It asks the backend once and no more.
fn demo(flags: &[&str], config: &str) -> (Started, Billing, tempfile::TempDir) {
    let (billing, plugins) = (Billing::start(flags), plugins(&["invoices"]));
    let host = serve(&billing, &plugins, config).start();
    (host, billing, plugins)
}

fn serve(billing: &Billing, plugins: &tempfile::TempDir, config: &str) -> Host {
    let config =
        format!("{config}\n[backends.billing]\nurl = \"{}\"\ntimeout = \"1s\"\nretry = {{ attempts = 1 }}\n", billing.url);
    Host::dev(plugins.path()).config(&config)
}

/// A host that gives its backend longer than any call may run.
fn patient(billing: &Billing, plugins: &tempfile::TempDir) -> Host {
    Host::dev(plugins.path()).config(&format!("[backends.billing]\nurl = \"{}\"\ntimeout = \"60s\"\n", billing.url))
}

fn pay(client: &Client, invoice: &str, key: &str) -> Answer {
    client.call_keyed("pay_invoice", json!({ "invoice_id": invoice }), key)
}

fn call_id(answer: &Answer) -> String {
    answer.body["result"]["_meta"]["dev.tidegate/call-id"].as_str().expect("every result has one").to_owned()
}

fn wait_until_running(host: &Started, calls: usize) {
    wait_until(host, &format!("\"running\":{calls}"));
}

/// Waits until the host says so about itself.
fn wait_until(host: &Started, said: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !host.admin("/readyz").1.contains(said) {
        assert!(Instant::now() < deadline, "the calls never ran: {}", host.admin("/readyz").1);
        std::thread::yield_now();
    }
}
