//! What the tools ask, with a stand-in for the host.

use serde_json::{Value, json};
use tidegate_plugin_sdk::testing::{Host, INPUT_REQUIRED, accepted, reply};
use tidegate_plugin_sdk::{Failure, Question};

use crate::PLUGIN;

fn call(host: &Host, tool: &str, arguments: &Value) -> Result<Value, Failure> {
    let output = PLUGIN.call(tool, &arguments.to_string(), &host.context())?;
    Ok(serde_json::from_str(&output.structured.expect("it is structured")).expect("JSON"))
}

#[test]
fn nothing_is_paid_before_it_is_confirmed() {
    let host = Host::new().backend("billing", |_| Ok(reply(200, &json!({ "amount_cents": 100 }))));
    let pay = json!({ "invoice_id": "inv_0001" });
    assert_eq!(call(&host, "pay", &pay).expect_err("nobody has said yes").code, INPUT_REQUIRED);
    assert_eq!(host.requests().len(), 1);
    let host = host.answers("pay", accepted(json!({ "confirm": true })));
    assert_eq!(call(&host, "pay", &pay), Ok(json!({ "paid": true })));
    assert_eq!(host.requests().len(), 3, "what leads to the question is done again");
    assert_eq!(host.asked().iter().map(Question::key).collect::<Vec<_>>(), ["pay", "pay"]);
}

#[test]
fn who_asks_too_late_gets_no_answer() {
    let host = Host::new().answers("sure", accepted(json!({}))).backend("billing", |_| Ok(reply(200, &json!({}))));
    assert_eq!(call(&host, "pay_then_ask", &json!({ "invoice_id": "inv_0001" })), Ok(json!({ "answered": false })));
}
