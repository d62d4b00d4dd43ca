//! The entities file: users, groups, and what is wrong with it.

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

const ENTITIES: &str = r#"[
  { "uid": { "type": "Tidegate::User", "id": "https://id.example|u1" },
    "attrs": { "department": "sales", "level": 3, "sites": ["berlin", "oslo"], "external": false, "tags": [] },
    "parents": [{ "type": "Tidegate::Group", "id": "sellers" }] },
  { "uid": { "__entity": { "type": "Tidegate::User", "id": "https://id.example|u2" } },
    "attrs": { "tags": ["a"] } },
  { "uid": { "type": "Tidegate::Group", "id": "sellers" },
    "parents": [{ "type": "Tidegate::Group", "id": "staff" }] },
  { "uid": { "type": "Tidegate::Group", "id": "staff" } },
  { "uid": { "type": "Tidegate::Group", "id": "https://id.example|finance" },
    "parents": [{ "type": "Tidegate::Group", "id": "staff" }] }
]"#;

fn compile(entities: &str, walls: &str) -> Result<Policies, PolicyError> {
    Fixture::load().compile(&[file("policies/entities.json", entities), file("policies/walls.cedar", walls)])
}

fn echo(policies: &Policies, principal: &Principal) -> Verdict {
    policies.decide(principal, &tool("echo"), PolicyAction::Call(&arguments(json!({ "text": "hi" }))), TRACE)
}

/// Who of `u1`, `u2`, `u3` (in their issuer's group `finance`) may call `echo` under these conditions on principals.
fn passing(condition: &str) -> Vec<&'static str> {
    let wall =
        format!("@id(\"wall\") forbid (principal, action == Tidegate::Action::\"echo\", resource) unless {{ {condition} }};");
    let policies = compile(ENTITIES, &wall).unwrap_or_else(|error| panic!("{error}"));
    let of = |subject: &str, groups: &[&str]| Principal {
        subject: subject.to_owned(),
        groups: groups.iter().map(ToString::to_string).collect(),
        ..principal(&["use:echo"])
    };
    let callers = [("u1", of("u1", &[])), ("u2", of("u2", &["other"])), ("u3", of("u3", &["finance"]))];
    let passes = |caller: &Principal| {
        let verdict = echo(&policies, caller);
        assert_eq!(verdict.errors, [""; 0], "{condition}");
        verdict.decision == Decision::Allow
    };
    callers.iter().filter(|(_, caller)| passes(caller)).map(|(name, _)| *name).collect()
}

#[test]
fn groups_hold_directly_and_through_others() {
    assert_eq!(passing("principal in Tidegate::Group::\"sellers\""), ["u1"]);
    assert_eq!(passing("principal in Tidegate::Group::\"staff\""), ["u1", "u3"]);
    assert_eq!(passing("principal in Tidegate::Group::\"https://id.example|finance\""), ["u3"]);
    assert_eq!(
        passing("principal in [Tidegate::Group::\"sellers\", Tidegate::Group::\"https://id.example|other\"]"),
        ["u1", "u2"]
    );
    assert_eq!(
        passing("principal in Tidegate::Group::\"https://other.example|finance\""),
        [""; 0],
        "an issuer speaks for itself only"
    );
}

#[test]
fn groups_hold_in_the_head_of_a_policy_and_for_rows() {
    let wall = r#"@id("wall") forbid (principal in Tidegate::Group::"staff", action == Tidegate::Action::"echo", resource);
        @id("rows") forbid (principal, action == Tidegate::Action::"read:entries", resource)
        when { principal in Tidegate::Group::"sellers" && principal has department && resource.team != principal.department };"#;
    let policies = Arc::new(compile(ENTITIES, wall).unwrap_or_else(|error| panic!("{error}")));
    let seller = principal(&["use:echo", "read:entries"]);
    assert_eq!(echo(&policies, &seller).policies, ["wall"]);
    let other = Principal { subject: "u9".to_owned(), ..seller.clone() };
    assert_eq!(echo(&policies, &other).decision, Decision::Allow);
    let row = |team: &str| json!({ "owner": "a", "team": team, "tenant": "c", "amount_cents": 1, "is-final": true });
    let decide = |caller: &Principal, team: &str| {
        let access = policies.row_access(caller, &tool("all_entries"), &Arguments::new(), TRACE);
        (access.permits("entries", &row(team)).decision, access.hint("entries"))
    };
    let hint = |filter: Value| Some(filter.to_string());
    assert_eq!(decide(&seller, "sales"), (Decision::Allow, hint(json!({ "eq": ["team", "sales"] }))));
    assert_eq!(decide(&seller, "other").0, Decision::Deny);
    assert_eq!(decide(&other, "other"), (Decision::Allow, hint(json!({ "and": [] }))));
}

#[test]
fn attributes_have_the_types_of_their_values() {
    assert_eq!(passing("principal has department && principal.department == \"sales\""), ["u1"]);
    assert_eq!(passing("principal has level && principal.level > 2 && principal has external && !principal.external"), ["u1"]);
    assert_eq!(passing("principal has sites && principal.sites.contains(\"oslo\")"), ["u1"]);
    assert_eq!(passing("principal has tags && principal.tags.contains(\"a\")"), ["u2"]);
    let wall = "@id(\"x\") forbid (principal, action, resource) when { principal.department == \"x\" };";
    let error = compile(ENTITIES, wall).map(|_| "accepted").expect_err("not everybody has it").to_string();
    assert!(error.contains("optional attribute `department`"), "{error}");
}

#[test]
fn the_hash_changes_with_the_entities() {
    let hash = |entities: &str| compile(entities, "").unwrap_or_else(|error| panic!("{error}")).hash();
    assert_ne!(hash(ENTITIES), hash(&ENTITIES.replace("oslo", "bonn")));
    assert_ne!(hash("[]"), Fixture::load().compile(&[file("policies/walls.cedar", "")]).expect("it compiles").hash());
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let user = |rest: &str| format!("[\n  {{ \"uid\": {{ \"type\": \"Tidegate::User\", \"id\": \"i|u\" }}{rest} }}\n]");
    let group = |id: &str, parent: &str| {
        format!(
            "{{ \"uid\": {{ \"type\": \"Tidegate::Group\", \"id\": \"{id}\" }}, \"parents\": [{{ \"type\": \"Tidegate::Group\", \"id\": \"{parent}\" }}] }}"
        )
    };
    for (text, line, message, help) in [
        ("{}".to_owned(), 1, "the entities file is not a list", "JSON array"),
        ("[\n{\"uid\": 1,\n".to_owned(), 3, "EOF while parsing", ""),
        ("[{\"uid\": {}, \"attrs\": {\"a\": 1, \"a\": 2}}]".to_owned(), 1, "the name `a` is there twice", ""),
        ("[1]".to_owned(), 1, "`/0` is not an object", ""),
        (user(", \"parnts\": []"), 2, "`/0/parnts` is no field of an entity", "did you mean `parents`?"),
        (user(", \"attrs\": {\"issuer\": \"x\"}"), 2, "`/0/attrs/issuer` is an attribute that the host itself gives", ""),
        (user(", \"attrs\": {\"a\": 1.5}"), 2, "`/0/attrs/a` has a type that policies cannot see", "integers of 64 bits"),
        (user(", \"attrs\": {\"a\": [1, \"x\"]}"), 2, "`/0/attrs/a` has a type that policies cannot see", ""),
        (user(", \"attrs\": {\"a\": []}"), 2, "`/0/attrs/a` is always an empty list", ""),
        (user(", \"parents\": [{\"type\": \"Tidegate::User\", \"id\": \"i|v\"}]"), 2, "`/0/parents/0` is not a group", ""),
        (
            user(", \"parents\": [{\"type\": \"Tidegate::Group\", \"id\": \"staf\"}]"),
            2,
            "names the group `staf`, which is not listed",
            "list the group too",
        ),
        (user("").replace("Tidegate::User", "User"), 2, "has the type `User`", "did you mean `Tidegate::User`?"),
        (user("").replace("Tidegate::User", "Tidegate::Tool"), 2, "has the type `Tidegate::Tool`", "types are"),
        (user("").replace("i|u", "u"), 2, "names no user: `u`", "<issuer>|<subject>"),
        (format!("[{},\n{}]", group("a", "b"), group("b", "a")), 1, "puts the group `a` into itself", "circle"),
        (format!("[{},\n{}]", group("a", "i|b"), group("a", "i|b")), 2, "`/1/uid` names `a`, and so does `/0`", ""),
    ] {
        let error = compile(&text, "").map(|_| "accepted").expect_err(&text);
        let problem = &error.problems()[0];
        let place = problem.place.as_ref().expect("it has a place");
        assert_eq!((place.file.as_str(), place.line), ("policies/entities.json", line), "{error}");
        assert!(problem.message.contains(message), "{error}");
        assert!(problem.help.clone().unwrap_or_default().contains(help), "{error}");
    }
    let two = user(
        ", \"attrs\": {\"a\": 1} },\n { \"uid\": { \"type\": \"Tidegate::User\", \"id\": \"i|v\" }, \"attrs\": {\"a\": \"x\"}",
    );
    let error = compile(&two, "").map(|_| "accepted").expect_err("two types").to_string();
    assert!(error.contains("entities.json:3:2: `/1/attrs/a` is String, but Long at `/0`"), "{error}");
}

#[test]
fn a_group_that_is_nearly_listed_gets_a_suggestion() {
    let wall = "@id(\"x\") forbid (principal in Tidegate::Group::\"sellrs\", action, resource);";
    let error = compile(ENTITIES, wall).map(|_| "accepted").expect_err("there is no such group").to_string();
    assert!(error.contains("no group is called `sellrs`") && error.contains("did you mean `sellers`?"), "{error}");
}
