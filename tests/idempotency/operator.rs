//! `tidegate calls`: what an operator sees of calls, and settles.

use super::*;
use crate::harness::tidegate;

/// What a `tidegate calls` verb printed as JSON; or, if it failed, said.
fn calls(host: &Started, arguments: &[&str]) -> Result<Value, String> {
    let data = host.data.display().to_string();
    let config = host.data.with_extension("toml").display().to_string();
    let arguments = [&["calls"], arguments, &["--output", "json", "--data", &data, "--config", &config]].concat();
    let output = tidegate(&arguments);
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        Some(1) => Err(String::from_utf8(output.stderr).expect("text")),
        other => panic!("{arguments:?} ended with {other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn create(client: &Client, key: &str) -> Answer {
    client.call_keyed("create_invoice", json!({ "user_id": "u1", "amount_cents": 4321 }), key)
}

fn created(client: &Client) -> usize {
    let all = client.call("list_invoices", json!({ "user_id": "u1" }));
    let all = all.structured()["invoices"].as_array().expect("a list").clone();
    all.iter().filter(|invoice| invoice["amount_cents"] == json!(4321)).count()
}

/// The admin records of a stopped host about calls, after its log was found whole.
fn resolutions(host: &Started) -> Vec<Value> {
    let data = host.data.display().to_string();
    let verified = tidegate(&["audit", "verify", "--data", &data]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let listed = tidegate(&["audit", "list", "--output", "json", "--data", &data]);
    let records: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    records.into_iter().filter(|record| record["body"]["action"] == "call_resolved").collect()
}

#[test]
fn a_call_found_executed_is_answered_as_committed_and_never_with_a_made_up_success() {
    let (mut host, _billing, _plugins) = demo(&["--lose-answers", "1"], "");
    let client = host.client();
    let id = call_id(&create(&client, "operator-0000001"));

    let unknown = calls(&host, &["list", "--state", "unknown"]).expect("listed");
    let [listed] = unknown["calls"].as_array().expect("a list").as_slice() else { panic!("one call: {unknown}") };
    assert_eq!((&listed["call"], &listed["status"], &listed["effect"]), (&json!(id), &json!("unknown"), &json!("write")));
    assert_eq!((&listed["tool"], &listed["subject"], &listed["expires"]), (&json!("create_invoice"), &json!("u1"), &Value::Null));

    let resolved = calls(&host, &["resolve", &id, "executed", "--note", "seen in billing"]).expect("it was unknown");
    assert_eq!((&resolved["status"], &resolved["resolved"]), (&json!("done"), &json!("executed")));
    assert!(resolved["expires"].is_string(), "for as long as any answer is kept: {resolved}");
    let told = create(&client, "operator-0000001");
    let envelope = told.envelope();
    assert_eq!(told.error(), "answer_lost");
    assert_eq!(
        (&envelope["effect"], &envelope["retryable"], &envelope["call_id"]),
        (&json!("committed"), &json!(false), &json!(id))
    );
    assert!(told.is_replayed());
    assert_eq!(created(&client), 1);

    let twice = calls(&host, &["resolve", &id, "not-executed"]).expect_err("it is resolved");
    assert!(twice.contains("resolved as executed already"), "{twice}");
    assert_eq!(calls(&host, &["list", "--state", "unknown"]).expect("listed")["calls"], json!([]));

    assert!(host.stop("-TERM").success());
    let records = resolutions(&host);
    let [record] = records.as_slice() else { panic!("one record: {records:?}") };
    assert_eq!((&record["kind"], &record["call"]), (&json!("admin"), &json!(id)));
    let body = &record["body"];
    assert_eq!((&body["call"], &body["verdict"], &body["note"]), (&json!(id), &json!("executed"), &json!("seen in billing")));
    assert!(body["by"].as_str().is_some_and(|by| by.contains("uid ")), "{body}");
}

#[test]
fn a_call_found_not_executed_frees_its_key_also_on_a_stopped_host() {
    let (mut host, mut billing, plugins) = demo(&["--lose-answers", "1"], "");
    let id = call_id(&create(&host.client(), "operator-0000002"));
    assert!(host.stop("-TERM").success());
    let resolved = calls(&host, &["resolve", &id, "not-executed"]).expect("it was unknown");
    assert_eq!((&resolved["status"], &resolved["resolved"]), (&json!("released"), &json!("not-executed")));
    let twice = calls(&host, &["resolve", &id, "not-executed"]).expect_err("it is resolved");
    assert!(twice.contains("resolved as not-executed already"), "{twice}");
    assert_eq!(resolutions(&host).len(), 1);

    billing.kill();
    billing.restart();
    let again = serve(&billing, &plugins, "").on(&host.data).start();
    let run = create(&again.client(), "operator-0000002");
    assert!(!run.is_replayed());
    run.structured();
    assert!(create(&again.client(), "operator-0000002").is_replayed());
}

#[test]
fn what_is_not_unknown_cannot_be_resolved_and_it_is_told_why() {
    let (host, mut billing, _plugins) = demo(&["--lose-answers", "1"], "");
    let client = host.client();
    let refused = |id: &str| calls(&host, &["resolve", id, "executed"]).expect_err("there is nothing to settle");
    let nowhere = refused("call_00000000000000000000000000000000");
    assert!(nowhere.contains("does not remember"), "{nowhere}");

    // One that asked again in vain only points at the one it asked for.
    let invoice = billing.open_invoices("u1").remove(0);
    let first = call_id(&pay(&client, &invoice, "operator-0000003"));
    billing.kill();
    let second = pay(&client, &invoice, "operator-0000003");
    assert_eq!(second.error(), "outcome_unknown");
    let pointed = refused(&call_id(&second));
    assert!(pointed.contains(&format!("asked again for the outcome of {first}")), "{pointed}");
    let shown = calls(&host, &["show", &call_id(&second)]).expect("remembered");
    assert_eq!((&shown["status"], &shown["reask_of"]), (&json!("unknown"), &json!(first)));
    let unknown = calls(&host, &["list", "--state", "unknown"]).expect("listed");
    assert_eq!(unknown["calls"].as_array().map(Vec::len), Some(1), "{unknown}");

    billing.restart();
    let settled = pay(&client, &invoice, "operator-0000003");
    settled.structured();
    let done = refused(&first);
    assert!(done.contains("it is done"), "{done}");
    let shown = calls(&host, &["show", &first]).expect("remembered");
    assert_eq!((&shown["status"], &shown["answered_by"]), (&json!("done"), &json!(call_id(&settled))));
    assert_eq!(shown["arguments"]["invoice_id"], json!(invoice));
    let shown = calls(&host, &["show", &call_id(&second)]).expect("remembered");
    assert_eq!(shown["status"], json!("done"), "what was asked for in vain is answered now");
}

#[test]
fn a_call_that_runs_is_listed_and_cannot_be_resolved() {
    let (slow, plugins) = (Billing::start(&["--latency", "60s"]), plugins(&["invoices"]));
    let host = patient(&slow, &plugins).start();
    let caller = std::thread::spawn({
        let client = host.client();
        move || pay(&client, "any", "operator-0000004")
    });
    wait_until_running(&host, 1);
    let deadline = Instant::now() + Duration::from_secs(30);
    // It counts as running a moment before its intent is durable.
    let running = loop {
        let running = calls(&host, &["list", "--state", "running"]).expect("listed");
        if let Some(call) = running["calls"][0]["call"].as_str() {
            break call.to_owned();
        }
        assert!(Instant::now() < deadline, "no call is listed");
    };
    let shown = calls(&host, &["show", &running]).expect("it runs");
    assert_eq!((&shown["status"], &shown["tool"], &shown["ended"]), (&json!("running"), &json!("pay_invoice"), &Value::Null));
    let refused = calls(&host, &["resolve", &running, "executed"]).expect_err("it runs");
    assert!(refused.contains("still running"), "{refused}");
    drop(host);
    assert!(caller.join().is_err(), "the host died before it could answer");
}

#[test]
fn a_long_list_comes_in_pages_and_each_call_once() {
    let (host, billing, _plugins) = demo(&["--lose-answers", "3"], "");
    let client = host.client();
    let lost: Vec<_> = (0..3).map(|n| call_id(&create(&client, &format!("operator-page-{n:02}")))).collect();
    let invoices = billing.open_invoices("u1");
    let paid: Vec<_> = (0..3).map(|n| call_id(&pay(&client, &invoices[n], &format!("operator-paid-{n:02}")))).collect();
    let all = |state: &[&str]| {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut arguments = [&["list", "--limit", "2"], state].concat();
            if let Some(after) = &after {
                arguments.extend(["--after", after]);
            }
            let page = calls(&host, &arguments).expect("listed");
            let on_page = page["calls"].as_array().expect("a list").clone();
            assert!(on_page.len() <= 2);
            found.extend(on_page.iter().map(|call| call["call"].as_str().expect("an id").to_owned()));
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return found,
            }
        }
    };
    assert_eq!(all(&["--state", "unknown"]), lost, "oldest first");
    assert_eq!(all(&["--state", "done"]), paid);
    assert_eq!(all(&[]), [lost, paid].concat());
    assert_eq!(all(&["--state", "released"]), Vec::<String>::new());
    let nowhere = calls(&host, &["list", "--after", "elsewhere"]).expect_err("it is no place");
    assert!(nowhere.contains("no place to go on from"), "{nowhere}");
}
