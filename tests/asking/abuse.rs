//! Tools that ask badly, and clients that answer what nobody asked: neither gets further than it may.

use serde_json::{Value, json};

use super::{Asking, IMPATIENT, questions, start, task_that_is, tasks};
use crate::harness::{Billing, tidegate};

#[test]
fn a_tool_that_asks_badly_is_ended_as_one_that_crashed_and_the_log_says_why() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    for (how, why) in [
        ("many", "more than 8 at a time"),
        ("twice", "two questions have the key `k`"),
        ("large", "bytes of parameters"),
        ("pattern", "the field `a`"),
        ("deep", "the field `a`"),
        ("page", "must be `https`"),
    ] {
        let answer = Asking::of("misbehave", json!({ "how": how })).first(&host.client());
        assert_eq!(answer.error(), "plugin_trapped", "{how}: {answer:?}");
        let call = answer.body["result"]["_meta"]["dev.tidegate/call-id"].as_str().expect("an id").to_owned();
        // The outcome of a read is on its way to the log when its caller is answered.
        let data = host.data.display().to_string();
        let shown = || {
            let shown = tidegate(&["audit", "show", &call, "--data", &data, "--output", "json"]);
            String::from_utf8_lossy(&shown.stdout).into_owned()
        };
        let shown = std::iter::repeat_with(shown).find(|shown| !shown.contains("\"running\"")).expect("it ends");
        assert!(shown.contains(why), "{how}: {shown}");
    }
}

#[test]
fn what_the_manifest_does_not_name_is_not_asked_whatever_the_client_takes_or_answers() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let client = host.client();
    let sampling = Asking::of("misbehave", json!({ "how": "sampling" }));
    let unasked = json!({ "k": { "role": "assistant", "content": { "type": "text", "text": "hi" }, "model": "m" } });
    for answer in [sampling.first(&client), sampling.send(&client, json!({ "inputResponses": unasked }))] {
        assert_eq!(answer.structured(), &json!({ "answered": false }));
    }
    let quiet = Asking::of("quiet", json!({}));
    let answers = json!({ "k": { "action": "accept", "content": {} }, "r": { "roots": [] } });
    for answer in [quiet.first(&client), quiet.send(&client, json!({ "inputResponses": answers, "requestState": "x" }))] {
        assert_eq!(answer.structured(), &json!({ "answered": false }));
    }
}

#[test]
fn a_tool_that_asks_after_it_paid_asks_nobody_and_is_not_run_again() {
    let billing = Billing::start(&[]);
    for (config, key) in [("", "late-1"), (IMPATIENT, "late-2")] {
        let (_plugins, host) = start(&billing, config);
        let client = host.client();
        let invoice = billing.open_invoices("u1").pop().expect("there are enough");
        let pay = Asking::keyed("pay_then_ask", json!({ "invoice_id": invoice }), key);
        let told = if config.is_empty() {
            pay.first(&client).structured().clone()
        } else {
            let task = pay.clone().from(tasks()).first(&client).body["result"]["taskId"].clone();
            task_that_is(&client, &task, &["completed", "input_required"])["result"]["structuredContent"].clone()
        };
        assert_eq!((told, billing.effects_on(&invoice).len()), (json!({ "answered": false }), 1));
    }
}

#[test]
fn a_tool_that_asks_without_end_pays_for_it() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let endless = Asking::of("misbehave", json!({ "how": "endless" }));
    let answered = endless.send(&host.client(), json!({ "inputResponses": { "k": { "roots": [] } } }));
    assert_eq!(answered.error(), "fuel_exhausted", "{answered:?}");
}

#[test]
fn answers_to_a_tool_that_asks_nothing_are_ignored() {
    let billing = Billing::start(&[]);
    let plugins = crate::harness::plugins(&["echo"]);
    let host = crate::harness::Host::dev(plugins.path()).start();
    drop(billing);
    let echo = Asking::of("echo", json!({ "text": "hi" }));
    let more: Value = json!({ "inputResponses": { "k": 7 }, "requestState": "nonsense" });
    assert_eq!(echo.send(&host.client(), more).structured(), &json!({ "text": "hi" }));
}

#[test]
fn a_question_that_is_another_each_time_is_never_answered_and_each_is_asked() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let client = host.client();
    let moody = Asking::of("misbehave", json!({ "how": "moodily" }));
    let mut asked = moody.first(&client);
    for _ in 0..3 {
        let before = questions(&asked)["k"].clone();
        asked = moody.answer(&client, &asked, json!({ "k": { "action": "accept" } }));
        assert_ne!(questions(&asked)["k"], before);
    }
}
