//! Questions behind a handle: tasks that need input, the host's own tool, the URL; answered, called off, left alone.

use serde_json::{Value, json};

use super::{Asking, IMPATIENT, all, ask_task, questions, start, task_that_is, tasks, word, yes};
use crate::harness::{Answer, Billing, Client, POLL_TOOL, Started};

/// Makes a call whose caller is told a task at once, and answers the task's id.
fn task_of(asking: &Asking, client: &Client) -> Value {
    let created = asking.clone().from(tasks()).first(client).body["result"].clone();
    assert_eq!((&created["resultType"], created.get("inputRequests")), (&json!("task"), None), "{created}");
    created["taskId"].clone()
}

fn update(client: &Client, task: &Value, responses: Value) -> Answer {
    ask_task(client, "tasks/update", json!({ "taskId": task, "inputResponses": responses }))
}

/// What the URL of a call answers to a method.
fn at(host: &Started, method: &str, call: &str, body: &Value) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}/v1/calls/{call}", host.mcp.trim_end_matches("/mcp"));
    let request = ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    let mut answer = agent.run(request.body(body.to_string()).expect("a request")).expect("it answers");
    let text = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[test]
fn a_task_asks_is_answered_and_pays_once() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let (client, invoice) = (host.client(), billing.invoice_of("u1"));
    let pay = Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1");
    let task = task_of(&pay, &client);
    let asking = task_that_is(&client, &task, &["input_required", "completed", "failed"]);
    assert_eq!((&asking["status"], &asking["resultType"]), (&json!("input_required"), &json!("complete")));
    assert_eq!(asking["inputRequests"]["pay"]["method"], "elicitation/create");

    // Whoever comes with its key is given the same task, and nothing runs beside it.
    assert_eq!(task_of(&pay, &client), task);
    // What does not fit is refused in words, and what nobody asked for is ignored.
    let unfit = update(&client, &task, json!({ "pay": { "action": "accept", "content": { "confirm": "sure" } } }));
    assert_eq!(unfit.body["error"]["code"], -32602);
    assert!(unfit.body["error"]["message"].as_str().expect("words").contains("`pay`"), "{unfit:?}");
    let heard = update(&client, &task, json!({ "other": { "action": "accept" } })).body["result"].clone();
    assert_eq!((&heard["resultType"], heard.get("taskId")), (&json!("complete"), None), "{heard}");
    assert_eq!(task_that_is(&client, &task, &["input_required"])["inputRequests"], asking["inputRequests"]);
    assert!(billing.effects_on(&invoice).is_empty());

    update(&client, &task, yes());
    let done = task_that_is(&client, &task, &["completed", "failed", "cancelled"]);
    assert_eq!((&done["status"], &done["result"]["structuredContent"]), (&json!("completed"), &json!({ "paid": true })));
    update(&client, &task, yes());
    assert_eq!(billing.effects_on(&invoice).len(), 1);
    let again = pay.first(&client);
    assert!(again.is_replayed() && again.structured() == &json!({ "paid": true }));
}

#[test]
fn a_task_may_ask_again_and_again() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let client = host.client();
    let task = task_of(&Asking::of("converse", json!({ "forms": 3 })), &client);
    for (n, said) in ["one", "two", "three"].into_iter().enumerate() {
        let asking = task_that_is(&client, &task, &["input_required"]);
        // The answer to the question before is kept before the next one is asked.
        let key = format!("word_{n}");
        let asking = if asking["inputRequests"].get(&key).is_some() { asking } else { until_asked(&client, &task, &key) };
        assert_eq!(asking["inputRequests"].as_object().expect("an object").len(), 1);
        update(&client, &task, word(n, said));
    }
    let done = task_that_is(&client, &task, &["completed"]);
    assert_eq!(done["result"]["structuredContent"]["words"], json!(["one", "two", "three"]));
}

fn until_asked(client: &Client, task: &Value, key: &str) -> Value {
    loop {
        let asking = task_that_is(client, task, &["input_required"]);
        if asking["inputRequests"].get(key).is_some() {
            return asking;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_client_without_tasks_is_asked_when_it_asks_for_the_result() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let client = host.client();
    let pending = Asking::of("converse", json!({ "forms": 1 })).first(&client);
    assert!(pending.is_pending(), "{pending:?}");
    let call = pending.body["result"]["_meta"]["dev.tidegate/call-id"].clone();
    let poll = Asking::of(POLL_TOOL, json!({ "call_id": call }));
    let mut answer = poll.first(&client);
    while answer.is_pending() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        answer = poll.first(&client);
    }
    assert!(questions(&answer)["word_0"].is_object());
    assert_eq!(answer.body["result"].get("requestState"), None, "its id is all it takes");
    // One that can't be asked is told what is waited for, and where a program can answer.
    let told = poll.clone().from(json!({})).first(&client);
    assert!(told.is_pending());
    let told = &told.body["result"]["structuredContent"];
    assert_eq!(
        (&told["state"], &told["input_requests"]["word_0"]["method"]),
        (&json!("input_required"), &json!("elicitation/create"))
    );

    // What does not fit is asked for again.
    let unfit = poll.send(&client, json!({ "inputResponses": { "word_0": { "action": "accept" } } }));
    assert!(questions(&unfit)["word_0"].is_object());
    let mut answer = poll.send(&client, json!({ "inputResponses": word(0, "yes") }));
    while answer.is_pending() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        answer = poll.first(&client);
    }
    assert_eq!(answer.structured()["words"], json!(["yes"]));
}

#[test]
fn a_program_answers_at_the_url_of_the_call() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let client = host.client();
    let task = task_of(&Asking::of("converse", json!({ "forms": 1 })), &client);
    let call = task.as_str().expect("an id");
    task_that_is(&client, &task, &["input_required"]);
    let (status, told) = at(&host, "GET", call, &Value::Null);
    assert_eq!((status, &told["status"], &told["state"]), (200, &json!("pending"), &json!("input_required")));
    assert!(told["input_requests"]["word_0"]["params"]["message"].is_string(), "{told}");

    let post = |body: Value| at(&host, "POST", call, &body);
    for malformed in [json!({}), json!({ "input_responses": 7 }), json!([])] {
        assert_eq!(post(malformed.clone()).0, 400, "{malformed}");
    }
    let (status, unfit) = post(json!({ "input_responses": { "word_0": { "action": "accept" } } }));
    assert_eq!((status, &unfit["error"]), (400, &json!("invalid_arguments")));
    assert_eq!(post(json!({ "input_responses": word(0, "yes") })).0, 202);
    let done = task_that_is(&client, &task, &["completed"]);
    assert_eq!(done["result"]["structuredContent"]["words"], json!(["yes"]));
    let (status, late) = post(json!({ "input_responses": word(0, "no") }));
    assert_eq!((status, &late["error"]), (409, &json!("conflict")));
    assert_eq!(at(&host, "POST", "call_00000000000000000000000000000000", &json!({ "input_responses": {} })).0, 404);
    let plain = ureq::Agent::config_builder().http_status_as_error(false).build();
    let url = format!("{}/v1/calls/{call}", host.mcp.trim_end_matches("/mcp"));
    let sent = ureq::Agent::from(plain).post(url).header("content-type", "text/plain").send("{}").expect("it answers");
    assert_eq!(sent.status(), 415, "a page elsewhere could send that");
}

#[test]
fn somebody_elses_questions_are_nobodys() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let token = |subject: &str| host.caller(&json!({ "subject": subject, "scopes": ["use:asker"] }));
    let (ada, bob) = (token("ada"), token("bob"));
    let task = task_of(&Asking::of("converse", json!({ "forms": 1 })), &ada);
    task_that_is(&ada, &task, &["input_required"]);
    let unknown = |answer: Answer| answer.body["error"].clone();
    let never = json!("call_00000000000000000000000000000000");
    assert_eq!(unknown(update(&bob, &task, word(0, "mine"))), unknown(update(&bob, &never, word(0, "mine"))));
    assert_eq!(
        unknown(ask_task(&bob, "tasks/get", json!({ "taskId": task }))),
        unknown(ask_task(&bob, "tasks/get", json!({ "taskId": never })))
    );
    let poll = Asking::of(POLL_TOOL, json!({ "call_id": task })).from(all());
    assert_eq!(poll.send(&bob, json!({ "inputResponses": word(0, "mine") })).error(), "not_found");
    assert_eq!(task_that_is(&ada, &task, &["input_required"])["inputRequests"].as_object().expect("an object").len(), 1);
}

#[test]
fn a_call_that_asks_is_called_off_and_its_key_is_free_again() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let (client, invoice) = (host.client(), billing.invoice_of("u1"));
    let pay = Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1");
    let task = task_of(&pay, &client);
    task_that_is(&client, &task, &["input_required"]);
    ask_task(&client, "tasks/cancel", json!({ "taskId": task }));
    let ended = task_that_is(&client, &task, &["cancelled", "completed", "failed"]);
    assert_eq!((&ended["status"], ended.get("inputRequests")), (&json!("cancelled"), None), "{ended}");
    update(&client, &task, yes());
    assert!(billing.effects_on(&invoice).is_empty());
    let again = task_of(&pay, &client);
    assert_ne!(again, task);
    task_that_is(&client, &again, &["input_required"]);
}

#[test]
fn what_nobody_answers_ends_in_time_having_changed_nothing() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, &format!("{IMPATIENT}ask_timeout = \"1s\"\n"));
    let (client, invoice) = (host.client(), billing.invoice_of("u1"));
    let task = task_of(&Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1"), &client);
    let ended = task_that_is(&client, &task, &["completed"]);
    let envelope: Value = serde_json::from_str(ended["result"]["content"][0]["text"].as_str().expect("text")).expect("JSON");
    assert_eq!((&envelope["error"], &envelope["effect"]), (&json!("deadline_exceeded"), &json!("none")), "{envelope}");
    assert!(envelope["message"].as_str().expect("words").contains("nobody answered in time"), "{envelope}");
    assert!(billing.effects_on(&invoice).is_empty());
}

#[test]
fn no_more_calls_wait_for_answers_than_may_and_the_next_one_says_so() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, &format!("{IMPATIENT}max_asking = 20\n"));
    let token = |subject: &str| host.caller(&json!({ "subject": subject, "scopes": ["use:asker"] }));
    let (ada, bob) = (token("ada"), token("bob"));
    let talk = Asking::of("converse", json!({ "forms": 1 }));
    for _ in 0..2 {
        task_that_is(&ada, &task_of(&talk, &ada), &["input_required"]);
    }
    let refused = task_that_is(&ada, &task_of(&talk, &ada), &["completed", "input_required"]);
    assert_eq!(refused["status"], "completed", "one principal may have a tenth: {refused}");
    assert!(refused["result"]["content"][0]["text"].as_str().expect("text").contains("\"overloaded\""), "{refused}");
    task_that_is(&bob, &task_of(&talk, &bob), &["input_required"]);
    assert!(host.admin("/metrics").1.contains("tidegate_calls_asking 3"));
}

/// Whoever came with the key of a call while it ran was told that it goes on; but it ended, with a question to another.
#[test]
fn a_handle_to_a_call_that_asked_somebody_else_leads_to_an_answer_all_the_same() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, "");
    let client = host.client();
    let talk = Asking::keyed("converse", json!({ "forms": 1, "after_ms": 4000 }), "talk-1");
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| talk.first(&client));
        // Once it runs it has a handle to give.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !host.admin("/readyz").1.contains("\"running\":1") {
            assert!(std::time::Instant::now() < deadline, "it never ran");
        }
        // Its intent is durable a moment later.
        let second = std::iter::repeat_with(|| talk.first(&client)).take(200).find(|answer| answer.is_pending());
        (first.join().expect("it is answered"), second)
    });
    assert!(questions(&first)["word_0"].is_object());
    let second = second.expect("it ran for seconds");
    let poll = Asking::of(POLL_TOOL, json!({ "call_id": second.body["result"]["_meta"]["dev.tidegate/call-id"] }));
    let mut told = poll.first(&client);
    while told.is_pending() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        told = poll.first(&client);
    }
    let envelope = told.envelope();
    assert_eq!((&envelope["error"], &envelope["effect"]), (&json!("conflict"), &json!("none")), "{envelope}");
    assert_eq!(talk.answer(&client, &first, word(0, "one")).structured()["words"], json!(["one"]));
}

/// A call that waited for its answer for an hour goes on with what its caller may by then, not with what it might when it began.
#[test]
fn a_call_goes_on_with_the_rights_of_whoever_answers() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let token = |scopes: &[&str]| host.caller(&json!({ "subject": "ada", "scopes": scopes }));
    let (before, after) = (token(&["write:invoices"]), token(&["use:asker"]));
    let invoice = billing.invoice_of("u1");
    let task = task_of(&Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1"), &before);
    task_that_is(&before, &task, &["input_required"]);
    update(&after, &task, yes());
    let ended = task_that_is(&before, &task, &["completed", "failed"]);
    assert!(ended.to_string().contains("permission_denied"), "{ended}");
    assert!(billing.effects_on(&invoice).is_empty());
}

/// A client may put a key away for good once it has answered it (ext-tasks, "Input Requests").
#[test]
fn a_task_asks_nothing_else_under_a_key_that_was_answered() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let client = host.client();
    let task = task_of(&Asking::of("misbehave", json!({ "how": "moodily" })), &client);
    task_that_is(&client, &task, &["input_required"]);
    update(&client, &task, json!({ "k": { "action": "accept" } }));
    let ended = task_that_is(&client, &task, &["completed"]);
    let envelope: Value = serde_json::from_str(ended["result"]["content"][0]["text"].as_str().expect("text")).expect("JSON");
    assert_eq!((&envelope["error"], &envelope["effect"]), (&json!("conflict"), &json!("none")), "{envelope}");
    assert!(envelope["message"].as_str().expect("words").contains("`k`"), "{envelope}");
}

#[test]
fn whoever_answers_too_often_is_told_to_wait() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, &format!("{IMPATIENT}[admission.principal]\ncalls = 2\n"));
    let client = host.client();
    let task = task_of(&Asking::of("converse", json!({ "forms": 1 })), &client);
    task_that_is(&client, &task, &["input_required"]);
    let call = task.as_str().expect("an id");
    let answers = [(); 20].map(|()| at(&host, "POST", call, &json!({ "input_responses": {} })).0);
    assert!(answers.contains(&202) && answers.contains(&429), "{answers:?}");
    let heard = (0..20).map(|_| update(&client, &task, json!({}))).find(|answer| answer.body["error"].is_object());
    let heard = heard.expect("one is too many");
    assert!(heard.body["error"]["message"].as_str().expect("words").contains("more often than you may"), "{heard:?}");
}

/// Whoever answers twice at once, or while the call is called off, is not told that anything is broken.
#[test]
fn of_two_answers_at_once_one_counts_and_both_are_heard() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let client = host.client();
    for round in 0..20 {
        let task = task_of(&Asking::of("converse", json!({ "forms": 1 })), &client);
        task_that_is(&client, &task, &["input_required"]);
        let other = || match round % 2 {
            0 => update(&client, &task, word(0, "second")),
            _ => ask_task(&client, "tasks/cancel", json!({ "taskId": task })),
        };
        std::thread::scope(|scope| {
            let both = [scope.spawn(|| update(&client, &task, word(0, "first"))), scope.spawn(other)];
            for heard in both.map(|answer| answer.join().expect("it is answered")) {
                assert_eq!(heard.body["result"]["resultType"], "complete", "{heard:?}");
            }
        });
        let ended = task_that_is(&client, &task, &["completed", "cancelled"]);
        let words = &ended["result"]["structuredContent"]["words"];
        assert!(ended["status"] == "cancelled" || words == &json!(["first"]) || words == &json!(["second"]), "{ended}");
    }
}

#[test]
fn what_waits_for_answers_may_take_up_so_much_and_one_principal_a_tenth() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, &format!("{IMPATIENT}ask_bytes = \"1MiB\"\n"));
    let token = |subject: &str| host.caller(&json!({ "subject": subject, "scopes": ["use:asker"] }));
    let (ada, bob) = (token("ada"), token("bob"));
    let talk = Asking::of("converse", json!({ "forms": 1 }));
    task_that_is(&ada, &task_of(&talk, &ada), &["input_required"]);
    let refused = task_that_is(&ada, &task_of(&talk, &ada), &["completed", "input_required"]);
    assert!(refused.to_string().contains("overloaded"), "{refused}");
    task_that_is(&bob, &task_of(&talk, &bob), &["input_required"]);
}

/// What was offered beside the first call and fits nothing was never an answer.
#[test]
fn a_task_asks_what_was_answered_wrongly_from_the_start() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = start(&billing, IMPATIENT);
    let client = host.client();
    let talk = Asking::of("converse", json!({ "forms": 1 })).from(tasks());
    let wrong = json!({ "inputResponses": { "word_0": { "action": "accept", "content": { "word": 7 } } } });
    let task = talk.send(&client, wrong).body["result"]["taskId"].clone();
    task_that_is(&client, &task, &["input_required"]);
    update(&client, &task, word(0, "one"));
    let done = task_that_is(&client, &task, &["completed"]);
    assert_eq!(done["result"]["structuredContent"]["words"], json!(["one"]), "{done}");
}
