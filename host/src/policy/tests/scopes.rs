//! Scopes with conditions: what is refused at load, and what covers what a tool needs.

use super::*;
use crate::model::ResourceManifest;
use crate::model::manifest::RowsOutput;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Why the fixture is refused when `own_entries` needs these scopes instead of its own.
fn refusal(scopes: &[&str]) -> String {
    let mut fixture = Fixture::load();
    own_entries(&mut fixture).scopes = scopes.iter().map(|scope| scope.parse().expect("a scope")).collect();
    fixture.compile(&[]).map(|_| "accepted").expect_err("the scope is wrong").to_string()
}

fn own_entries(fixture: &mut Fixture) -> &mut ToolManifest {
    let ledger = fixture.plugins.iter_mut().find(|plugin| plugin.name == "ledger").expect("the fixture has it");
    ledger.tools.iter_mut().find(|tool| tool.name.as_str() == "own_entries").expect("the fixture has it")
}

#[test]
fn conditions_that_do_not_fit_the_row_type_are_refused_by_name() {
    for (scope, problem, help) in [
        ("read:entries.where(ownr='u')", "speaks of `ownr`, which is no attribute of `entries`", "did you mean `owner`?"),
        ("read:entries.where(x='u')", "speaks of `x`", "the attributes of `entries` are `amount_cents`, `is-final`, `owner`"),
        ("read:entries.where(amount_cents='x')", "compares `amount_cents`, a Long, with `'x'`, a String", "`amount_cents<=100`"),
        ("read:entries.where(owner=1)", "compares `owner`, a String, with `1`, a Long", "such as `owner='open'`"),
        ("read:entries.where(is-final='true')", "compares `is-final`, a Bool, with `'true'`", "no literal of type Bool"),
        ("read:entries.where(owner<$principal.rank)", "orders `owner`, a String", "only attributes of type Long have an order"),
        ("read:entries.where(amount_cents=$principal.sub)", "a Long, with `$principal.sub`, a String", "an integer"),
        (
            "read:entires.where(owner='u')",
            "conditions on the rows of `entires`, which no plugin declares",
            "did you mean `entries`?",
        ),
        ("read:orders.where(owner='u')", "which no plugin declares", "`[[resource]]` with `name = \"orders\"`"),
        ("read:entries.where(owner=$args/pge)", "the tool has no argument `pge`", "did you mean `page`?"),
        ("read:entries.where(owner=$args/page)", "needs the argument `/page` to be of type String", "lists go with `:in:`"),
    ] {
        let error = refusal(&[scope]);
        let start = format!("plugin `ledger`, tool `own_entries`: `{scope}` ");
        assert!(error.contains(&start) && error.contains(problem) && error.contains(help), "{scope}\n{error}");
    }
    let error = refusal(&["read:entries.where(owner=$args/owner)"]);
    assert!(error.contains("no argument `owner`"), "{error}");
}

#[test]
fn two_scopes_for_one_action_are_refused_where_one_has_conditions() {
    for scopes in [
        ["read:entries.where(owner=$principal.sub)", "read:entries.where(tenant=$principal.tenant)"],
        ["read:entries", "read:entries.where(owner=$principal.sub)"],
        ["read:entries.where(owner=$principal.sub)", "read:entries.where(owner=$principal.sub)"],
    ] {
        let error = refusal(&scopes);
        let problem = format!("tool `own_entries`: `{}` and `{}` are both about `read:entries`", scopes[0], scopes[1]);
        assert!(error.contains(&problem) && error.contains("join the conditions in one `where`"), "{error}");
    }
}

#[test]
fn a_claim_of_two_types_names_both_uses() {
    let error = refusal(&["read:entries.where(amount_cents<=$principal.most)", "read:entries.where(owner=$principal.most)"]);
    let first = "`read:entries.where(amount_cents<=$principal.most)` of tool `own_entries` uses it as Long";
    assert!(error.contains(first) && error.contains("uses the claim `most` as String"), "{error}");
    let error = refusal(&["read:entries.where(owner=$principal.teams)"]);
    assert!(error.contains("uses the claim `teams` as Set<String>, but `read:entries.where(owner=$principal.teams)`"), "{error}");
}

#[test]
fn rows_that_no_scope_speaks_of_are_refused() {
    let mut fixture = Fixture::load();
    own_entries(&mut fixture).scopes = vec!["use:echo".parse().expect("a scope")];
    let error = fixture.compile(&[]).map(|_| "accepted").expect_err("it has rows").to_string();
    assert!(error.contains("it returns rows of `entries` and needs no scope for them"), "{error}");
    let mut fixture = Fixture::load();
    own_entries(&mut fixture).rows =
        Some(crate::model::Rows::At(RowsOutput { pointer: "/entries".to_owned(), resource: "entires".to_owned() }));
    let error = fixture.compile(&[]).map(|_| "accepted").expect_err("it has rows").to_string();
    assert!(error.contains("no plugin declares its rows, `entires`"), "{error}");
}

#[test]
fn an_argument_that_policies_cannot_see_may_still_narrow_rows() {
    let mut fixture = Fixture::load();
    fixture.schemas.insert(
        "own_entries".to_owned(),
        json!({ "type": "object", "properties": { "owner": { "type": ["string", "integer"] } } }),
    );
    own_entries(&mut fixture).scopes = vec!["read:entries.where(owner=$args/owner)".parse().expect("a scope")];
    let policies = Arc::new(fixture.compile(&[]).unwrap_or_else(|error| panic!("{error}")));
    let caller = principal(&["read:entries"]);
    let row = |owner: &str| json!({ "owner": owner, "team": "", "tenant": "", "amount_cents": 1, "is-final": false });
    let access = |owner: Value| policies.row_access(&caller, &tool("own_entries"), &arguments(json!({ "owner": owner })), TRACE);
    assert_eq!(access(json!("u2")).permits("entries", &row("u2")).decision, Decision::Allow);
    assert_eq!(access(json!("u2")).permits("entries", &row("u1")).decision, Decision::Deny);
    assert_eq!(access(json!(2)).permits("entries", &row("2")).decision, Decision::Deny, "a number equals no text");
}

#[test]
fn a_wider_scope_covers_what_a_tool_needs_and_a_narrower_one_does_not() {
    let policies = Fixture::load().compile(&[]).expect("the fixture compiles");
    let decide = |held: &str, name: &str, input: Value| {
        let verdict = policies.decide(&principal(&[held]), &tool(name), PolicyAction::Call(&arguments(input)), TRACE);
        assert_eq!(verdict.errors, [""; 0]);
        verdict.decision
    };
    for held in ["read:entries", "read:entries.where(owner=$principal.sub)", "read:entries.where(owner='u1')"] {
        assert_eq!(decide(held, "own_entries", json!({})), Decision::Allow, "{held}");
    }
    for held in ["read:entries.where(owner='u2')", "read:entries.where(owner=$principal.sub,team='red')", "write:entries"] {
        assert_eq!(decide(held, "own_entries", json!({})), Decision::Deny, "{held}");
        assert_eq!(decide(held, "all_entries", json!({})), Decision::Deny, "{held}");
    }
    // Whether it suffices may depend on the call; a listing gives it the benefit of the doubt.
    let (own, other) = (json!({ "owner": "u1" }), json!({ "owner": "u2" }));
    let narrow = "read:entries.where(owner=$principal.sub)";
    assert_eq!(decide(narrow, "find_entries", own), Decision::Allow);
    assert_eq!(decide(narrow, "find_entries", other), Decision::Deny);
    let listed: Vec<_> = policies.listed(&principal(&[narrow]), TRACE).into_iter().map(ToolName::as_str).collect();
    assert_eq!(listed, ["find_entries", "in", "own_entries"]);
    assert!(!policies.hides(&principal(&[]), &tool("close_entry"), TRACE), "more scopes would open it");
}

#[test]
fn an_admin_may_ask_for_scopes_in_any_way() {
    let held = ["read:entries.where(owner='u1')"];
    for (condition, decision) in [
        ("context.session.scopes.contains(\"read:entries.where(owner='u1')\")", Decision::Deny),
        ("context.session.scopes.contains(\"read:entries.where(owner=$principal.sub)\")", Decision::Deny),
        ("context.session.scopes.contains(\"read:entries\")", Decision::Allow),
        ("context.session.scopes.containsAny([\"read:entries\", \"use:echo\"])", Decision::Allow),
        ("!context.session.scopes.isEmpty()", Decision::Deny),
        (
            "context.session.scopes == [\"read:entries.where(owner='u1')\", \"read:entries.where(owner=$principal.sub)\"]",
            Decision::Deny,
        ),
        ("context.session.scopes.contains(principal.subject)", Decision::Allow),
    ] {
        let wall = format!(
            "@id(\"wall\") forbid (principal, action == Tidegate::Action::\"own_entries\", resource) when {{ {condition} }};"
        );
        let policies = Fixture::load().compile(&[file("walls.cedar", &wall)]).unwrap_or_else(|error| panic!("{error}"));
        let verdict = policies.decide(&principal(&held), &tool("own_entries"), PolicyAction::Call(&arguments(json!({}))), TRACE);
        assert_eq!(verdict.decision, decision, "{condition}");
    }
}

#[test]
fn resources_may_be_declared_by_another_plugin() {
    let mut fixture = Fixture::load();
    let ledger = fixture.plugins.iter_mut().find(|plugin| plugin.name == "ledger").expect("the fixture has it");
    let resources: Vec<ResourceManifest> = std::mem::take(&mut ledger.resources);
    fixture.plugins[0].resources = resources;
    fixture.compile(&[]).unwrap_or_else(|error| panic!("{error}"));
}
