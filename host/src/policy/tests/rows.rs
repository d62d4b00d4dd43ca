//! What is decided about single rows.

use proptest::prelude::*;

use super::*;
use crate::model::scope::Bindings;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn row() -> Value {
    json!({ "owner": "u1", "team": "red", "tenant": "acme", "amount_cents": 100, "is-final": false })
}

/// The row with other attributes.
fn with(changes: Value) -> Value {
    let mut row = row();
    arguments(changes).into_iter().for_each(|(name, value)| row[name] = value);
    row
}

fn compile(admin: &str) -> Arc<Policies> {
    Arc::new(Fixture::load().compile(&[file("walls.cedar", admin)]).unwrap_or_else(|error| panic!("{error}")))
}

/// A principal with everything that the fixture's scopes speak of.
fn member(scopes: &[&str]) -> Principal {
    let claims = json!({ "teams": ["red", "blue"], "read_limit": 500, "may close": true });
    Principal { tenant: Some("acme".to_owned()), claims: serde_json::from_value(claims).expect("an object"), ..principal(scopes) }
}

fn access(policies: &Arc<Policies>, principal: &Principal, name: &str, input: Value) -> RowAccess {
    policies.row_access(principal, &tool(name), &arguments(input), TRACE)
}

#[test]
fn only_rows_that_the_tools_own_scope_speaks_of_pass() {
    let policies = compile("");
    // The caller holds all there is, and yet gets from a tool only what the tool's manifest speaks of.
    let caller = member(&["read:entries", "write:entries"]);
    let own = access(&policies, &caller, "own_entries", json!({}));
    let verdict = own.permits("entries", &row());
    assert_eq!(verdict.policies, ["tidegate.rows.read:entries.where(owner=$principal.sub)"]);
    assert_eq!(verdict.decision, Decision::Allow);
    assert_eq!(own.permits("entries", &with(json!({ "owner": "u2" }))), Verdict::denied());
    let all = access(&policies, &caller, "all_entries", json!({}));
    assert_eq!(all.permits("entries", &with(json!({ "owner": "u2" }))).policies, ["tidegate.rows.read:entries"]);

    let team = access(&policies, &caller, "team_entries", json!({}));
    for (changes, decision) in [
        (json!({}), Decision::Allow),
        (json!({ "owner": "u2", "team": "blue", "amount_cents": 500.0 }), Decision::Allow),
        (json!({ "team": "green" }), Decision::Deny),
        (json!({ "tenant": "other" }), Decision::Deny),
        (json!({ "amount_cents": 501 }), Decision::Deny),
    ] {
        assert_eq!(team.permits("entries", &with(changes.clone())).decision, decision, "{changes}");
    }
}

#[test]
fn arguments_narrow_rows() {
    let policies = compile("");
    let caller = member(&["read:entries"]);
    let input = json!({ "owner": "u9", "filter": { "teams": ["red"] } });
    let found = access(&policies, &caller, "find_entries", input);
    assert_eq!(found.permits("entries", &with(json!({ "owner": "u9" }))).decision, Decision::Allow);
    for changes in [json!({}), json!({ "owner": "u9", "team": "blue" }), json!({ "owner": "u9", "amount_cents": -6 })] {
        assert_eq!(found.permits("entries", &with(changes.clone())), Verdict::denied(), "{changes}");
    }
    // An argument that is absent fits no row.
    for input in [json!({ "owner": "u9" }), json!({ "owner": "u9", "filter": {} }), json!({ "filter": { "teams": ["red"] } })] {
        let found = access(&policies, &caller, "find_entries", input);
        assert_eq!(found.permits("entries", &with(json!({ "owner": "u9" }))), Verdict::denied());
    }
}

#[test]
fn a_token_that_was_narrowed_stays_narrow_whatever_an_admin_permits() {
    let policies = compile("@id(\"auditors\") permit (principal, action == Tidegate::Action::\"read:entries\", resource);");
    let narrow = member(&["read:entries.where(team='red',owner=$principal.sub)", "read:entries.where(team='blue')"]);
    let all = access(&policies, &narrow, "all_entries", json!({}));
    assert_eq!(all.permits("entries", &row()).policies, ["auditors"]);
    assert_eq!(all.permits("entries", &with(json!({ "team": "blue", "owner": "u2" }))).policies, ["auditors"]);
    assert_eq!(all.permits("entries", &with(json!({ "owner": "u2" }))), Verdict::denied());
    assert_eq!(all.permits("entries", &with(json!({ "team": "green" }))), Verdict::denied());
    let none = member(&["write:entries"]);
    assert_eq!(access(&policies, &none, "all_entries", json!({})).permits("entries", &row()), Verdict::denied());
}

#[test]
fn every_action_of_the_tool_must_be_allowed() {
    let policies = compile("");
    let closing = access(&policies, &member(&["read:entries", "write:entries"]), "close_entry", json!({ "entry_id": "e" }));
    let verdict = closing.permits("entries", &with(json!({ "is-final": true })));
    assert_eq!(verdict.decision, Decision::Allow);
    assert_eq!(verdict.policies, ["tidegate.rows.5186680a73a44ba08bd849341214cb25", "tidegate.rows.read:entries"]);
    assert_eq!(closing.permits("entries", &row()), Verdict::denied(), "it may be read and not be closed");
    let reading = access(&policies, &member(&["read:entries"]), "close_entry", json!({ "entry_id": "e" }));
    assert_eq!(reading.permits("entries", &with(json!({ "is-final": true }))), Verdict::denied());
}

#[test]
fn walls_of_admins_stand_around_rows() {
    let policies = compile(
        r#"@id("small") forbid (principal, action == Tidegate::Action::"read:entries", resource) when { resource.amount_cents > 300 };
           @id("overflows") forbid (principal, action == Tidegate::Action::"read:entries", resource is Tidegate::Entry)
           when { resource.amount_cents + 9223372036854775807 > 0 && resource.owner == "u7" };
           @id("not-here") forbid (principal, action == Tidegate::Action::"read:entries", resource) when { context.tool == "all_entries" };"#,
    );
    let caller = member(&["read:entries"]);
    let own = access(&policies, &caller, "own_entries", json!({}));
    assert_eq!(own.permits("entries", &with(json!({ "amount_cents": 0 }))).decision, Decision::Allow);
    let failed = own.permits("entries", &row());
    assert_eq!((failed.decision, &failed.policies[..]), (Decision::Deny, &["overflows".to_owned()][..]));
    assert_eq!(failed.errors, ["policy `overflows` failed: a number left the range of 64 bits"]);
    let large = own.permits("entries", &with(json!({ "amount_cents": 301 })));
    assert_eq!(large.policies, ["overflows", "small"]);
    let elsewhere = access(&policies, &caller, "all_entries", json!({})).permits("entries", &with(json!({ "amount_cents": -1 })));
    assert_eq!(elsewhere.policies, ["not-here"]);
}

#[test]
fn what_is_no_row_of_its_type_is_denied_and_its_values_are_not_told() {
    let policies = compile("");
    let all = access(&policies, &member(&["read:entries"]), "all_entries", json!({}));
    for (row, error) in [
        (json!([]), "the row is not an object"),
        (json!("secret"), "the row is not an object"),
        (json!({}), "attribute `amount_cents` of the row is missing"),
        (with(json!({ "owner": 47_114_711 })), "attribute `owner` of the row is not a string"),
        (with(json!({ "owner": null })), "attribute `owner` of the row is not a string"),
        (with(json!({ "is-final": "secret" })), "attribute `is-final` of the row is not a boolean"),
        (
            with(json!({ "amount_cents": 9_223_372_036_854_775_808_u64 })),
            "attribute `amount_cents` of the row is not an integer of 64 bits",
        ),
        (with(json!({ "amount_cents": 0.5 })), "attribute `amount_cents` of the row is not an integer of 64 bits"),
    ] {
        let verdict = all.permits("entries", &row);
        assert_eq!((verdict.decision, verdict.errors), (Decision::Deny, vec![error.to_owned()]), "{row}");
    }
    // A key that only looks like the attribute is another key.
    let mut lookalike = with(json!({ "\u{43e}wner": "u1" }));
    lookalike.as_object_mut().expect("an object").remove("owner");
    assert_eq!(all.permits("entries", &lookalike).errors, ["attribute `owner` of the row is missing"]);
    assert_eq!(all.permits("entries", &with(json!({ "extra": [{ "a": 1.5 }], "Owner": 7 }))).decision, Decision::Allow);
}

#[test]
fn rows_of_a_resource_that_the_tool_needs_no_scope_for_are_denied() {
    let policies = compile("");
    let caller = member(&["read:entries", "read:invoices", "use:echo"]);
    let all = access(&policies, &caller, "all_entries", json!({}));
    let invoice = json!({ "user_id": "u1", "status": "open", "amount_cents": 1 });
    let verdict = all.permits("invoices", &invoice);
    assert_eq!(verdict.errors, ["the tool `all_entries` needs no scope for rows of this resource, so none of them may be seen"]);
    assert_eq!(
        all.permits("nothing", &invoice).errors,
        ["no plugin declares what a row of this resource is"],
        "a guest's words are not told"
    );
    let unknown = access(&policies, &caller, "no_such_tool", json!({}));
    assert_eq!(unknown.permits("entries", &row()).decision, Decision::Deny);
    let unrowed = access(&policies, &caller, "echo", json!({ "text": "hi" }));
    assert_eq!(unrowed.permits("echo", &json!({})).errors, ["no plugin declares what a row of this resource is"]);
}

#[test]
fn without_generated_permits_no_row_passes_that_no_admin_permits() {
    let fixture = Fixture::load();
    let permit = "@id(\"own\") permit (principal, action == Tidegate::Action::\"read:entries\", resource) when { resource.owner == principal.subject };";
    let policies = Policies::compile(&fixture.subjects(), &[file("a.cedar", permit)], GeneratedPermits::Off);
    let policies = Arc::new(policies.unwrap_or_else(|error| panic!("{error}")));
    let all = access(&policies, &member(&["read:entries"]), "all_entries", json!({}));
    assert_eq!(all.permits("entries", &row()).policies, ["own"]);
    assert_eq!(all.permits("entries", &with(json!({ "owner": "u2" }))), Verdict::denied());
}

#[test]
fn row_access_outlives_the_call_and_moves_between_threads() {
    fn owned<T: Send + Sync + 'static>() {}
    owned::<RowAccess>();
}

#[test]
fn a_hint_says_which_rows_could_pass() {
    let policies = compile(
        r#"@id("small") forbid (principal, action == Tidegate::Action::"read:entries", resource)
           unless { resource.amount_cents < 900 || ["red", "blue"].contains(resource.team) };
           @id("auditors") permit (principal, action == Tidegate::Action::"read:entries", resource)
           when { principal.hasTag("auditor") && resource["is-final"] };
           @id("odd") permit (principal, action == Tidegate::Action::"read:invoices", resource) when { resource.status like "p*" };"#,
    );
    let hint = |principal: &Principal, name: &str, resource: &str| {
        let input = json!({ "owner": "u9", "filter": { "teams": ["red"] }, "entry_id": "e" });
        let hint: Option<Value> =
            access(&policies, principal, name, input).hint(resource).map(|text| serde_json::from_str(&text).expect("it is JSON"));
        hint.unwrap_or(Value::Null)
    };
    let wall = json!({ "or": [{ "lt": ["amount_cents", 900] }, { "in": ["team", ["blue", "red"]] }] });
    let caller = member(&["read:entries"]);
    assert_eq!(hint(&caller, "own_entries", "entries"), json!({ "and": [{ "eq": ["owner", "u1"] }, wall] }));
    assert_eq!(hint(&caller, "all_entries", "entries"), wall);
    let auditor = Principal { claims: [("auditor".to_owned(), json!(true))].into(), ..caller.clone() };
    let own_or_final = json!({ "or": [{ "eq": ["owner", "u1"] }, { "eq": ["is-final", true] }] });
    let found = hint(&auditor, "own_entries", "entries");
    assert!(found["and"].as_array().is_some_and(|parts| parts.contains(&wall) && parts.len() == 2), "{found}");
    assert!(found.to_string().contains("is-final") && own_or_final["or"].is_array(), "{found}");
    // What the token was narrowed to counts too.
    let narrow = member(&["read:entries.where(owner='u1')"]);
    assert_eq!(hint(&narrow, "own_entries", "entries"), hint(&caller, "own_entries", "entries"), "nothing is said twice");
    let red = member(&["read:entries.where(team='red')"]);
    let final_red = Principal { claims: [("auditor".to_owned(), json!(1))].into(), ..red };
    assert_eq!(
        hint(&final_red, "own_entries", "entries"),
        json!({ "and": [{ "eq": ["team", "red"] }, { "eq": ["is-final", true] }, wall] }),
        "an admin's permit and the token's own narrowing"
    );
    // No row can pass, or it cannot be said which.
    assert_eq!(hint(&member(&[]), "own_entries", "entries"), json!({ "or": [] }));
    assert_eq!(hint(&caller, "own_entries", "invoices"), json!({ "or": [] }));
    assert_eq!(hint(&member(&["read:invoices"]), "list_invoices", "invoices"), Value::Null, "`like` is not in the set");
}

/// Claims and arguments of every shape.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!("u1")),
        Just(json!("red")),
        Just(json!("acme")),
        (-6_i64..7).prop_map(Value::from),
        Just(json!(3.0)),
        Just(json!(0.5)),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!(u64::MAX)),
    ];
    prop_oneof![leaf.clone(), proptest::collection::vec(leaf, 0..4).prop_map(Value::from), Just(json!({ "a": 1 }))]
}

/// Policies on rows; any subset of them is valid on the fixture.
const ROW_WALLS: [&str; 11] = [
    r#"@id("a") forbid (principal, action == Tidegate::Action::"read:entries", resource) when { resource.amount_cents > 3 };"#,
    r#"@id("b") forbid (principal, action == Tidegate::Action::"read:entries", resource) unless { resource.team == "red" || resource["is-final"] };"#,
    r#"@id("c") permit (principal, action == Tidegate::Action::"read:entries", resource) when { 2 >= resource.amount_cents && !(resource.owner == "x") };"#,
    r#"@id("d") permit (principal, action == Tidegate::Action::"read:entries", resource) when { if resource["is-final"] then resource.team == "x" else resource.owner != "x" };"#,
    r#"@id("e") forbid (principal, action, resource) when { principal.subject == "u2" };"#,
    r#"@id("f") permit (principal, action == Tidegate::Action::"write:entries", resource) when { principal has tenant && [principal.tenant, "red"].contains(resource.tenant) };"#,
    r#"@id("g") permit (principal, action == Tidegate::Action::"read:entries", resource) when { principal.hasTag("auditor") && principal.getTag("auditor").contains(resource.owner) };"#,
    r#"@id("h") forbid (principal, action == Tidegate::Action::"read:entries", resource) when { resource.amount_cents + 9223372036854775805 > 0 };"#,
    r#"@id("j") forbid (principal, action == Tidegate::Action::"read:entries", resource) when { context.tool == "find_entries" && principal has tenant };"#,
    r#"@id("k") permit (principal, action == Tidegate::Action::"read:entries", resource) when { principal.hasTag("auditor") };"#,
    r#"@id("i") forbid (principal, action == Tidegate::Action::"read:entries", resource) when { context.tool == "all_entries" && resource.amount_cents == -5 };"#,
];

const HELD: [&str; 7] = [
    "read:entries",
    "write:entries",
    "read:entries.where(team='red')",
    "read:entries.where(owner=$principal.sub,amount_cents<$principal.read_limit)",
    "read:entries.where(team:in:$principal.teams)",
    "read:entries.where(owner=$args/owner)",
    "write:entries.where(is-final!=$principal.auditor)",
];

fn any_row() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![Just("u1"), Just("red"), Just("acme"), Just("x")];
    (text(), text(), text(), -7_i64..8, any::<bool>()).prop_map(|(owner, team, tenant, amount, last)| {
        json!({ "owner": owner, "team": team, "tenant": tenant, "amount_cents": amount, "is-final": last })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// The two readers of scopes, ours and Cedar, agree on every row.
    #[test]
    fn a_generated_permit_allows_exactly_the_rows_that_its_scope_admits(
        rows in proptest::collection::vec(any_row(), 1..6),
        claims in proptest::collection::btree_map(prop_oneof![Just("teams"), Just("read_limit"), Just("may close")], any_value(), 0..4),
        owner in any_value(),
        teams in any_value(),
        tenant in proptest::option::of(Just("acme".to_owned())),
    ) {
        thread_local!(static POLICIES: Arc<Policies> = compile(""));
        let policies = POLICIES.with(Arc::clone);
        let claims = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let caller = Principal { claims, tenant, ..principal(&["read:entries", "write:entries"]) };
        let input = arguments(json!({ "owner": owner, "filter": { "teams": teams } }));
        let bindings = Bindings { principal: &caller, arguments: Some(&input) };
        for (name, policies_of_tool) in policies.tools.iter().filter(|(name, _)| name.as_str().ends_with("entries") || name.as_str() == "close_entry") {
            let access = policies.row_access(&caller, name, &input, TRACE);
            for row in &rows {
                let object = row.as_object().expect("an object");
                let admitted = policies_of_tool.scopes.iter().all(|scope| scope.bind(&bindings).admits(object));
                // Where the scope is covered; an argument or claim of a wrong shape covers nothing.
                let verdict = access.permits("entries", row);
                prop_assert_eq!(verdict.errors, [""; 0]);
                prop_assert_eq!(verdict.decision == Decision::Allow, admitted, "{} {}", name, row);
            }
        }
    }

    #[test]
    fn a_hint_never_leaves_out_a_row_that_would_pass(
        rows in proptest::collection::vec(any_row(), 1..8),
        subset in proptest::collection::vec(any::<bool>(), ROW_WALLS.len()),
        held in proptest::collection::vec(proptest::sample::select(HELD.to_vec()), 1..4),
        claims in proptest::collection::btree_map(prop_oneof![Just("teams"), Just("read_limit"), Just("auditor")], any_value(), 0..4),
        owner in any_value(),
        tenant in proptest::option::of(Just("acme".to_owned())),
    ) {
        let walls: Vec<&str> = ROW_WALLS.iter().zip(&subset).filter(|(_, chosen)| **chosen).map(|(text, _)| *text).collect();
        let policies = compile(&walls.join("\n"));
        let claims = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let caller = Principal { claims, tenant, ..principal(&held) };
        let input = arguments(json!({ "owner": owner, "filter": { "teams": ["red", "x"] } }));
        for name in ["own_entries", "team_entries", "find_entries", "all_entries", "close_entry"] {
            let access = policies.row_access(&caller, &tool(name), &input, TRACE);
            let Some(filter) = access.filter("entries") else { continue };
            for row in &rows {
                let verdict = access.permits("entries", row);
                prop_assert!(verdict.decision == Decision::Deny || filter.admits(row), "{} {} {}", name, row, filter);
                // It is as narrow as it can be, unless a policy fails.
                prop_assert!(!verdict.errors.is_empty() || (verdict.decision == Decision::Allow) == filter.admits(row), "{} {} {}", name, row, filter);
            }
        }
    }
}
