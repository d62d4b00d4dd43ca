//! What a handle is good for: the answer, once; calling off; nothing for anybody else.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ONE_SLOT, Scene, handle, log, pending, poll, resolved, until};

#[test]
fn a_call_that_outlasts_its_callers_patience_goes_on_and_is_answered_by_its_handle() {
    let scene = Scene::new("[admission]\nsync_budget = \"100ms\"\n");
    let host = scene.host().start();
    let handle = scene.block(&host);
    let client = host.client();
    let waiting = poll(&client, &handle);
    assert_eq!((&pending(&waiting)["state"], &pending(&waiting)["call_id"]), (&json!("running"), &json!(handle)));
    assert!(pending(&waiting)["retry_after_seconds"].as_u64() >= Some(1));
    scene.billing.signal("-CONT");
    let answer = resolved(&client, &handle);
    let invoices = answer.structured()["invoices"].as_array().expect("a list").clone();
    assert!(invoices.len() >= 3 && invoices.iter().all(|invoice| invoice["user_id"] == "u1"));
    assert_eq!(answer.body["result"]["_meta"]["dev.tidegate/call-id"], handle);
    // As often as one likes.
    assert_eq!(poll(&client, &handle).structured(), answer.structured());
}

#[test]
fn a_call_that_has_to_wait_is_queued_and_runs_when_its_turn_comes() {
    let scene = Scene::new(ONE_SLOT);
    let host = scene.host().start();
    let blocking = scene.block(&host);
    let client = host.client();
    let echo = client.call("echo", json!({"text": "later"}));
    assert_eq!(pending(&echo)["state"], "queued");
    let echo = handle(&echo);
    assert_eq!(pending(&poll(&client, &echo))["state"], "queued");
    scene.billing.signal("-CONT");
    assert_eq!(resolved(&client, &echo).structured(), &json!({"text": "later"}));
    resolved(&client, &blocking);
}

#[test]
fn callers_of_one_tool_are_answered_in_the_order_they_came() {
    let scene = Scene::new(ONE_SLOT);
    let mut host = scene.host().start();
    scene.block(&host);
    let client = host.client();
    let handles: Vec<String> = (0..8).map(|n| handle(&client.call("echo", json!({"text": n.to_string()})))).collect();
    scene.billing.signal("-CONT");
    handles.iter().for_each(|handle| drop(resolved(&client, handle)));
    assert!(host.stop("-TERM").success());
    assert_eq!(log(&host).runs_of("echo"), handles);
}

#[test]
fn a_handle_is_good_for_nobody_else_and_looks_to_them_like_none() {
    let scene = Scene::new(ONE_SLOT);
    let host = scene.host().start();
    let blocking = scene.block(&host);
    let other = host.caller(&json!({"subject": "u2", "scopes": ["use:echo", "read:invoices"]}));
    let unknown = "call_00000000000000000000000000000000";
    let strip = |answer: crate::harness::Answer, handle: &str| {
        let mut envelope = answer.envelope();
        envelope.as_object_mut().expect("an object").remove("trace_id");
        envelope.to_string().replace(handle, "…")
    };
    assert_eq!(poll(&other, &blocking).error(), "not_found");
    assert_eq!(strip(poll(&other, &blocking), &blocking), strip(poll(&other, unknown), unknown));
    scene.billing.signal("-CONT");
    resolved(&host.client(), &blocking);
    assert_eq!(strip(poll(&other, &blocking), &blocking), strip(poll(&other, unknown), unknown));
}

#[test]
fn whoever_comes_with_the_key_of_a_call_that_waits_gets_its_handle_and_no_second_effect() {
    let scene = Scene::new(ONE_SLOT);
    let host = scene.host().start();
    let invoice = scene.billing.open_invoices("u1").remove(0);
    scene.block(&host);
    let pay = || host.client().call_keyed("pay_invoice", json!({"invoice_id": invoice}), "wait-for-it-00001");
    let (first, second) = (pay(), pay());
    assert_eq!(handle(&first), handle(&second));
    scene.billing.signal("-CONT");
    let paid = resolved(&host.client(), &handle(&first));
    assert_eq!(pay().structured(), paid.structured());
    assert_eq!(scene.billing.effects_on(&invoice).len(), 1);
}

#[test]
fn a_queued_call_that_is_called_off_does_not_run_and_its_key_is_free_again() {
    let scene = Scene::new(ONE_SLOT);
    let host = scene.host().start();
    let invoice = scene.billing.open_invoices("u1").remove(0);
    let blocking = scene.block(&host);
    let (client, key) = (host.client(), "called-off-000001");
    let first = handle(&client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), key));
    let url = format!("{}/v1/calls/{first}", host.mcp.trim_end_matches("/mcp"));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    assert_eq!(agent.delete(&url).call().expect("it answers").status(), 202);
    assert_eq!(resolved(&client, &first).error(), "cancelled");
    assert_eq!(agent.delete(&url).call().expect("it answers").status(), 409, "it has ended");
    let second = client.call_keyed("pay_invoice", json!({"invoice_id": invoice}), key);
    assert_ne!(handle(&second), first);
    scene.billing.signal("-CONT");
    resolved(&client, &handle(&second)).structured();
    assert_eq!(scene.billing.effects_on(&invoice).len(), 1);
    resolved(&client, &blocking);
    assert_eq!(agent.delete(&url).call().expect("it answers").status(), 409);
}

#[test]
fn a_caller_who_goes_away_before_it_was_told_of_a_handle_leaves_nothing_behind() {
    let scene = Scene::new("[admission]\nslots = 1\nsync_budget = \"30s\"\n");
    let mut host = scene.host().start();
    scene.billing.signal("-STOP");
    let impatient = |tool: &str, arguments: Value| {
        let client = host.client().with_patience(Duration::from_millis(300));
        let call = json!({"name": tool, "arguments": arguments});
        assert!(client.try_request_with("tools/call", call, &[]).is_err(), "it has to wait");
    };
    impatient("list_invoices", json!({"user_id": "u1"}));
    impatient("echo", json!({"text": "gone"}));
    until("nobody waits", || host.readiness()["queued"] == 0);
    scene.billing.signal("-CONT");
    assert_eq!(host.client().call("echo", json!({"text": "here"})).structured(), &json!({"text": "here"}));
    assert!(host.stop("-TERM").success());
    assert_eq!(log(&host).runs_of("echo").len(), 1, "nothing is run for the one who went away");
}

#[test]
fn an_answer_is_forgotten_when_its_time_is_over() {
    let scene = Scene::new("[admission]\nsync_budget = \"0s\"\n[ledger]\nkeep_answers = \"1s\"\n");
    let host = scene.host().start();
    let client = host.client();
    let handle = handle(&client.call("echo", json!({"text": "soon gone"})));
    resolved(&client, &handle);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(poll(&client, &handle).error(), "not_found");
}

#[test]
fn rows_of_an_answer_that_is_asked_for_later_are_decided_anew() {
    let scene = Scene::new("[admission]\nsync_budget = \"0s\"\n");
    let policies = scene.data.path().join("policies");
    std::fs::create_dir(&policies).expect("it can be made");
    let host = scene.host().with_config(&format!("[policies]\npath = \"{}\"\n", policies.display())).start();
    let client = host.client();
    let listed = handle(&client.call("list_invoices", json!({"user_id": "u1"})));
    let before = resolved(&client, &listed).structured()["invoices"].as_array().expect("a list").len();
    let wall = "@id(\"open-ones-only\")\n\
        forbid (principal, action == Tidegate::Action::\"read:invoices\", resource) when { resource.status != \"open\" };\n";
    std::fs::write(policies.join("wall.cedar"), wall).expect("it can be written");
    until("the wall stands", || {
        let answer = poll(&client, &listed);
        !answer.is_pending()
            && answer.body["result"]["structuredContent"]["invoices"].as_array().is_some_and(|rows| rows.len() < before)
    });
}
