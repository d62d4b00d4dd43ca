//! Calls that were accepted and not finished when the host ended: the next one runs what waited, once, and tells of the rest.

use serde_json::json;

use super::{ONE_SLOT, Scene, handle, log, pending, poll, resolved, until};

#[test]
fn what_waited_when_the_host_was_killed_runs_once_on_the_next_and_what_ran_is_told_of() {
    let scene = Scene::new(ONE_SLOT);
    let mut host = scene.host().start();
    let invoices = scene.billing.open_invoices("u1");
    let running = scene.block(&host);
    let client = host.client();
    let pay = |client: &crate::harness::Client, n: usize| {
        client.call_keyed("pay_invoice", json!({"invoice_id": invoices[n]}), &format!("through-a-crash-{n}"))
    };
    let payments: Vec<String> = (0..3).map(|n| handle(&pay(&client, n))).collect();
    let echo = handle(&client.call("echo", json!({"text": "still there"})));
    host.kill();
    scene.billing.signal("-CONT");

    let mut host = scene.host().start();
    let client = host.client();
    assert_eq!(poll(&client, &running).error(), "interrupted");
    for (n, payment) in payments.iter().enumerate() {
        let paid = resolved(&client, payment);
        assert_eq!(paid.structured()["status"], "paid", "{}", paid.body);
        let again = pay(&client, n);
        assert!(again.is_replayed() && again.structured() == paid.structured());
    }
    assert_eq!(resolved(&client, &echo).structured(), &json!({"text": "still there"}));
    assert_eq!(scene.billing.payments().len(), payments.len());
    assert!(host.stop("-TERM").success());
    log(&host);
}

#[test]
fn a_write_that_ran_when_the_host_was_killed_is_unknown_and_not_run_again() {
    let scene = Scene::new(ONE_SLOT);
    let mut host = scene.host().start();
    let invoice = scene.billing.open_invoices("u1").remove(0);
    scene.billing.signal("-STOP");
    let pay = host.client().call_keyed("pay_invoice", json!({"invoice_id": invoice}), "cut-off-in-flight");
    assert_eq!(pending(&pay)["state"], "running");
    let pay = handle(&pay);
    host.kill();
    scene.billing.signal("-CONT");
    let host = scene.host().start();
    assert_eq!(poll(&host.client(), &pay).error(), "outcome_unknown");
}

#[test]
fn a_host_that_is_told_to_stop_keeps_the_queue_for_the_next_one() {
    let scene = Scene::new("[admission]\nslots = 1\nsync_budget = \"60s\"\n");
    let mut host = scene.host().start();
    let invoice = scene.billing.open_invoices("u1").remove(0);
    scene.billing.signal("-STOP");
    let (running, waiting) = std::thread::scope(|scope| {
        let running = scope.spawn(|| host.client().call("list_invoices", json!({"user_id": "u1"})));
        until("it runs", || host.readiness()["running"] == 1);
        let pay = || host.client().call_keyed("pay_invoice", json!({"invoice_id": invoice}), "over-to-the-next");
        let waiting = scope.spawn(pay);
        until("it waits", || host.readiness()["queued"] == 1);
        host.signal("-TERM");
        // Whoever waits is told so at once; what runs is waited for.
        let waiting = waiting.join().expect("it is answered");
        scene.billing.signal("-CONT");
        (running.join().expect("it is answered"), waiting)
    });
    assert!(running.structured()["invoices"].is_array());
    let waiting = handle(&waiting);
    assert!(host.ended().success(), "{}", host.log());
    assert_eq!(scene.billing.payments().len(), 0);

    let host = scene.host().start();
    assert_eq!(resolved(&host.client(), &waiting).structured()["status"], "paid");
    assert_eq!(scene.billing.payments().len(), 1);
}

#[test]
fn a_queued_call_is_not_run_with_a_tool_that_changed_under_it() {
    let scene = Scene::new(ONE_SLOT);
    let mut host = scene.host().start();
    scene.block(&host);
    let echo = handle(&host.client().call("echo", json!({"text": "as it was"})));
    host.kill();
    scene.billing.signal("-CONT");
    // What callers go by: another description.
    let component = std::fs::read_dir(scene.plugins.path().join("echo")).expect("the plugin is there");
    let component = component.map(|file| file.expect("readable").path()).find(|path| path.extension() == Some("wasm".as_ref()));
    let component = component.expect("the component is there");
    let mut bytes = std::fs::read(&component).expect("readable");
    let (text, other) = (b"Returns the given text unchanged", b"Returns the given text backwards");
    let at = bytes.windows(text.len()).position(|window| window == text).expect("its description");
    bytes[at..at + text.len()].copy_from_slice(other);
    std::fs::remove_file(&component).expect("it is there");
    std::fs::write(&component, bytes).expect("it can be written");
    let host = scene.host().start();
    assert_eq!(resolved(&host.client(), &echo).error(), "tool_changed");
}

#[test]
fn a_queued_call_is_authorized_again_when_it_starts() {
    let scene = Scene::new(ONE_SLOT);
    let policies = scene.data.path().join("policies");
    std::fs::create_dir(&policies).expect("it can be made");
    let config = format!("[policies]\npath = \"{}\"\n", policies.display());
    let mut host = scene.host().with_config(&config).start();
    scene.block(&host);
    let echo = handle(&host.client().call("echo", json!({"text": "no more"})));
    host.kill();
    scene.billing.signal("-CONT");
    let wall = "@id(\"no-echo\")\nforbid (principal, action == Tidegate::Action::\"echo\", resource);\n";
    std::fs::write(policies.join("wall.cedar"), wall).expect("it can be written");
    let host = scene.host().with_config(&config).start();
    assert_eq!(resolved(&host.client(), &echo).error(), "permission_denied");
}
