//! `policy check`, `explain`, `test` and `status`: exit codes and words.

use std::path::PathBuf;

use serde_json::json;

use super::{path, policy, policy_json};
use crate::harness::plugins;

const WALLS: &str = "@id(\"no-large-invoices\")\n@description(\"Large sums are signed by hand.\")\n\
    forbid (principal, action == Tidegate::Action::\"create_invoice\", resource)\n\
    when { context.input.amount_cents > 100000 };\n\n\
    @id(\"echo-for-staff\")\nforbid (principal, action == Tidegate::Action::\"list_tool\", \
    resource == Tidegate::Tool::\"echo\")\nunless { principal in Tidegate::Group::\"https://id.example.com|staff\" };\n\n\
    @id(\"trial\")\n@mode(\"shadow\")\nforbid (principal, action == Tidegate::Action::\"list_invoices\", resource);\n";

/// Built plugins, and a folder of policies over them.
struct World {
    plugins: tempfile::TempDir,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { plugins: plugins(&["echo", "invoices"]), dir: tempfile::tempdir().expect("a temporary folder") };
        world.write("walls.cedar", WALLS);
        world
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }

    fn flags(&self) -> [&str; 4] {
        ["--plugins", path(self.plugins.path()), "--policies", path(self.dir.path())]
    }
}

#[test]
fn check_takes_good_policies_and_names_every_fault_of_others() {
    let world = World::new();
    let (code, good) = policy_json(&[&["check"], &world.flags()[..]].concat());
    assert_eq!((code, &good["ok"], &good["problems"]), (0, &json!(true), &json!([])));
    assert_eq!(good["hash"].as_str().map(str::len), Some(64));
    let (code, table, _) = policy(&[&["check"], &world.flags()[..]].concat());
    assert!(code == 0 && table.starts_with("good: 1 policy files"), "{table}");

    world.write("walls.cedar", &WALLS.replace("amount_cents", "amuont_cents").replace("@id(\"trial\")\n", ""));
    let (code, refused) = policy_json(&[&["check"], &world.flags()[..]].concat());
    let problems = refused["problems"].as_array().expect("problems");
    assert_eq!((code, &refused["ok"]), (1, &json!(false)));
    let without_id = problems.iter().find(|problem| problem["line"] == 10).unwrap_or_else(|| panic!("{problems:?}"));
    assert!(without_id["file"].as_str().expect("a file").ends_with("walls.cedar"));
    assert!(without_id["message"].as_str().expect("a message").contains("`@id`"));

    world.write("walls.cedar", &WALLS.replace("amount_cents", "amuont_cents"));
    let (code, _, said) = policy(&[&["check"], &world.flags()[..]].concat());
    assert!(code == 1 && said.contains("walls.cedar:4:") && said.contains("amuont_cents"), "{said}");

    // A folder with a broken manifest is no folder that can be checked, and programs are told so in their own way.
    let broken = world.dir.path().join("broken");
    std::fs::create_dir(&broken).expect("writable");
    std::fs::write(broken.join("plugin.toml"), "name = 'x'\ncontract = \n").expect("writable");
    let (code, refused) = policy_json(&["check", "--plugins", path(&broken)]);
    let problem = &refused["problems"][0];
    assert_eq!((code, &refused["ok"], &problem["line"]), (1, &json!(false), &json!(2)), "{refused}");
    assert!(problem["file"].as_str().expect("a file").ends_with("plugin.toml"), "{refused}");

    let nowhere = world.dir.path().join("nowhere");
    let (code, _, said) = policy(&["check", "--plugins", path(world.plugins.path()), "--policies", path(&nowhere)]);
    assert!(code == 1 && said.contains("cannot be read"), "{said}");
}

#[test]
fn explain_tells_what_is_missing_what_decided_and_which_rows_pass() {
    let world = World::new();
    let explain = |further: &[&str]| policy(&[&["explain"], further, &world.flags()[..]].concat());
    let (code, said, _) = explain(&["--as", "u1", "--tool", "list_invoices"]);
    assert_eq!(code, 1);
    let scope = "read:invoices.where(user_id=$principal.sub)";
    assert!(said.contains(&format!("put this into the token's `scope`: {scope}")), "{said}");

    let (code, said, _) = explain(&["--as", "u1", "--tool", "list_invoices", "--scope", "read:invoices"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("rows      invoices: rows where user_id = 'u1'"), "{said}");
    assert!(said.contains("if the policies on trial counted, the call would be denied by trial"), "{said}");

    let pay = ["--as", "u1", "--tool", "create_invoice", "--scope", "write:invoices", "--args"];
    let large = json!({"user_id": "u1", "amount_cents": 100_001, "description": "x"}).to_string();
    let (code, said, said_too) = explain(&[&pay[..], &[&large]].concat());
    assert!(code == 1 && said.contains("walls.cedar:1 forbid `no-large-invoices`: matches"), "{said}{said_too}");
    assert!(said.contains("Large sums are signed by hand."), "{said}");
    let small = large.replace("100001", "1").replace('}', ", \"idempotency_key\": \"k-1\"}");
    let (code, explained) = policy_json(&[&["explain"], &pay[..], &[&small], &world.flags()[..]].concat());
    assert_eq!((code, &explained["allowed"]), (0, &json!(true)), "{explained}");

    let staff = ["--as", "u1", "--issuer", "https://id.example.com", "--tool", "echo", "--scope", "use:echo"];
    let echo = [&staff[..], &["--args", "{\"text\": \"hello\"}"]].concat();
    let (code, said, said_too) = explain(&echo);
    assert!(code == 1 && said.starts_with("denied: the tool is hidden"), "its call alone would be allowed: {said}{said_too}");
    let (code, said, _) = explain(&[&echo[..], &["--group", "staff"]].concat());
    assert_eq!(code, 0, "{said}");

    let (code, _, said) = explain(&["--as", "u1", "--tool", "list_invoice"]);
    assert!(code == 1 && said.contains("did you mean `list_invoices`?"), "{said}");
    let (code, _, said) = explain(&["--as", "u1", "--tool", "list_invoices", "--args", "{\"user\": 1}"]);
    assert!(code == 1 && said.contains("refused by the tool's schema"), "{said}");
}

const CASES: &str = r#"
[[case]]
name = "everybody sees their own invoices, and no others"
as = { subject = "u1", scopes = ["read:invoices"] }
tool = "list_invoices"
expect = "allow"
rows = [
    { resource = "invoices", row = { user_id = "u1", status = "open", amount_cents = 5 }, expect = "allow" },
    { resource = "invoices", row = { user_id = "u2", status = "open", amount_cents = 5 }, expect = "deny" },
]

[[case]]
name = "large sums are refused"
as = { subject = "u1", scopes = ["write:invoices"] }
tool = "create_invoice"
args = { user_id = "u1", amount_cents = 100001, description = "x", idempotency_key = "k-1" }
expect = "deny"
by = ["no-large-invoices"]

[[case]]
name = "nothing without a scope"
as = { subject = "u1" }
tool = "get_invoice"
args = { invoice_id = "inv-1" }
expect = "insufficient_scope"

[[case]]
name = "echo is hidden from all but staff"
as = { subject = "u1", scopes = ["use:echo"], issuer = "https://id.example.com" }
tool = "echo"
args = { text = "hello" }
expect = "hidden"
by = ["echo-for-staff"]

[[case]]
name = "staff may echo"
as = { subject = "u1", scopes = ["use:echo"], issuer = "https://id.example.com", groups = ["staff"] }
tool = "echo"
args = { text = "hello" }
expect = "allow"
"#;

#[test]
fn test_holds_policies_to_cases_and_says_where_they_fail() {
    let world = World::new();
    let run = || policy(&[&["test"], &world.flags()[..]].concat());
    let (code, _, said) = run();
    assert!(code == 1 && said.contains("cases.test.toml"), "where to write the first case: {said}");

    world.write("cases.test.toml", CASES);
    let (code, said, said_too) = run();
    assert!(code == 0 && said.contains("5 passed, 0 failed"), "{said}{said_too}");

    let wrong = CASES
        .replace("expect = \"hidden\"", "expect = \"allow\"")
        .replace("user_id = \"u2\", status", "user_id = \"u1\", status")
        .replace("by = [\"no-large-invoices\"]", "by = [\"no-large-invoices\", \"trial\"]");
    let file = world.write("cases.test.toml", &wrong);
    let (code, said, _) = run();
    assert!(code == 1 && said.contains("2 passed, 3 failed"), "{said}");
    for expected in
        ["cases.test.toml:28 echo is hidden", "expected allow, got hidden", "row 2 (line 9): expected deny, got allow"]
    {
        assert!(said.contains(expected), "{expected}:\n{said}");
    }
    let (code, report) = policy_json(&[&["test", path(&file)], &world.flags()[..]].concat());
    assert_eq!((code, &report["failed"], &report["cases"][3]["got"]), (1, &json!(3), &json!("hidden")));

    for (from, to, place) in [
        ("tool = \"echo\"", "tool = \"ecko\"", "cases.test.toml:30:8: no loaded plugin has a tool `ecko`; did you mean `echo`?"),
        ("expect = \"hidden\"", "expcet = \"hidden\"", "cases.test.toml:32:1: unknown field `expcet`"),
        (
            "resource = \"invoices\"",
            "resource = \"invoicse\"",
            "cases.test.toml:8:18: no tool needs a scope for rows of `invoicse`",
        ),
        ("resource = \"invoices\"", "resource = \"invoicse\"", "did you mean `invoices`?"),
        ("user_id = \"u2\", status", "user_id = 2, status", "row 2 (line 9): denied by an error rather than by a policy"),
        ("no-large-invoices", "no-large-invoice", "did you mean `no-large-invoices`?"),
    ] {
        world.write("cases.test.toml", &CASES.replacen(from, to, 1));
        let (code, told, refused) = run();
        let said = told + &refused;
        assert!(code == 1 && said.contains(place), "{place}:\n{said}");
    }
}

#[test]
fn status_of_no_host_says_how_to_get_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (code, _, said) = policy(&["status", "--data", path(dir.path())]);
    assert!(code == 1 && said.contains("no host answers") && said.contains("--data DIR"), "{said}");
}
