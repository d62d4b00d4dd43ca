//! A storm of retries: agents that lost their answer, all at once.

use std::sync::{Arc, Barrier};

use super::*;

const CONNECTIONS: usize = 50;
const PER_CONNECTION: usize = 20;

/// Asks until there is an answer, as long as it is told to come back.
fn until_answered(client: &Client, invoice: &str, key: &str) -> (Answer, usize) {
    let mut told_to_wait = 0;
    let params =
        json!({"name": "pay_invoice", "arguments": {"invoice_id": invoice}, "_meta": {"dev.tidegate/idempotency-key": key}});
    loop {
        let answer = client.try_call(params.clone()).expect("it lives");
        if answer.body["result"]["isError"] != json!(true) {
            return (answer, told_to_wait);
        }
        let envelope = answer.envelope();
        let code = answer.error();
        assert!(["idempotency_in_flight", "overloaded"].contains(&code.as_str()), "{envelope}");
        let seconds = envelope["retry_after_seconds"].as_u64().expect("a time to come back");
        told_to_wait += 1;
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

#[test]
fn a_thousand_identical_payments_over_fifty_connections_pay_once_and_say_the_same() {
    let (host, billing, _plugins) = demo(&["--latency", "300ms"], "");
    let invoice = billing.open_invoices("u1").remove(0);
    let start = Arc::new(Barrier::new(CONNECTIONS));
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (client, invoice, start) = (host.client(), invoice.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                (0..PER_CONNECTION).map(|_| until_answered(&client, &invoice, "thousand-00000001")).collect::<Vec<_>>()
            })
        })
        .collect();
    let answers: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().expect("no panic")).collect();
    assert_eq!(answers.len(), CONNECTIONS * PER_CONNECTION);
    let told = |answer: &Answer| {
        let result = &answer.body["result"];
        format!("{} {} {}", result["content"], result["structuredContent"], result["isError"])
    };
    let first = told(&answers[0].0);
    assert!(answers.iter().all(|(answer, _)| told(answer) == first), "all are told the same, to the byte");
    assert_eq!(answers.iter().filter(|(answer, _)| !answer.is_replayed() && !answer.is_polled()).count(), 1, "one ran");
    let waited = answers.iter().filter(|(answer, told_to_wait)| *told_to_wait > 0 || answer.is_polled()).count();
    assert!(waited > 0, "some came while it ran");
    assert_eq!(billing.effects_on(&invoice).len(), 1, "and it was paid once");
}
