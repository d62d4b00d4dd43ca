//! What compiled policies decide.

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn call(policies: &Policies, principal: &Principal, name: &str, value: Value) -> Verdict {
    policies.decide(principal, &tool(name), PolicyAction::Call(&arguments(value)), TRACE)
}

fn list(policies: &Policies, principal: &Principal, name: &str) -> Verdict {
    policies.decide(principal, &tool(name), PolicyAction::List, TRACE)
}

fn allowed_by(policies: &[&str]) -> Verdict {
    Verdict { decision: Decision::Allow, policies: policies.iter().map(ToString::to_string).collect(), ..Verdict::denied() }
}

fn denied_by(policies: &[&str]) -> Verdict {
    Verdict { decision: Decision::Deny, ..allowed_by(policies) }
}

fn with_wall(text: &str) -> Policies {
    Fixture::load().compile(&[file("walls.cedar", text)]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn whoever_holds_all_scopes_may_list_and_call() {
    let policies = Fixture::load().compile(&[]).expect("the fixture compiles");
    let all = principal(&["read:invoices", "write:invoices"]);
    let invoice = json!({ "invoice_id": "i1" });
    assert_eq!(call(&policies, &all, "pay_invoice", invoice.clone()), allowed_by(&["tidegate.call.pay_invoice"]));
    assert_eq!(list(&policies, &all, "pay_invoice"), allowed_by(&["tidegate.list.pay_invoice"]));

    let one = principal(&["write:invoices"]);
    assert_eq!(call(&policies, &one, "pay_invoice", invoice.clone()), denied_by(&[]));
    assert_eq!(list(&policies, &one, "pay_invoice"), denied_by(&[]));
    assert_eq!(call(&policies, &principal(&[]), "in", json!({})), allowed_by(&["tidegate.call.in"]));
}

#[test]
fn a_listing_shows_what_may_be_called_and_hides_what_scopes_cannot_open() {
    let wall = r#"@id("no-payments") forbid (principal, action, resource == Tidegate::Tool::"pay_invoice");"#;
    let policies = with_wall(wall);
    let reader = principal(&["read:invoices", "use:echo"]);
    let names: Vec<_> = policies.listed(&reader, TRACE).into_iter().map(ToolName::as_str).collect();
    assert_eq!(names, ["echo", "get_invoice", "in", "list_invoices"]);
    assert!(!policies.hides(&reader, &tool("create_invoice"), TRACE), "more scopes would open it");
    assert!(policies.hides(&reader, &tool("pay_invoice"), TRACE), "no scope opens it");
    assert!(policies.hides(&reader, &tool("no_such_tool"), TRACE));
}

#[test]
fn no_policy_means_denied() {
    let fixture = Fixture::load();
    let policies = Policies::compile(&fixture.subjects(), &[], GeneratedPermits::Off).expect("the fixture compiles");
    let all = principal(&["read:invoices", "write:invoices", "use:echo"]);
    assert_eq!(call(&policies, &all, "echo", json!({ "text": "hi" })), denied_by(&[]));
    assert!(policies.listed(&all, TRACE).is_empty());

    let permit = file("a.cedar", r#"@id("mine") permit (principal, action == Tidegate::Action::"echo", resource);"#);
    let policies = Policies::compile(&fixture.subjects(), &[permit], GeneratedPermits::Off).expect("the fixture compiles");
    assert_eq!(call(&policies, &principal(&[]), "echo", json!({ "text": "hi" })), allowed_by(&["mine"]));
    assert_eq!(list(&policies, &all, "echo"), denied_by(&[]), "the two decisions are separate");
}

#[test]
fn an_unknown_tool_is_denied() {
    let policies = Policies::compile(&[], &[], GeneratedPermits::On).expect("no plugin is fine");
    let verdict = call(&policies, &principal(&["use:echo"]), "echo", json!({ "text": "hi" }));
    assert_eq!((verdict.decision, verdict.errors.len()), (Decision::Deny, 1));
}

#[test]
fn a_forbid_that_fails_denies_and_says_nothing_of_the_values() {
    let policies = with_wall(
        r#"@id("overflows") forbid (principal, action == Tidegate::Action::"create_invoice", resource)
           when { context.input.amount_cents + 9223372036854775807 > 9223372036854775806 && context.input.user_id == "x" };"#,
    );
    let writer = principal(&["write:invoices"]);
    let with = |cents: i64| json!({ "user_id": "u1", "amount_cents": cents, "tags": [], "tax_rate": 0.5 });
    assert_eq!(call(&policies, &writer, "create_invoice", with(-7)).decision, Decision::Allow);
    let verdict = call(&policies, &writer, "create_invoice", with(4711));
    assert_eq!(verdict.decision, Decision::Deny);
    assert_eq!(verdict.policies, ["overflows"]);
    assert_eq!(verdict.errors, ["policy `overflows` failed: a number left the range of 64 bits"]);
}

#[test]
fn a_wall_on_an_argument_holds_at_its_edges() {
    let policies = with_wall(
        r#"@id("limit") forbid (principal, action == Tidegate::Action::"pay_invoice", resource)
           unless { context.input has amount_cents && context.input.amount_cents <= 100 };"#,
    );
    let payer = principal(&["read:invoices", "write:invoices"]);
    let pay = |value: Value| {
        let mut arguments = json!({ "invoice_id": "i1" });
        arguments["amount_cents"] = value;
        call(&policies, &payer, "pay_invoice", arguments)
    };
    assert_eq!(pay(json!(100)), allowed_by(&["tidegate.call.pay_invoice"]));
    assert_eq!(pay(json!(100.0)), allowed_by(&["tidegate.call.pay_invoice"]), "a whole float is an integer in JSON Schema");
    assert_eq!(pay(json!(101)), denied_by(&["limit"]));
    assert_eq!(pay(json!(null)), denied_by(&["limit"]), "null is absent");
    for beyond in [json!(9_223_372_036_854_775_808_u64), json!(1e300), json!(0.5)] {
        let verdict = pay(beyond);
        assert_eq!(verdict.decision, Decision::Deny);
        assert_eq!(verdict.errors, ["argument `/amount_cents` is not an integer of 64 bits"]);
    }
    // What no schema declares cannot reach a policy.
    let smuggled = json!({ "invoice_id": "i1", "amount_cents": 7, "amount_cents ": 1, "Amount_cents": 1 });
    assert_eq!(call(&policies, &payer, "pay_invoice", smuggled), allowed_by(&["tidegate.call.pay_invoice"]));
}

#[test]
fn arguments_that_no_policy_reads_are_checked_all_the_same() {
    let policies = Fixture::load().compile(&[]).expect("the fixture compiles");
    let payer = principal(&["read:invoices", "write:invoices"]);
    for (value, error) in [
        (json!({}), "argument `/invoice_id` is missing"),
        (json!({ "invoice_id": 1 }), "argument `/invoice_id` is not a string"),
        (json!({ "invoice_id": "i", "amount_cents": 1e19 }), "argument `/amount_cents` is not an integer of 64 bits"),
    ] {
        assert_eq!(call(&policies, &payer, "pay_invoice", value).errors, [error]);
    }
    let line =
        json!({ "user_id": "u", "amount_cents": 1, "tags": [], "tax_rate": 0.5, "lines": [{ "text": "a" }, { "text": 2 }] });
    let error = "argument `/lines/1/text` is not a string";
    assert_eq!(call(&policies, &principal(&["write:invoices"]), "create_invoice", line).errors, [error]);
}

#[test]
fn what_nests_deeply_is_denied_or_not_looked_at() {
    let policies = with_wall(
        r#"@id("tagged") forbid (principal, action == Tidegate::Action::"create_invoice", resource) when { context.input.tags.contains("x") };"#,
    );
    // As deep as the JSON parser lets anything be.
    let deep = (0..120).fold(json!("x"), |inner, _| json!([inner]));
    let writer = principal(&["write:invoices"]);
    let mut input = json!({ "user_id": "u", "amount_cents": 1, "tags": [], "tax_rate": 0.5, "extra": deep.clone() });
    assert_eq!(call(&policies, &writer, "create_invoice", input.clone()), allowed_by(&["tidegate.call.create_invoice"]));
    input["tags"] = deep.clone();
    assert_eq!(call(&policies, &writer, "create_invoice", input).errors, ["argument `/tags/0` is not a string"]);
}

#[test]
fn keys_that_look_like_others_do_not_dodge_a_wall() {
    let policies = with_wall(
        r#"@id("limit") forbid (principal, action == Tidegate::Action::"create_invoice", resource) when { context.input.amount_cents > 100 };"#,
    );
    let writer = principal(&["write:invoices"]);
    let fit = json!({ "user_id": "u", "amount_cents": 101, "tags": [], "tax_rate": 0.5 });
    for lookalike in ["amount_\u{441}ents", "amount_cents\u{200b}", "\u{ff41}mount_cents", "Amount_cents", "amount_cents "] {
        let mut both = fit.clone();
        both[lookalike] = json!(1);
        assert_eq!(call(&policies, &writer, "create_invoice", both.clone()), denied_by(&["limit"]), "{lookalike:?}");
        both.as_object_mut().expect("an object").remove("amount_cents");
        assert_eq!(call(&policies, &writer, "create_invoice", both).errors, ["argument `/amount_cents` is missing"]);
    }
}

#[test]
fn names_that_are_no_identifiers_work_from_end_to_end() {
    let policies = with_wall(
        r#"@id("odd") forbid (principal, action == Tidegate::Action::"files.read-all", resource in Tidegate::Plugin::"odd-names")
           unless {
             context.input["in"] == "here" &&
             context.input has "user-id" && context.input["user-id"] == "u1" &&
             context.input has "a.b" && context.input["a.b"] == 7 &&
             context.input has "__cedar" && context.input["__cedar"] &&
             context.input has "" && context.input[""] &&
             context.input has "type" && context.input["type"] == "a"
           };
           @id("in") forbid (principal, action == Tidegate::Action::"in", resource) when { principal.subject == "u2" };"#,
    );
    let reader = principal(&["read:credit-notes"]);
    let fits = json!({ "in": "here", "user-id": "u1", "a.b": 7, "__cedar": true, "": true, "type": "a" });
    assert_eq!(call(&policies, &reader, "files.read-all", fits.clone()), allowed_by(&["tidegate.call.files.read-all"]));
    for name in ["in", "user-id", "a.b", "__cedar", "", "type"] {
        let mut other = fits.clone();
        other[name] = match &fits[name] {
            Value::String(_) => json!("other"),
            Value::Bool(_) => json!(false),
            _ => json!(8),
        };
        assert_eq!(call(&policies, &reader, "files.read-all", other), denied_by(&["odd"]), "{name}");
    }
    let other = Principal { subject: "u2".to_owned(), ..reader };
    assert_eq!(call(&policies, &other, "in", json!({})), denied_by(&["in"]));
}

#[test]
fn lists_and_nested_objects_are_seen() {
    let policies = with_wall(
        r#"@id("business-only") forbid (principal, action == Tidegate::Action::"create_invoice", resource)
           unless { context.input.tags.contains("checked") && context.input has customer.business && context.input.customer.business };"#,
    );
    let writer = principal(&["write:invoices"]);
    let with = |tags: Value, customer: Value| {
        let value = json!({ "user_id": "u", "amount_cents": 1, "tags": tags, "tax_rate": 0.5, "customer": customer });
        call(&policies, &writer, "create_invoice", value).decision
    };
    assert_eq!(with(json!(["a", "checked"]), json!({ "name": "n", "business": true, "extra": [1.5] })), Decision::Allow);
    assert_eq!(with(json!(["a"]), json!({ "name": "n", "business": true })), Decision::Deny);
    assert_eq!(with(json!(["checked"]), json!({ "name": "n" })), Decision::Deny);
}

#[test]
fn claims_attributes_and_groups_of_tools_are_seen() {
    let policies = with_wall(
        r#"@id("finance-only") forbid (principal, action in Tidegate::Action::"call_tool", resource)
           when { resource.risk == Tidegate::Risk::"high" && resource.effect == Tidegate::Effect::"write" }
           unless { principal.hasTag("groups") && principal.getTag("groups").contains("finance") };
           @id("acme-only") forbid (principal, action in Tidegate::Action::"call_tool", resource in Tidegate::Plugin::"invoices")
           unless { principal has tenant && principal.tenant == "acme" };
           @id("verified-only") forbid (principal, action == Tidegate::Action::"create_invoice", resource)
           unless { principal.hasTag("email_verified") && principal.getTag("email_verified").contains("true") };"#,
    );
    let claims = json!({ "groups": ["staff", "finance", { "odd": 1 }], "email_verified": true, "address": {} });
    let payer = Principal {
        tenant: Some("acme".to_owned()),
        claims: serde_json::from_value(claims).expect("an object"),
        ..principal(&["read:invoices", "write:invoices"])
    };
    let invoice = json!({ "invoice_id": "i1" });
    let new = json!({ "user_id": "u", "amount_cents": 1, "tags": [], "tax_rate": 0.5 });
    assert_eq!(call(&policies, &payer, "pay_invoice", invoice.clone()), allowed_by(&["tidegate.call.pay_invoice"]));
    assert_eq!(call(&policies, &payer, "create_invoice", new.clone()), allowed_by(&["tidegate.call.create_invoice"]));
    let unclaimed = Principal { claims: BTreeMap::new(), ..payer.clone() };
    assert_eq!(call(&policies, &unclaimed, "pay_invoice", invoice.clone()), denied_by(&["finance-only"]));
    assert_eq!(call(&policies, &unclaimed, "create_invoice", new), denied_by(&["verified-only"]));
    assert_eq!(call(&policies, &unclaimed, "get_invoice", invoice.clone()), allowed_by(&["tidegate.call.get_invoice"]));
    let elsewhere = Principal { tenant: None, ..payer };
    assert_eq!(call(&policies, &elsewhere, "get_invoice", invoice), denied_by(&["acme-only"]));
}

#[test]
fn a_subject_is_somebody_else_under_another_issuer() {
    let policies = with_wall(r#"@id("not-u1") forbid (principal == Tidegate::User::"https://id.example|u1", action, resource);"#);
    let one = principal(&["use:echo"]);
    let other = Principal { issuer: "https://id.example.org".to_owned(), ..one.clone() };
    let forged = Principal { issuer: "https:".to_owned(), subject: "//id.example|u1".to_owned(), ..one.clone() };
    let echo = json!({ "text": "hi" });
    assert_eq!(call(&policies, &one, "echo", echo.clone()), denied_by(&["not-u1"]));
    assert_eq!(call(&policies, &other, "echo", echo.clone()).decision, Decision::Allow);
    assert_eq!(call(&policies, &forged, "echo", echo).decision, Decision::Allow);
    assert_eq!(names::global_id("a|b%", "c|d"), "a%7Cb%25|c|d");
}

#[test]
fn a_grant_says_what_was_allowed_by_whom() {
    let policies = Fixture::load().compile(&[]).expect("the fixture compiles");
    let text = arguments(json!({ "text": "hi" }));
    let grant = policies.authorize(&principal(&["use:echo"]), &tool("echo"), &text, TRACE).expect("the scope is held");
    assert_eq!(grant.tool(), &tool("echo"));
    assert_eq!(grant.policy(), policies.hash());
    assert_eq!(grant.verdict(), &allowed_by(&["tidegate.call.echo"]));
    let source = policies.source("tidegate.call.echo").expect("the verdict names a policy in force");
    assert_eq!(source.file, "<generated>");
    assert!(policies.generated_text().lines().nth(source.line - 1).is_some_and(|line| line.contains("tidegate.call.echo")));
    let denied = policies.authorize(&principal(&[]), &tool("echo"), &text, TRACE).expect_err("no scope is held");
    assert_eq!(denied, denied_by(&[]));
}

#[test]
fn the_shipped_policies_fit_any_set_of_plugins() {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let shipped = PolicyFile::read_folder(&shipped).expect("the folder can be read");
    let fixture = Fixture::load();
    let subjects = fixture.subjects();
    let echo = subjects.iter().find(|subject| subject.plugin == "echo").expect("the fixture has echo");
    for subjects in [&subjects[..], std::slice::from_ref(echo), &[]] {
        let policies = Policies::compile(subjects, &shipped, GeneratedPermits::On).unwrap_or_else(|error| panic!("{error}"));
        let nameless = Principal { subject: String::new(), ..principal(&["use:echo"]) };
        assert_eq!(call(&policies, &nameless, "echo", json!({ "text": "hi" })).decision, Decision::Deny);
    }
    let policies = fixture.compile(&shipped).expect("it compiles");
    assert_eq!(call(&policies, &principal(&["use:echo"]), "echo", json!({ "text": "hi" })), allowed_by(&["tidegate.call.echo"]));
}

#[test]
fn policies_are_shared_by_all_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Policies>();
}
