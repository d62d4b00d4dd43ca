//! Questions and answers outlive the host; a tool that changed under them does not run.

use serde_json::{Value, json};

use super::{Asking, IMPATIENT, ask_task, host_with, task_that_is, tasks, word, yes};
use crate::harness::{Billing, Host, Started, records, tidegate};

/// The same host once more, on the data it left behind.
fn again(host: &Started, plugins: &tempfile::TempDir, billing: &Billing, config: &str) -> Host {
    let config = format!("{config}\n[backends.billing]\nurl = \"{}\"\n", billing.url);
    Host::dev(plugins.path()).on(&host.data).config(&config)
}

fn task_of(asking: &Asking, host: &Started) -> Value {
    let created = asking.clone().from(tasks()).first(&host.client()).body["result"].clone();
    assert_eq!(created["resultType"], "task", "{created}");
    created["taskId"].clone()
}

#[test]
fn a_question_outlives_kill_9_and_a_stop_and_so_does_half_an_answer() {
    let billing = Billing::start(&[]);
    let (plugins, host) = host_with(&billing, IMPATIENT);
    let mut hosts = vec![host.start()];
    let invoice = billing.invoice_of("u1");
    let host = &hosts[0];
    let pay = Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1");
    let (task, talk) = (task_of(&pay, host), task_of(&Asking::of("converse", json!({ "forms": 2 })), host));
    task_that_is(&host.client(), &task, &["input_required"]);
    task_that_is(&host.client(), &talk, &["input_required"]);
    for crash in [true, false] {
        let host = hosts.last_mut().expect("there is one");
        if crash {
            host.kill();
        } else {
            assert_eq!(host.stop("-TERM").code(), Some(0), "{}", host.log());
        }
        let next = again(host, &plugins, &billing, IMPATIENT).start();
        let client = next.client();
        hosts.push(next);
        for (id, key) in [(&task, "pay"), (&talk, if crash { "word_0" } else { "word_1" })] {
            let asking = task_that_is(&client, id, &["input_required"]);
            assert!(asking["inputRequests"][key].is_object(), "{asking}");
        }
        if crash {
            ask_task(&client, "tasks/update", json!({ "taskId": talk, "inputResponses": word(0, "one") }));
            // Until the next question is asked, and kept.
            while task_that_is(&client, &talk, &["input_required"])["inputRequests"].get("word_1").is_none() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
    let host = hosts.last().expect("there is one");
    let client = host.client();
    ask_task(&client, "tasks/update", json!({ "taskId": talk, "inputResponses": word(1, "two") }));
    ask_task(&client, "tasks/update", json!({ "taskId": task, "inputResponses": yes() }));
    let said = task_that_is(&client, &talk, &["completed"]);
    assert_eq!(said["result"]["structuredContent"]["words"], json!(["one", "two"]));
    let paid = task_that_is(&client, &task, &["completed"]);
    assert_eq!(paid["result"]["structuredContent"], json!({ "paid": true }));
    assert_eq!(billing.effects_on(&invoice).len(), 1);

    let records = records(&host.data);
    let of_task = |kind: &str| records.iter().filter(|record| record["call"] == task && record["kind"] == kind).count();
    assert_eq!((of_task("intent"), of_task("outcome")), (2, 2), "each run has its intent and its outcome");
}

/// At every step between the end of the run that asks and the start of the one that pays.
#[test]
fn a_host_that_dies_between_question_and_payment_loses_neither_and_pays_once() {
    for (n, failpoint) in [
        "call::asked=return",
        "call::executed=return",
        "store::applied=3*off->return",
        "store::synced=3*off->return",
        "store::synced=4*off->return",
        "store::synced=5*off->return",
        "call::intended=1*off->return",
        "call::executed=1*off->return",
        "call::concluded=return",
    ]
    .into_iter()
    .enumerate()
    {
        let billing = Billing::start(&[]);
        let (plugins, host) = host_with(&billing, IMPATIENT);
        let host = host.failing(failpoint).start();
        let invoice = billing.invoice_of("u1");
        let keys = ["k-0", "k-1", "k-2", "k-3", "k-4", "k-5", "k-6", "k-7", "k-8"];
        let pay = Asking::keyed("pay", json!({ "invoice_id": invoice }), keys[n]);
        // It may die over any of these.
        let told = std::panic::catch_unwind(|| {
            let task = task_of(&pay, &host);
            task_that_is(&host.client(), &task, &["input_required"]);
            ask_task(&host.client(), "tasks/update", json!({ "taskId": task, "inputResponses": yes() }));
            task_that_is(&host.client(), &task, &["completed"]);
        });
        assert!(told.is_err(), "it never came to {failpoint}");
        let dead = host;
        let host = again(&dead, &plugins, &billing, "").start();
        // Whoever comes again with the key, and says yes when asked, has it paid once.
        let client = host.client();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let paid = loop {
            assert!(std::time::Instant::now() < deadline, "{failpoint}");
            let answer = pay.first(&client);
            let result = &answer.body["result"];
            if result["resultType"] == "input_required" {
                pay.answer(&client, &answer, yes());
            } else if answer.is_pending() {
                let call = &result["_meta"]["dev.tidegate/call-id"];
                ask_task(&client, "tasks/update", json!({ "taskId": call, "inputResponses": yes() }));
            } else if result["isError"] == json!(true) {
                let error = answer.error();
                assert!(["idempotency_in_flight", "outcome_unknown"].contains(&error.as_str()), "{failpoint}: {answer:?}");
            } else {
                break result["structuredContent"].clone();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        };
        assert_eq!((paid, billing.effects_on(&invoice).len()), (json!({ "paid": true }), 1), "{failpoint}");
    }
}

#[test]
fn a_tool_that_changed_while_it_waited_for_an_answer_does_not_run() {
    let billing = Billing::start(&[]);
    let (plugins, host) = host_with(&billing, &format!("{IMPATIENT}[auth.anonymous]\nsubject = \"u1\"\n"));
    let host = host.serve().start();
    let invoice = billing.invoice_of("u1");
    let task = task_of(&Asking::keyed("pay", json!({ "invoice_id": invoice }), "pay-1"), &host);
    task_that_is(&host.client(), &task, &["input_required"]);
    let manifest = plugins.path().join("asker/plugin.toml");
    let text = std::fs::read_to_string(&manifest).expect("readable");
    let changed = text.replacen("rows = \"none\"", "rows = \"none\"\nrisk = \"high\"", 1);
    std::fs::write(&manifest, changed).expect("writable");
    let reloaded = tidegate(&["plugin", "reload", "--data", &host.data.display().to_string()]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    ask_task(&host.client(), "tasks/update", json!({ "taskId": task, "inputResponses": yes() }));
    let ended = task_that_is(&host.client(), &task, &["completed", "failed", "cancelled"]);
    assert!(ended.to_string().contains("tool_changed"), "{ended}");
    assert!(billing.effects_on(&invoice).is_empty());
}

#[test]
fn an_operator_sees_which_calls_wait_for_answers() {
    let billing = Billing::start(&[]);
    let (_plugins, host) = host_with(&billing, IMPATIENT);
    let mut host = host.start();
    let task = task_of(&Asking::of("converse", json!({ "forms": 1 })), &host);
    task_that_is(&host.client(), &task, &["input_required"]);
    let data = host.data.display().to_string();
    let list = |state: &str| -> Value {
        let listed = tidegate(&["calls", "list", "--state", state, "--data", &data, "--output", "json"]);
        assert!(listed.status.success(), "{listed:?}");
        serde_json::from_slice(&listed.stdout).expect("JSON")
    };
    assert_eq!((&list("asking")["calls"][0]["call"], &list("asking")["calls"][0]["status"]), (&task, &json!("asking")));
    assert_eq!(list("queued")["calls"], json!([]));
    host.stop("-TERM");
    assert_eq!(list("asking")["calls"][0]["call"], task, "of a stopped host too");
}
