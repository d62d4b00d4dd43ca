//! Questions in the answer: whoever is told them comes again with what was said.

use serde_json::{Value, json};

use super::{Asking, IMPATIENT, host_with, questions, start, word, yes};
use crate::harness::{Answer, Billing, Host, records, tidegate};

#[test]
fn an_invoice_is_paid_once_it_is_confirmed_and_once_only() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let (client, invoice) = (host.client(), billing.invoice_of("u1"));
    let pay = Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1");

    let asked = pay.first(&client);
    let question = &questions(&asked)["pay"];
    assert_eq!(question["method"], "elicitation/create");
    assert!(question["params"]["message"].as_str().expect("words").contains(&invoice), "{question}");
    assert_eq!(question["params"]["requestedSchema"]["properties"]["confirm"]["type"], "boolean");
    assert!(billing.effects_on(&invoice).is_empty(), "nobody has said yes");

    let paid = pay.answer(&client, &asked, yes());
    assert_eq!((paid.structured(), billing.effects_on(&invoice).len()), (&json!({ "paid": true }), 1));
    // With the same key, however it is asked, the answer is given again.
    for again in [pay.first(&client), pay.answer(&client, &asked, yes()), pay.answer(&client, &asked, json!({}))] {
        assert_eq!((again.structured(), again.is_replayed()), (&json!({ "paid": true }), true));
    }
    assert_eq!(billing.effects_on(&invoice).len(), 1);
}

#[test]
fn a_no_is_an_answer_and_pays_nothing() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let (client, invoice) = (host.client(), billing.invoice_of("u1"));
    let no = [
        json!({ "action": "decline" }),
        json!({ "action": "cancel" }),
        json!({ "action": "accept", "content": { "confirm": false } }),
    ];
    for (key, answer) in ["no-1", "no-2", "no-3"].into_iter().zip(no) {
        let pay = Asking::keyed("pay", json!({ "invoice_id": invoice }), key);
        let refused = pay.answer(&client, &pay.first(&client), json!({ "pay": answer }));
        assert_eq!(refused.structured(), &json!({ "paid": false }));
    }
    assert!(billing.effects_on(&invoice).is_empty());
}

#[test]
fn one_question_leads_to_the_next_and_the_client_carries_what_was_said() {
    let billing = Billing::start(&[]);
    let (plugins, host) = host_with(&billing, "");
    let mut first = host.start();
    let mut second = None;
    let talk = Asking::of("converse", json!({ "forms": 3, "page": "https://tidegate.example/help" }));
    let mut client = first.client();
    let mut asked = talk.first(&client);
    for (n, said) in ["one", "two", "three"].into_iter().enumerate() {
        let message = questions(&asked)[format!("word_{n}")]["params"]["message"].clone();
        assert_eq!(message, format!("A word after [{}]?", &["one", "two", "three"][..n].join(" ")));
        if n == 1 {
            // The host keeps nothing of it: another one that has the same keys goes on.
            first.kill();
            let config = format!("[backends.billing]\nurl = \"{}\"\n", billing.url);
            client = second.insert(Host::dev(plugins.path()).on(&first.data).config(&config).start()).client();
        }
        asked = talk.answer(&client, &asked, word(n, said));
    }
    let page = &questions(&asked)["page"];
    assert_eq!((&page["params"]["mode"], &page["params"]["url"]), (&json!("url"), &json!("https://tidegate.example/help")));
    let said = talk.answer(&client, &asked, json!({ "page": { "action": "accept" } }));
    assert_eq!(said.structured()["words"], json!(["one", "two", "three", "page: true"]));
}

/// A yes is for what was asked, not for what is asked later.
#[test]
fn who_said_yes_to_one_amount_is_asked_again_when_it_is_another() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let talk = Asking::of("converse", json!({ "forms": 2 }));
    let asked = talk.first(&host.client());
    let next = talk.answer(&host.client(), &asked, word(0, "one"));
    // The second question holds what was said to the first: said otherwise, it is another question.
    let both = json!({ "word_0": word(0, "other")["word_0"], "word_1": word(1, "two")["word_1"] });
    let answer = talk.answer(&host.client(), &next, both);
    assert_eq!(answer.structured()["words"], json!(["one", "two"]), "what was said before stays said");
    let stale =
        talk.answer(&host.client(), &asked, json!({ "word_0": word(0, "other")["word_0"], "word_1": word(1, "two")["word_1"] }));
    assert_eq!(questions(&stale)["word_1"]["params"]["message"], "A word after [other]?", "nobody was asked that yet");
}

#[test]
fn answers_that_do_not_fit_are_asked_for_again_and_malformed_ones_refused() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let client = host.client();
    let talk = Asking::of("converse", json!({ "forms": 1 }));
    let asked = talk.first(&client);
    for answers in [
        json!({}),
        json!({ "other": { "action": "accept" } }),
        json!({ "word_0": 7 }),
        json!({ "word_0": { "action": "accept" } }),
        json!({ "word_0": { "action": "accept", "content": { "word": 7 } } }),
        json!({ "word_0": { "action": "maybe" } }),
    ] {
        assert!(questions(&talk.answer(&client, &asked, answers.clone()))["word_0"].is_object(), "{answers}");
    }
    let code = |answer: Answer| answer.body["error"]["code"].clone();
    for params in [json!({ "inputResponses": null }), json!({ "inputResponses": [] }), json!({ "requestState": 7 })] {
        assert_eq!(code(talk.send(&client, params.clone())), -32602, "{params}");
    }
    let large = talk.answer(&client, &asked, word(0, &"x".repeat(70_000)));
    assert_eq!(code(large), -32602);
}

#[test]
fn a_state_is_good_for_its_call_alone_and_not_for_ever() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "[admission]\nask_timeout = \"2s\"\n");
    let invoice = billing.invoice_of("u1");
    let token = |subject: &str| host.caller(&json!({ "subject": subject, "scopes": ["write:invoices", "use:asker"] }));
    let (ada, bob) = (token("ada"), token("bob"));
    let pay = Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1");
    let asked = pay.first(&ada);
    let refused = |answer: Answer| {
        assert_eq!(answer.body["error"]["code"], -32602, "{answer:?}");
        assert!(answer.body["error"]["message"].as_str().expect("words").contains("requestState"));
    };
    refused(pay.answer(&bob, &asked, yes()));
    refused(Asking { key: Some("pay-2"), ..pay.clone() }.answer(&ada, &asked, yes()));
    refused(Asking { arguments: json!({ "invoice_id": "inv_0002" }), ..pay.clone() }.answer(&ada, &asked, yes()));
    refused(Asking { tool: "pay_then_ask", ..pay.clone() }.answer(&ada, &asked, yes()));
    let state = asked.body["result"]["requestState"].as_str().expect("a state");
    for tampered in [format!("{state}-TAMPERED"), state.to_uppercase(), String::new(), "x".repeat(100_000)] {
        refused(pay.send(&ada, json!({ "inputResponses": yes(), "requestState": tampered })));
    }
    std::thread::sleep(std::time::Duration::from_millis(2100));
    refused(pay.answer(&ada, &asked, yes()));
    assert!(billing.effects_on(&invoice).is_empty());
    // The key was never taken by any of that.
    let asked = pay.first(&ada);
    assert_eq!(pay.answer(&ada, &asked, yes()).structured(), &json!({ "paid": true }));
}

#[test]
fn nobody_is_asked_what_its_client_does_not_take() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let client = host.client();
    let page = json!({ "forms": 0, "page": "https://tidegate.example/help" });
    for (declared, arguments, can) in [
        (json!({}), json!({ "forms": 1 }), false),
        (json!({ "elicitation": {} }), json!({ "forms": 1 }), true),
        (json!({ "elicitation": {} }), page.clone(), false),
        (json!({ "elicitation": { "url": {} } }), page, true),
        (json!({ "elicitation": { "url": {} } }), json!({ "forms": 1 }), false),
        (json!({ "sampling": {}, "roots": {} }), json!({ "forms": 1 }), false),
    ] {
        let answer = Asking::of("converse", arguments).from(declared.clone()).first(&client);
        if can {
            questions(&answer);
        } else {
            let envelope = answer.envelope();
            assert_eq!(envelope["error"], "failed", "{declared}");
            assert!(envelope["message"].as_str().expect("words").contains("capability `elicitation"), "{envelope}");
        }
    }
    // Clients of the handshake protocols are asked in another way, which this host does not know.
    let params = json!({ "name": "converse", "arguments": { "forms": 1 } });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let mut answer = ureq::post(&host.mcp)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .send(request)
        .expect("it answers");
    let answer = answer.body_mut().read_to_string().expect("text");
    assert!(answer.contains("\"isError\":true") && answer.contains("capability `elicitation`"), "{answer}");
}

#[test]
fn what_was_asked_and_answered_is_written_down_and_secrets_are_not() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let client = host.client();
    let talk = Asking::of("converse", json!({ "forms": 1 }));
    let asked = talk.first(&client);
    let said = talk.answer(&client, &asked, word(0, "my card is 4111 1111 1111 1111"));
    assert!(said.structured()["words"].is_array());
    let first = asked.body["result"]["_meta"]["dev.tidegate/call-id"].as_str().expect("an id").to_owned();
    let second = said.body["result"]["_meta"]["dev.tidegate/call-id"].as_str().expect("an id").to_owned();
    // The outcome of a read is on its way to the log when its caller is answered.
    let log = std::iter::repeat_with(|| records(&host.data)).find(|log| {
        let ended = |call: &str| log.iter().any(|record| record["call"] == call && record["kind"] == "outcome");
        ended(&first) && ended(&second)
    });
    let log = log.expect("both end");
    let of = |call: &str| log.iter().filter(|record| record["call"] == call).collect::<Vec<_>>();
    let (first, second): (Vec<&Value>, Vec<&Value>) = (of(&first), of(&second));
    assert_eq!((&first[1]["body"]["ended"], &first[1]["body"]["disposition"]), (&json!("asked"), &json!("released")));
    assert!(first[1]["body"]["answer"]["asked"]["word_0"].is_object(), "{first:?}");
    let answers = second[0]["body"]["answers"]["word_0"]["content"]["word"].as_str().expect("words").to_owned();
    assert!(answers.starts_with("my card is [card ") && !answers.contains("4111"), "{answers}");
    assert!(!first[1]["body"].to_string().contains(asked.body["result"]["requestState"].as_str().expect("a state")));
}

#[test]
fn the_command_line_answers_what_it_was_told_to_and_says_how_to_answer_the_rest() {
    let billing = Billing::start(&[]);
    for config in ["", IMPATIENT] {
        let (_plugins, host) = start(&billing, config);
        let call = |answers: &[&str]| {
            let command = ["call", "converse", "forms:=2", "page=https://tidegate.example/help", "--url", &host.mcp];
            let answers = answers.iter().flat_map(|answer| ["--answer", answer]);
            tidegate(&command.into_iter().chain(answers).collect::<Vec<_>>())
        };
        let done = call(&["word_0={\"word\": \"one\"}", "word_1=decline", "page=accept"]);
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(said.contains("[\"one\",\"(declined)\",\"page: true\"]"), "{said}");
        let open = call(&["word_0={\"word\": \"one\"}"]);
        let said = String::from_utf8_lossy(&open.stderr).into_owned();
        assert!(!open.status.success() && said.contains("--answer 'word_1={\"word\": …}'"), "{said}");
        let unfit = call(&["word_0={\"word\": 7}"]);
        let said = String::from_utf8_lossy(&unfit.stderr).into_owned();
        assert!(!unfit.status.success() && said.contains("no answer that fits"), "{said}");
    }
}

/// A yes counts once: it is good for no longer than the answer to the call is kept that it led to.
#[test]
fn a_state_is_good_for_no_longer_than_answers_are_kept() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "[ledger]\nkeep_answers = \"2s\"\n");
    let (client, invoice) = (host.client(), billing.invoice_of("u1"));
    let pay = Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1");
    let asked = pay.first(&client);
    assert_eq!(pay.answer(&client, &asked, yes()).structured(), &json!({ "paid": true }));
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let again = pay.answer(&client, &asked, yes());
    assert!(again.body["error"]["code"] == -32602 || again.is_replayed(), "{again:?}");
}
