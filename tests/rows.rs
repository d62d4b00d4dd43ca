//! Least scope, row by row: what is not the caller's never leaves the host, and is never changed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Host, Started, plugins, tidegate};

/// A host that serves `names`, and a backend with these flags.
fn host(names: &[&str], config: &str, flags: &[&str]) -> (Started, Billing, tempfile::TempDir) {
    let billing = Billing::start(flags);
    let plugins = plugins(names);
    let host = Host::dev(plugins.path()).config(config).with(&["--backend", &format!("billing={}", billing.url)]);
    let host = if config.is_empty() { host } else { host.serve() };
    (host.start(), billing, plugins)
}

/// The bodies of the records of a stopped host's calls of `tool`, oldest first.
fn records(host: &Started, tool: &str) -> Vec<Value> {
    let listed = tidegate(&["audit", "list", "--output", "json", "--data", &host.data.display().to_string()]);
    assert!(listed.status.success(), "{listed:?}");
    let records: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let of_tool = |record: &&Value| record["body"]["tool"] == tool;
    let calls: Vec<_> = records.iter().filter(of_tool).map(|record| record["call"].clone()).collect();
    records.iter().filter(|record| calls.contains(&record["call"])).map(|record| record["body"].clone()).collect()
}

fn users(answer: &Answer) -> Vec<String> {
    let invoices = answer.structured()["invoices"].as_array().expect("a list");
    invoices.iter().map(|invoice| invoice["user_id"].as_str().expect("a user").to_owned()).collect()
}

#[test]
fn a_caller_gets_only_its_own_rows_though_the_backend_returns_everyones() {
    let (mut host, billing, _plugins) = host(&["invoices"], "", &["--ignore-filters"]);
    let client = host.client();
    let all = client.call("list_invoices", json!({}));
    assert!(users(&all).len() >= 3 && users(&all).iter().all(|user| user == "u1"), "{all:?}");
    assert!(!all.body.to_string().contains("\"u2\"") && !all.body.to_string().contains("\\\"u2\\\""), "not in the text either");
    let asked_for_theirs = client.call("list_invoices", json!({"user_id": "u2"}));
    assert!(users(&asked_for_theirs).iter().all(|user| user == "u1"));

    let theirs = billing.invoice_of("u2");
    let seen = client.call("get_invoice", json!({"invoice_id": theirs}));
    let absent = client.call("get_invoice", json!({"invoice_id": "inv_none"}));
    assert_eq!(seen.error(), "not_found");
    assert_eq!(seen.envelope()["message"], absent.envelope()["message"], "what is hidden looks like what is not there");

    host.stop("-TERM");
    let listed = records(&host, "list_invoices");
    let rows = &listed[1]["rows"];
    assert!(rows["allowed"].as_u64() >= Some(3) && rows["denied"].as_u64() >= Some(1), "{listed:?}");
    assert!(!listed[1].to_string().contains("\"u2\""), "the log holds what was delivered");
    assert_eq!(records(&host, "get_invoice")[1]["rows"]["denied"], 1);
}

#[test]
fn a_write_to_another_ones_row_sends_nothing_that_could_change_it() {
    let (mut host, billing, _plugins) = host(&["invoices"], "", &[]);
    let (client, theirs) = (host.client(), billing.invoice_of("u2"));
    let paid = client.call_keyed("pay_invoice", json!({"invoice_id": theirs}), "not-mine-0000001");
    assert_eq!((paid.error().as_str(), &paid.envelope()["effect"]), ("not_found", &json!("none")));
    let absent = client.call_keyed("pay_invoice", json!({"invoice_id": "inv_none"}), "not-there-000001");
    assert_eq!(paid.envelope()["message"], absent.envelope()["message"]);
    let new = json!({"user_id": "u2", "amount_cents": 100});
    let created = client.call_keyed("create_invoice", new, "not-mine-0000002");
    assert_eq!(created.error(), "permission_denied");
    assert!(billing.effects_on(&theirs).is_empty());
    let own = json!({"user_id": "u1", "amount_cents": 100});
    assert_eq!(client.call_keyed("create_invoice", own, "mine-00000000001").structured()["user_id"], "u1");

    host.stop("-TERM");
    let records = records(&host, "pay_invoice");
    assert_eq!(records[1]["permits"]["denied"], 1, "{records:?}");
    let methods: Vec<_> = records[1]["sent"].as_array().expect("what was sent").iter().map(|sent| &sent["method"]).collect();
    assert_eq!(methods, ["GET"]);
}

#[test]
fn a_guest_that_changes_without_asking_is_kept_from_it_and_its_success_is_not_believed() {
    let (host, billing, _plugins) = host(&["hostile"], "", &[]);
    let (client, before) = (host.client(), billing.open_invoices("u2").len());
    for (number, pretext) in [
        json!({}),
        json!({"resource": "things", "user_id": "u2"}),
        json!({"resource": "others", "user_id": "u1"}),
        json!({"resource": "nothing", "user_id": "u1"}),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = client.call_keyed("send_unasked", pretext.clone(), &format!("unasked-00000000{number}"));
        assert_eq!((answer.error().as_str(), &answer.envelope()["effect"]), ("permission_denied", &json!("none")), "{pretext}");
    }
    assert_eq!(billing.open_invoices("u2").len(), before);
    let own = json!({"resource": "things", "user_id": "u1"});
    let believed = client.call_keyed("send_unasked", own, "unasked-000000009");
    assert_eq!(believed.body["result"]["isError"], json!(false), "the host cannot know which row a guest changes: {believed:?}");
}

#[test]
fn rows_that_cannot_be_decided_are_not_delivered() {
    let (host, _billing, _plugins) = host(&["hostile"], "", &[]);
    let client = host.client();
    let own = json!({"user_id": "u1", "padding": "x"});
    let strange = json!([
        own, {"user_id": "u2", "padding": "x"}, {"user_id": "u1"}, {"padding": "x"}, {}, null, "u1", 7, [own],
        {"user_id": ["u1"], "padding": "x"}, {"user_id": "u1", "padding": 7}, {"USER_ID": "u1", "padding": "x"},
        {"user_id": "u1 ", "padding": "x"}, {"user_id": "u\u{200b}1", "padding": "x"},
    ]);
    let answer = client.call("answer_rows", json!({"rows": strange}));
    let delivered = &answer.structured()["rows"];
    assert_eq!(delivered, &json!([own]));
    for not_rows in [json!("all of them"), json!(true), json!(3)] {
        assert_eq!(client.call("answer_rows", json!({"rows": not_rows})).error(), "output_invalid", "{not_rows}");
    }
    assert_eq!(client.call("answer_rows", json!({"rows": {"user_id": "u2", "padding": ""}})).error(), "not_found");
    assert_eq!(client.call("answer_rows", json!({"rows": null})).error(), "not_found", "as if it were another's");
    let flood: Vec<Value> = vec![json!({"user_id": "u2", "padding": ""}); 10_001];
    assert_eq!(client.call("answer_rows", json!({"rows": flood})).error(), "output_invalid");
    assert_eq!(client.call("answer_rows", json!({"rows": flood[..5_000]})).structured(), &json!({"rows": []}));
}

#[test]
fn a_narrower_token_is_told_the_exact_scope_that_is_missing_and_a_broader_one_gets_no_more_rows() {
    const NEEDED: &str = "read:invoices.where(user_id=$principal.sub)";
    for (scopes, status) in [
        ("read:invoices", 200),
        ("read:invoices.where(user_id='u1')", 200),
        (NEEDED, 200),
        ("read:invoices.where(user_id='u2')", 403),
        ("read:invoices.where(user_id=$principal.sub,status='open')", 403),
        ("write:invoices", 403),
    ] {
        let config = format!("[auth.anonymous]\nsubject = \"u1\"\nscopes = [\"{scopes}\"]\n");
        let (host, _billing, _plugins) = host(&["invoices"], &config, &["--ignore-filters"]);
        let answer = host.client().call("list_invoices", json!({}));
        assert_eq!(answer.status, status, "{scopes}: {answer:?}");
        if status == 403 {
            let challenge = answer.headers["www-authenticate"].to_str().expect("text");
            assert!(challenge.contains(&format!("scope=\"{NEEDED}\"")), "{challenge}");
        } else {
            assert!(!users(&answer).is_empty() && users(&answer).iter().all(|user| user == "u1"), "{scopes}");
        }
    }
}

#[test]
fn a_limit_in_the_token_bounds_what_a_write_may_touch() {
    const SCOPE: &str = "write:invoices.where(user_id=$principal.sub,amount_cents<=$principal.pay_limit)";
    let billing = Billing::start(&[]);
    let plugins = plugins(&["invoices"]);
    let manifest = plugins.path().join("invoices/plugin.toml");
    let text =
        std::fs::read_to_string(&manifest).expect("readable").replace("write:invoices.where(user_id=$principal.sub)", SCOPE);
    std::fs::remove_file(&manifest).and_then(|()| std::fs::write(&manifest, text)).expect("writable");
    let pay = |claims: &str, invoice: &str, key: &str| {
        let config = format!("[auth.anonymous]\nsubject = \"u1\"\nscopes = [\"{SCOPE}\"]\nclaims = {claims}\n");
        let backend = format!("billing={}", billing.url);
        let host = Host::dev(plugins.path()).config(&config).with(&["--backend", &backend]).serve().start();
        host.client().call_keyed("pay_invoice", json!({"invoice_id": invoice}), key)
    };
    // The seed's first invoices of u1 are of 1250 and 4900 cents.
    let invoices = billing.open_invoices("u1");
    assert_eq!(pay("{ pay_limit = 2000 }", &invoices[1], "above-the-limit-1").error(), "not_found");
    assert_eq!(pay("{}", &invoices[1], "without-a-limit-1").error(), "not_found", "no limit is no permission");
    assert_eq!(pay("{ pay_limit = \"9999\" }", &invoices[1], "limit-in-words-01").error(), "not_found", "nor is a text a limit");
    assert!(billing.effects_on(&invoices[1]).is_empty());
    assert_eq!(pay("{ pay_limit = 2000 }", &invoices[0], "below-the-limit-1").structured()["status"], "paid");
}

#[test]
fn a_replay_is_decided_by_the_policies_of_its_own_moment() {
    let billing = Billing::start(&[]);
    let (plugins, policies) = (plugins(&["invoices"]), tempfile::tempdir().expect("a temporary folder"));
    let flags = ["--backend", &format!("billing={}", billing.url), "--policies", &policies.path().display().to_string()];
    let mut host = Host::dev(plugins.path()).with(&flags).start();
    let invoice = billing.invoice_of("u1");
    let pay = |host: &Started| host.client().call_keyed("pay_invoice", json!({"invoice_id": invoice}), "pay-then-wall-001");
    assert_eq!(pay(&host).structured()["status"], "paid");
    assert_eq!(pay(&host).structured()["status"], "paid");

    let wall = "@id(\"paid-is-past\")\nforbid (principal, action == Tidegate::Action::\"write:invoices\", resource)\n\
                when { resource.status == \"paid\" };\n";
    std::fs::write(policies.path().join("wall.cedar"), wall).expect("written");
    let deadline = Instant::now() + Duration::from_secs(60);
    let unseen = loop {
        let answer = pay(&host);
        if answer.body["result"]["isError"] == json!(true) {
            break answer;
        }
        assert!(Instant::now() < deadline, "the wall does not stand: {}", host.admin("/readyz").1);
    };
    assert_eq!((unseen.error().as_str(), &unseen.envelope()["effect"]), ("not_found", &json!("committed")));
    assert!(unseen.is_replayed());
    assert_eq!(billing.effects_on(&invoice).len(), 1);

    host.stop("-TERM");
    // Replays within a second are one record, with the rows of all of them.
    let records = records(&host, "pay_invoice");
    let told = |body: &&Value| body["code"] == "replayed" && body["rows"]["denied"].as_u64() >= Some(1);
    let policies = records.iter().find(told).map(|body| body["rows"]["policies"].to_string());
    assert!(policies.is_some_and(|policies| policies.contains("paid-is-past")), "{records:?}");
}
