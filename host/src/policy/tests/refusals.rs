//! What is refused at load, and what the operator is told.

use super::*;

/// The fixture with these policies in `walls.cedar`.
fn with_policies(text: &str) -> Result<Policies, PolicyError> {
    Fixture::load().compile(&[file("walls.cedar", text)])
}

/// Why it is refused.
fn refusal(text: &str) -> PolicyError {
    with_policies(text).map(|_| "accepted").expect_err(text)
}

/// The only problem of these policies: line, column, message, help.
fn only_problem(text: &str) -> (usize, usize, String, String) {
    let error = refusal(text);
    let [problem] = error.problems() else { panic!("one problem expected: {error}") };
    let place = problem.place.as_ref().expect("it has a place");
    assert_eq!(place.file, "walls.cedar");
    (place.line, place.column, problem.message.clone(), problem.help.clone().unwrap_or_default())
}

#[test]
fn a_typo_in_an_argument_is_shown_where_it_is() {
    let error = refusal(
        "// Large payments stop here.\n@id(\"limit\")\nforbid (principal, action == Tidegate::Action::\"create_invoice\", resource)\nwhen { context.input.amuont_cents > 100 };\n",
    );
    assert_eq!(
        error.to_string(),
        r#"the policies are refused, none of them takes effect

walls.cedar:4:8: for policy `limit`, attribute `input.amuont_cents` in context for Tidegate::Action::"create_invoice" not found
  |
4 | when { context.input.amuont_cents > 100 };
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: did you mean `amount_cents`?"#
    );
}

#[test]
fn a_policy_that_is_impossible_is_refused() {
    let (line, _, message, _) = only_problem(
        "@id(\"never\")\nforbid (principal, action in Tidegate::Action::\"call_tool\", resource)\nwhen { principal is Tidegate::Plugin };",
    );
    assert_eq!(line, 1);
    assert!(message.contains("policy is impossible"), "{message}");
}

#[test]
fn an_optional_argument_must_be_guarded() {
    let (line, _, message, help) = only_problem(
        "@id(\"x\")\nforbid (principal, action == Tidegate::Action::\"pay_invoice\", resource)\nwhen { context.input.amount_cents > 1 };",
    );
    assert_eq!(line, 3);
    assert!(message.contains("optional attribute `input.amount_cents`"), "{message}");
    assert!(help.contains("has"), "{help}");
}

#[test]
fn an_argument_that_policies_cannot_see_is_refused() {
    let text = "@id(\"x\") forbid (principal, action == Tidegate::Action::\"create_invoice\", resource) when { context.input has tax_rate };";
    let (.., message, _) = only_problem(text);
    assert!(message.contains("impossible"), "{message}");
}

#[test]
fn an_unknown_action_gets_a_suggestion() {
    let text = "@id(\"x\")\nforbid (principal, action == Tidegate::Action::\"pay_invioce\", resource);";
    let (line, column, message, help) = only_problem(text);
    assert_eq!((line, column), (2, 48));
    assert_eq!(message, "for policy `x`, no action is called `pay_invioce`");
    assert_eq!(help, "did you mean `pay_invoice`?");
}

#[test]
fn an_unknown_tool_plugin_or_user_is_refused() {
    let (line, column, message, help) =
        only_problem("@id(\"x\")\nforbid (principal, action, resource == Tidegate::Tool::\"pay_invioce\");");
    assert_eq!((line, column), (2, 56));
    assert_eq!(message, "for policy `x`, no tool is called `pay_invioce`");
    assert_eq!(help, "did you mean `pay_invoice`?");
    let (.., message, help) = only_problem("@id(\"x\") forbid (principal, action, resource in Tidegate::Plugin::\"billing\");");
    assert_eq!(message, "for policy `x`, no plugin is called `billing`");
    assert_eq!(help, "only what a loaded plugin brings can be named; `tidegate policy generate` prints it");
    let (.., message, help) = only_problem("@id(\"x\") forbid (principal in Tidegate::Group::\"finance\", action, resource);");
    assert_eq!(message, "for policy `x`, no group is called `finance`");
    assert!(help.contains("<issuer>|<group>"), "{help}");
    let (.., message, help) = only_problem(
        "@id(\"x\") forbid (principal, action == Tidegate::Action::\"read:invoices\", resource == Tidegate::Invoice::\"i1\");",
    );
    assert_eq!(message, "for policy `x`, no row is called `i1`");
    assert!(help.contains("rows have no names"), "{help}");
    let (.., message, help) = only_problem("@id(\"x\") forbid (principal == Tidegate::User::\"u1\", action, resource);");
    assert_eq!(message, "for policy `x`, no user is called `u1`");
    assert!(help.contains("<issuer>|<subject>"), "{help}");
}

#[test]
fn a_rule_that_no_decision_ever_asks_is_refused() {
    for text in [
        // The resource of a call is the tool it calls.
        "@id(\"x\") forbid (principal, action == Tidegate::Action::\"pay_invoice\", resource == Tidegate::Tool::\"echo\");",
        "@id(\"x\") forbid (principal, action == Tidegate::Action::\"echo\", resource in Tidegate::Plugin::\"invoices\");",
    ] {
        let (.., message, _) = only_problem(text);
        assert_eq!(message, "policy `x` can never match: no decision has its action and resource");
    }
}

#[test]
fn looking_into_an_entity_by_name_is_refused() {
    let (.., message, _) = only_problem(
        "@id(\"x\") forbid (principal, action, resource in Tidegate::Plugin::\"echo\") when { Tidegate::User::\"i|u\".subject == \"u\" };",
    );
    assert!(message.contains("entity literal"), "{message}");
}

#[test]
fn syntax_errors_show_their_place() {
    let (line, column, message, _) =
        only_problem("@id(\"x\")\nforbid (principal, action, resource)\nwhen { principal.subject = \"u\" };");
    assert_eq!((line, column), (3, 8));
    assert!(message.contains('='), "{message}");
    assert!(refusal("\u{feff}permit").to_string().contains("walls.cedar:1:1"));
}

#[test]
fn ids_are_present_unique_and_not_ours() {
    let forbid = |head: &str| format!("{head} forbid (principal, action, resource) when {{ principal.subject == \"x\" }};");
    let (line, _, message, help) = only_problem(&format!("// forbid\n\n{}", forbid("")));
    assert_eq!((line, message.as_str()), (3, "the policy has no `@id`"));
    assert!(help.contains("@id(\""), "{help}");
    let twice = format!("{}\n{}", forbid("@id(\"a\")"), forbid("@id(\"a\")"));
    let (line, _, message, _) = only_problem(&twice);
    assert_eq!((line, message.as_str()), (2, "`a` is already the id of the policy at walls.cedar:1"));
    let (.., message, _) = only_problem(&forbid("@id(\"tidegate.call.echo\")"));
    assert_eq!(message, "ids that begin with `tidegate.` are for generated policies");
    let (.., message, _) = only_problem(&forbid("@id(\"two words\")"));
    assert!(message.contains("visible ASCII"), "{message}");
}

#[test]
fn an_annotation_without_meaning_is_refused() {
    for (annotation, message, help) in [
        ("@mode(\"shdow\")", "`@mode` cannot be `shdow`", "did you mean `@mode(\"shadow\")`?"),
        ("@mode", "`@mode` cannot be ``", "write `@mode(\"shadow\")` for a policy that only watches"),
        ("@mod(\"shadow\")", "the annotation `@mod` has no meaning here", "did you mean `@mode`?"),
        ("@owner(\"me\")", "the annotation `@owner` has no meaning here", "annotations are"),
    ] {
        let policy = "permit (principal, action, resource) when { principal.subject == \"x\" };";
        let (.., told, helped) = only_problem(&format!("@id(\"trial\") {annotation} {policy}"));
        assert_eq!(told, message);
        assert!(helped.starts_with(help), "{helped}");
    }
}

#[test]
fn templates_are_refused() {
    let (.., message, _) = only_problem("@id(\"x\") permit (principal == ?principal, action, resource);");
    assert!(message.contains("templates"), "{message}");
}

#[test]
fn characters_that_look_like_others_are_refused() {
    let (.., message, _) =
        only_problem("@id(\"x\") forbid (principal, action, resource) when { principal.subject == \"\u{430}dmin\" };");
    assert!(message.contains("mixed scripts"), "{message}");
}

#[test]
fn all_problems_of_all_files_are_told_at_once() {
    let error = Fixture::load()
        .compile(&[
            file("b.cedar", "@id(\"b\") forbid (principal, action == Tidegate::Action::\"nothing\", resource);"),
            file("a.cedar", "@id(\"a\") forbid (principal, action, resource == Tidegate::Tool::\"nothing\");"),
            file("c.cedar", "@id(\"c\") forbid (principal, action, resource) when { principal.subject == \"x\" };"),
        ])
        .map(|_| "accepted")
        .expect_err("two of three files are wrong");
    let files: Vec<_> = error.problems().iter().filter_map(|problem| Some(problem.place.as_ref()?.file.as_str())).collect();
    assert!(files.contains(&"a.cedar") && files.contains(&"b.cedar") && !files.contains(&"c.cedar"), "{error}");
}

#[test]
fn a_commented_copy_does_not_move_the_place() {
    let policy = "forbid (principal, action, resource) when { principal.subject == \"x\" };";
    let (line, ..) = only_problem(&format!("// {policy}\n{policy}"));
    assert_eq!(line, 2);
}

#[test]
fn policies_that_nest_too_deeply_are_refused_before_they_exhaust_the_stack() {
    let nested = |open: &str, close: &str, count: usize| {
        let (open, close) = (open.repeat(count), close.repeat(count));
        format!("@id(\"deep\") forbid (principal, action, resource) when {{ {open}principal.subject == \"x\"{close} }};")
    };
    let shapes = [
        ("(", ")", 25),
        ("[", "].contains(true)", 25),
        ("if true then ", " else false", 10),
        ("", " || principal.subject == \"x\"", 60),
        ("", " || true", 190),
    ];
    for (open, close, fitting) in shapes {
        let policies = with_policies(&nested(open, close, fitting)).unwrap_or_else(|error| panic!("{error}"));
        let verdict = policies.decide(&principal(&["use:echo"]), &tool("echo"), PolicyAction::List, "t");
        assert_eq!(verdict.errors, [""; 0], "what is accepted can be decided on a usual stack");
        for count in [1000, 20_000] {
            let error = with_policies(&nested(open, close, count)).map(|_| "accepted").expect_err("it is too deep");
            assert!(error.to_string().contains("more than"), "{error}");
        }
    }
}

#[test]
fn manifests_that_policies_cannot_express_are_refused() {
    let refused = |change: &dyn Fn(&mut Fixture)| {
        let mut fixture = Fixture::load();
        change(&mut fixture);
        fixture.compile(&[]).map(|_| "accepted").expect_err("the change is wrong").to_string()
    };
    let error = refused(&|fixture| {
        fixture.plugins[0].tools[0].name = tool("call_tool");
        fixture.schemas.insert("call_tool".to_owned(), json!({}));
    });
    assert!(error.contains("plugin `echo`: the tool name `call_tool` is reserved"), "{error}");
    let error = refused(&|fixture| fixture.plugins[0].tools[0].name = tool("in"));
    assert!(error.contains("the tool `in` is in plugin `echo` and in plugin `odd-names`"), "{error}");
    let error = refused(&|fixture| fixture.plugins[1].resources[0].type_name = "User".to_owned());
    assert!(error.contains("resource `invoices` cannot have the type `User`"), "{error}");
    let error = refused(&|fixture| fixture.plugins[2].resources[0].type_name = "Invoice".to_owned());
    assert!(error.contains("resource `credit-notes` (type `Invoice`) is declared differently elsewhere"), "{error}");
    let error = refused(&|fixture| {
        fixture.plugins[1].resources[0].attributes.insert("paid".to_owned(), "Float".to_owned());
    });
    assert!(error.contains("attribute `paid` of resource `invoices` has the unknown type `Float`"), "{error}");
}

#[test]
fn a_text_that_an_argument_never_equals_is_refused() {
    let on = |action: &str, condition: &str| {
        format!("@id(\"x\")\nforbid (principal, action {action}, resource)\nwhen {{ {condition} }};")
    };
    let list = "== Tidegate::Action::\"list_invoices\"";
    let status = "context.input has status && context.input.status";
    for condition in [
        format!("{status} == \"opne\""),
        format!("{status} != \"opne\""),
        "context.input has status && \"opne\" == context.input.status".to_owned(),
        "context.input has status && [\"paid\", \"opne\"].contains(context.input.status)".to_owned(),
    ] {
        let (line, _, message, help) = only_problem(&on(list, &condition));
        assert_eq!((line, message.as_str()), (3, "for policy `x`, the argument `/status` is never \"opne\""), "{condition}");
        assert_eq!(help, "did you mean \"open\"?");
    }
    let (.., help) = only_problem(&on(list, &format!("{status} == \"x\"")));
    assert_eq!(help, "it is one of \"open\", \"paid\", \"void\"");
    let find = "== Tidegate::Action::\"find_entries\"";
    for condition in ["contains(\"rd\")", "containsAny([\"red\", \"rd\"])", "containsAll([\"rd\"])"] {
        let (.., message, help) =
            only_problem(&on(find, &format!("context.input has filter.teams && context.input.filter.teams.{condition}")));
        assert_eq!(message, "for policy `x`, the argument `/filter/teams/*` is never \"rd\"");
        assert_eq!(help, "did you mean \"red\"?");
    }
    for fitting in [
        on(list, &format!("{status} == \"open\"")),
        on(list, "context.input has user_id && context.input.user_id == \"opne\""),
        on(find, "context.input has filter.teams && context.input.filter.teams.contains(\"blue\")"),
    ] {
        with_policies(&fitting).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_text_that_is_one_tools_choice_may_be_compared_for_all_of_them() {
    let compile = |second: Value| {
        let mut fixture = Fixture::load();
        let schema = |status: Value| json!({ "type": "object", "properties": { "status": status }, "required": ["status"] });
        fixture.schemas.insert("echo".to_owned(), schema(json!({ "enum": ["open", "paid"] })));
        fixture.schemas.insert("own_entries".to_owned(), schema(second));
        let wall = "@id(\"x\") forbid (principal, action in [Tidegate::Action::\"echo\", Tidegate::Action::\"own_entries\"], resource) when { context.input.status == \"late\" };";
        fixture.compile(&[file("walls.cedar", wall)]).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(compile(json!({ "enum": ["late"] })), Ok(()));
    assert_eq!(compile(json!({ "type": "string" })), Ok(()));
    assert_eq!(compile(json!({ "anyOf": [{ "const": "due" }, { "type": "string" }] })), Ok(()));
    assert!(compile(json!({ "enum": ["due", null] })).is_err());
}

#[test]
fn a_scope_that_is_written_as_no_scope_is_refused() {
    let asking = |question: &str| {
        only_problem(&format!(
            "@id(\"x\")\nforbid (principal, action, resource)\nunless {{ context.session.scopes.{question} }};"
        ))
    };
    let (line, _, message, _) = asking("contains(\"read invoices\")");
    assert_eq!(line, 3);
    assert!(message.starts_with("for policy `x`, `read invoices` is not a scope: at column 5, expected `:`"), "{message}");
    let (.., message, help) = asking("containsAll([\"use:echo\", \"read:entries.where(owner='%61')\"])");
    assert_eq!(message, "for policy `x`, no scope is written as `read:entries.where(owner='%61')`");
    assert_eq!(help, "write it as policies see it: `read:entries.where(owner='a')`");
}
