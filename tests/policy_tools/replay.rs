//! `policy replay`: recorded calls decided again under other policies; exactly the flips are listed, and nothing is guessed.

use serde_json::{Value, json};

use super::{path, policy, policy_json};
use crate::harness::{Billing, Client, Host, plugins};

const BEFORE: &str = "@id(\"no-secrets\")\nforbid (principal, action == Tidegate::Action::\"echo\", resource)\n\
    when { context.input.text like \"*secret*\" };\n";

const AFTER: &str = "@id(\"no-greetings\")\nforbid (principal, action == Tidegate::Action::\"echo\", resource)\n\
    when { context.input.text like \"hello*\" };\n";

const UNLISTED: &str = "@id(\"no-list\")\nforbid (principal, action == Tidegate::Action::\"list_tool\", resource);\n";

const BY_CLAIM: &str = "@id(\"eu-only\")\nforbid (principal, action == Tidegate::Action::\"echo\", resource)\n\
    when { principal.hasTag(\"region\") && principal.getTag(\"region\").contains(\"us\") };\n";

#[test]
fn replay_lists_exactly_the_flips_and_what_it_cannot_tell() {
    let (plugins, dir) = (plugins(&["echo"]), tempfile::tempdir().expect("a temporary folder"));
    let folder = |name: &str, text: &str| {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).expect("writable");
        std::fs::write(folder.join("walls.cedar"), text).expect("writable");
        folder
    };
    let (before, after, by_claim) = (folder("before", BEFORE), folder("after", AFTER), folder("by-claim", BY_CLAIM));
    let mut host = Host::dev(plugins.path()).with(&["--policies", path(&before)]).start();
    let ann = host.caller(&json!({"subject": "ann", "claims": {"region": "us"}}));
    let bob = host.caller(&json!({"subject": "bob"}));
    let poor = host.caller(&json!({"subject": "poor", "scopes": []}));
    let echo = |client: &Client, text: &str| client.call("echo", json!({ "text": text }));
    for text in ["hello", "hello again", "plain"] {
        echo(&ann, text).structured();
    }
    echo(&bob, "hello").structured();
    assert_eq!(echo(&bob, "a secret").error(), "permission_denied");
    assert_eq!(echo(&ann, "hello, secret").error(), "permission_denied");
    assert_eq!(echo(&poor, "hello").status, 403);

    let data = host.data.clone();
    let replay = |candidate: &std::path::Path| {
        let flags = ["replay", "--candidate", path(candidate), "--plugins", path(plugins.path()), "--data"];
        policy_json(&[&flags[..], &[path(&data)]].concat())
    };
    let flags = ["replay", "--candidate", path(&after), "--plugins", path(plugins.path()), "--data", path(&data)];
    let (code, _, said) = policy(&flags);
    assert!(code == 1 && said.contains("stop it first"), "{said}");
    assert!(host.stop("-TERM").success());

    let (code, same) = replay(&before);
    assert_eq!((code, &same["flips"], &same["undecided"], &same["decided"]), (0, &json!([]), &json!([]), &json!(7)), "{same}");

    let (code, report) = replay(&after);
    assert_eq!((code, &report["decided"], &report["unchanged"], &report["undecided"]), (1, &json!(7), &json!(3), &json!([])));
    let told: Vec<Value> = report["flips"]
        .as_array()
        .expect("flips")
        .iter()
        .map(|flip| json!([flip["change"], flip["subject"], flip["count"], flip["before"], flip["after"]]))
        .collect();
    let permit = &report["flips"][0]["before"];
    let expected = [
        json!(["allow -> deny", "ann", 2, permit, ["no-greetings"]]),
        json!(["allow -> deny", "bob", 1, permit, ["no-greetings"]]),
        json!(["deny -> allow", "bob", 1, ["no-secrets"], permit]),
    ];
    assert_eq!(told, expected);
    assert_eq!(report["flips"][0]["calls"].as_array().map(Vec::len), Some(2));
    let (code, table, _) = policy(&flags);
    assert!(code == 1 && table.contains("7 decisions made again: 4 come out differently, 3 as they were"), "{table}");
    assert!(table.contains("rows are not decided again"), "{table}");

    // Whoever must not see a tool can't call it either, whatever is said about its calls.
    let unlisted = folder("unlisted", UNLISTED);
    let (code, report) = replay(&unlisted);
    let flips = report["flips"].as_array().expect("flips");
    assert!(code == 1 && flips.iter().all(|flip| flip["change"] == "allow -> deny"), "{report}");
    assert_eq!(flips[0]["after"], json!(["hidden", "no-list"]));

    // The policies in force did not look at the region, so it was not recorded: nothing is guessed.
    let (code, report) = replay(&by_claim);
    assert_eq!(code, 1, "what is known flips: {report}");
    let undecided = &report["undecided"][0];
    assert_eq!((&undecided["tool"], &undecided["count"]), (&json!("echo"), &json!(4)));
    assert!(undecided["why"].as_str().expect("a reason").contains("claim `region`"), "{undecided}");
    assert_eq!(report["flips"].as_array().map(Vec::len), Some(1), "bob's secret would be let through: {report}");

    // Nothing flips of what can be told, which is not the same as nothing would.
    let both = folder("both", &format!("{BEFORE}{BY_CLAIM}"));
    let (code, report) = replay(&both);
    assert_eq!((code, &report["flips"], &report["undecided"][0]["count"]), (2, &json!([]), &json!(4)), "{report}");
    assert!(report["rows"].as_str().expect("text").contains("not decided again"), "{report}");
    assert_eq!(report["given_again"], json!(0));

    // Under policies that look at it, it is recorded, and the decision can be made again.
    let mut host = Host::dev(plugins.path()).with(&["--policies", path(&by_claim)]).on(&data).start();
    let ann = host.caller(&json!({"subject": "ann", "claims": {"region": "us"}}));
    assert_eq!(echo(&ann, "plain").error(), "permission_denied");
    assert!(host.stop("-TERM").success());
    let flags = ["replay", "--candidate", path(&by_claim), "--plugins", path(plugins.path()), "--data", path(&data)];
    let (_, report) = policy_json(&flags);
    assert_eq!((&report["undecided"][0]["count"], &report["decided"]), (&json!(4), &json!(4)), "{report}");
    let (_, recent) = policy_json(&[&flags[..], &["--since", "0s"]].concat());
    assert_eq!(recent["decided"], json!(0), "{recent}");
}

#[test]
fn a_call_of_a_hidden_tool_is_decided_again_like_any_other() {
    const HIDDEN: &str = "@id(\"no-echo\")\nforbid (principal, action, resource == Tidegate::Tool::\"echo\");\n";
    let (plugins, dir) = (plugins(&["echo"]), tempfile::tempdir().expect("a temporary folder"));
    let (hidden, shown) = (dir.path().join("hidden"), dir.path().join("shown"));
    for (folder, text) in [(&hidden, HIDDEN), (&shown, BEFORE)] {
        std::fs::create_dir(folder).expect("writable");
        std::fs::write(folder.join("walls.cedar"), text).expect("writable");
    }
    let mut host = Host::dev(plugins.path()).with(&["--policies", path(&hidden)]).start();
    let answer = host.client().call("echo", json!({"text": "hello"}));
    assert_eq!(answer.body["error"]["code"], json!(-32602), "there is no such tool, as far as the caller knows: {answer:?}");
    assert_eq!(host.client().call("ecko", json!({})).body["error"]["code"], json!(-32602));
    assert!(host.stop("-TERM").success());
    let flags = ["replay", "--candidate", path(&shown), "--plugins", path(plugins.path()), "--data", path(&host.data)];
    let (code, report) = policy_json(&flags);
    assert_eq!((code, &report["decided"], &report["undecided"]), (1, &json!(1), &json!([])), "{report}");
    assert_eq!((&report["flips"][0]["change"], &report["flips"][0]["tool"]), (&json!("deny -> allow"), &json!("echo")));
}

#[test]
fn an_answer_given_again_by_key_is_counted_and_not_decided_twice() {
    let (billing, plugins) = (Billing::start(&[]), plugins(&["invoices"]));
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("none.cedar"), "// nothing\n").expect("writable");
    let mut host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
    let (client, invoice) = (host.client(), billing.open_invoices("u1").remove(0));
    for _ in 0..3 {
        client.call_keyed("pay_invoice", json!({ "invoice_id": invoice }), "replay-once-0001").structured();
    }
    assert!(host.stop("-TERM").success());
    let flags = ["replay", "--candidate", path(dir.path()), "--plugins", path(plugins.path()), "--data", path(&host.data)];
    let (code, report) = policy_json(&flags);
    assert_eq!((code, &report["decided"], &report["given_again"]), (0, &json!(1), &json!(2)), "{report}");
}
