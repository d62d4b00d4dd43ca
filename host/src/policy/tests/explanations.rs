//! What admins are told: why a call is decided as it is, what only watches, and what decisions depend on.

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn compile(admin: &str) -> Arc<Policies> {
    Arc::new(Fixture::load().compile(&[file("walls.cedar", admin)]).unwrap_or_else(|error| panic!("{error}")))
}

fn explain(policies: &Arc<Policies>, principal: &Principal, name: &str, input: Value) -> Explanation {
    policies.explain(principal, &tool(name), &arguments(input)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_missing_scope_is_named_with_what_is_held_beyond() {
    let policies = compile("");
    let told = explain(&policies, &principal(&["use:echo"]), "pay_invoice", json!({ "invoice_id": "i1" }));
    assert_eq!(told.because, "denied: nothing that is held covers `read:invoices`, `write:invoices`");
    assert_eq!((told.allowed, told.listed, told.hidden), (false, false, false));
    assert_eq!(told.missing.iter().map(Scope::to_string).collect::<Vec<_>>(), ["read:invoices", "write:invoices"]);
    assert_eq!(told.excess.iter().map(Scope::to_string).collect::<Vec<_>>(), ["use:echo"]);
    let [permit] = &told.policies[..] else { panic!("one policy is about it: {told:?}") };
    assert_eq!(permit.outcome, PolicyOutcome::Unmet("context.session.scopes.contains(\"read:invoices\")".to_owned()));
}

#[test]
fn the_policies_that_decided_come_first_with_their_places_and_words() {
    let policies = compile(
        "// Walls.\n@id(\"limit\")\n@description(\"No large payments.\")\nforbid (principal, action == Tidegate::Action::\"pay_invoice\", resource)\nwhen { context.input has amount_cents && context.input.amount_cents > 100 };\n@id(\"u2-only\") forbid (principal == Tidegate::User::\"i|u2\", action, resource);",
    );
    let payer = principal(&["read:invoices", "write:invoices"]);
    let told = explain(&policies, &payer, "pay_invoice", json!({ "invoice_id": "i1", "amount_cents": 101 }));
    assert_eq!(told.because, "denied by `limit`");
    let limit = &told.policies[0];
    assert_eq!((limit.id.as_str(), limit.file.as_str(), limit.line, limit.decided), ("limit", "walls.cedar", 2, true));
    assert_eq!(limit.description.as_deref(), Some("No large payments."));
    assert!(limit.text.starts_with("@id(\"limit\")") && limit.effect == "forbid" && limit.outcome == PolicyOutcome::Matched);
    let other = |id: &str| told.policies.iter().find(|policy| policy.id == id).expect("it is about the call").outcome.clone();
    assert_eq!(other("tidegate.call.pay_invoice"), PolicyOutcome::Matched);
    assert_eq!(other("u2-only"), PolicyOutcome::OtherPrincipal);

    let told = explain(&policies, &payer, "pay_invoice", json!({ "invoice_id": "i1", "amount_cents": 100 }));
    assert_eq!(told.because, "allowed by `tidegate.call.pay_invoice`");
    let limit = told.policies.iter().find(|policy| policy.id == "limit").expect("it is about the call");
    assert_eq!(limit.outcome, PolicyOutcome::Unmet("context.input.amount_cents > 100".to_owned()));
    let text = serde_json::to_value(&told).expect("it is data");
    assert_eq!(text["verdict"]["decision"], "allow");
}

#[test]
fn a_hidden_tool_is_not_allowed_whatever_is_said_about_its_call() {
    let wall =
        r#"@id("no-echo") forbid (principal, action == Tidegate::Action::"list_tool", resource == Tidegate::Tool::"echo");"#;
    let policies = compile(wall);
    let caller = principal(&["use:echo"]);
    let told = explain(&policies, &caller, "echo", json!({ "text": "hi" }));
    assert_eq!((told.verdict.decision, told.hidden, told.allowed), (Decision::Allow, true, false));
    assert_eq!(told.because, "denied: the tool is hidden from this caller, whatever scopes are held: by `no-echo`");
    assert_eq!(policies.showing(&caller, &tool("echo"), TRACE).policies, ["no-echo"]);
}

#[test]
fn rows_are_explained_in_words() {
    let policies = compile(
        r#"@id("no-large") forbid (principal, action == Tidegate::Action::"read:entries", resource) when { resource.amount_cents > 9 };
           @id("odd") forbid (principal, action == Tidegate::Action::"read:invoices", resource) when { resource.status like "x*" };"#,
    );
    let rows = |scopes: &[&str], name: &str, input: Value| explain(&policies, &principal(scopes), name, input).rows;
    let [own] = &rows(&["read:entries"], "own_entries", json!({}))[..] else { panic!("one resource") };
    assert_eq!(own.rows.as_deref(), Some("rows where owner = 'u1' and amount_cents <= 9"));
    let [none] = &rows(&[], "own_entries", json!({}))[..] else { panic!("one resource") };
    assert_eq!(none.rows.as_deref(), Some("no row"));
    let [odd] = &rows(&["read:invoices"], "get_invoice", json!({ "invoice_id": "i" }))[..] else { panic!("one resource") };
    assert_eq!((odd.rows.as_deref(), odd.filter.as_ref()), (None, None));
    assert!(rows(&["use:echo"], "echo", json!({ "text": "hi" })).is_empty());
}

#[test]
fn an_unknown_tool_gets_a_suggestion() {
    let policies = compile("");
    let error = policies.explain(&principal(&[]), &tool("pay_invioce"), &Arguments::new()).expect_err("there is none");
    assert_eq!(error, "no loaded plugin has a tool `pay_invioce`; did you mean `pay_invoice`?");
}

#[test]
fn a_policy_that_only_watches_changes_nothing_and_is_reported_where_it_would() {
    let wall = r#"@mode("shadow") @id("trial") forbid (principal, action == Tidegate::Action::"pay_invoice", resource)
        when { context.input has amount_cents && context.input.amount_cents > 100 };"#;
    let policies = compile(wall);
    let payer = principal(&["read:invoices", "write:invoices"]);
    let pay = |amount: i64| {
        let input = arguments(json!({ "invoice_id": "i1", "amount_cents": amount }));
        policies.decide(&payer, &tool("pay_invoice"), PolicyAction::Call(&input), TRACE)
    };
    assert_eq!(pay(100).shadow, None);
    let verdict = pay(101);
    assert_eq!((verdict.decision, &verdict.policies[..]), (Decision::Allow, &["tidegate.call.pay_invoice".to_owned()][..]));
    let shadow = verdict.shadow.expect("it would have been denied");
    assert_eq!((shadow.decision, &shadow.policies[..]), (Decision::Deny, &["trial".to_owned()][..]));
    let told = explain(&policies, &payer, "pay_invoice", json!({ "invoice_id": "i1", "amount_cents": 101 }));
    let trial = told.policies.iter().find(|policy| policy.id == "trial").expect("it is about the call");
    assert!(trial.shadow && !trial.decided && trial.outcome == PolicyOutcome::Matched && told.allowed);

    // A permit, too; and one that fails would deny.
    let permit = "@mode(\"shadow\") @id(\"trial\") permit (principal, action == Tidegate::Action::\"list_tool\", resource);";
    let verdict = compile(permit).decide(&principal(&[]), &tool("echo"), PolicyAction::List, TRACE);
    assert_eq!((verdict.decision, verdict.shadow.map(|shadow| shadow.decision)), (Decision::Deny, Some(Decision::Allow)));
    let failing = "@mode(\"shadow\") @id(\"trial\") permit (principal, action == Tidegate::Action::\"echo\", resource) when { 9223372036854775807 + 1 > 0 };";
    let input = arguments(json!({ "text": "hi" }));
    let verdict = compile(failing).decide(&principal(&["use:echo"]), &tool("echo"), PolicyAction::Call(&input), TRACE);
    assert_eq!((verdict.decision, verdict.errors), (Decision::Allow, vec![]));
    assert_eq!(verdict.shadow.map(|shadow| shadow.errors.len()), Some(1));
}

#[test]
fn rows_are_watched_too() {
    let wall = r#"@mode("shadow") @id("trial") forbid (principal, action == Tidegate::Action::"read:entries", resource)
        when { resource.amount_cents > 100 };"#;
    let policies = compile(wall);
    let access = policies.row_access(&principal(&["read:entries"]), &tool("all_entries"), &Arguments::new(), TRACE);
    let row = |amount: i64| {
        access.permits("entries", &json!({ "owner": "a", "team": "b", "tenant": "c", "amount_cents": amount, "is-final": true }))
    };
    assert_eq!((row(100).decision, row(100).shadow), (Decision::Allow, None));
    assert_eq!((row(101).decision, row(101).shadow.map(|shadow| shadow.decision)), (Decision::Allow, Some(Decision::Deny)));
    assert_eq!(access.hint("entries").as_deref(), Some(r#"{"and":[]}"#), "hints are about what is in force");
}

#[test]
fn claims_and_arguments_that_matter_are_known() {
    let policies = compile(
        r#"@id("team") forbid (principal, action == Tidegate::Action::"create_invoice", resource)
           unless { principal.hasTag("team") && context.input has customer.name && context.input.customer.name == "x" };"#,
    );
    let claims = json!({ "team": "a", "teams": ["a"], "rank": 1, "secret": "s", "email": "e" });
    let holder =
        |scopes: &[&str]| Principal { claims: serde_json::from_value(claims.clone()).expect("an object"), ..principal(scopes) };
    let caller = holder(&["read:entries.where(amount_cents<$principal.rank)"]);
    let read: Vec<_> = policies.claims_read(&caller, &tool("team_entries")).into_keys().collect();
    assert_eq!(read, ["rank", "team", "teams"]);

    let looks = |name: &str, held: &[&str], pointer: &str| policies.looks_at(&tool(name), &holder(held).scopes, pointer);
    assert!(looks("create_invoice", &[], "/customer/name") && looks("create_invoice", &[], "/customer"));
    assert!(!looks("create_invoice", &[], "/customer/business") && !looks("create_invoice", &[], "/user_id"));
    assert!(looks("find_entries", &[], "/owner") && looks("find_entries", &[], "/filter/teams/0"));
    assert!(
        !looks("own_entries", &[], "/page") && looks("own_entries", &["read:entries.where(amount_cents=$args/page)"], "/page")
    );
    assert!(!looks("no_such_tool", &[], "/x"));
}

#[test]
fn problems_are_data_too() {
    let error = Fixture::load().compile(&[file(
        "walls.cedar",
        "@id(\"x\")\nforbid (principal, action == Tidegate::Action::\"pay_invioce\", resource);",
    )]);
    let error = error.map(|_| "accepted").expect_err("the action is unknown");
    assert_eq!(
        serde_json::to_value(error.problems()).expect("they are data"),
        json!([{
            "file": "walls.cedar", "line": 2, "column": 48,
            "excerpt": "forbid (principal, action == Tidegate::Action::\"pay_invioce\", resource);",
            "message": "for policy `x`, no action is called `pay_invioce`",
            "help": "did you mean `pay_invoice`?",
        }])
    );
}
