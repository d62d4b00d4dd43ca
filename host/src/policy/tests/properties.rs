//! What must hold for any input: slices decide as the whole set does, visible arguments fit the schema, nothing panics.

use cedar_policy::{Context, Entities, EntityUid, PolicyId, PolicySet, Request, Schema};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Policies of many shapes; any subset of them is valid on the fixture.
const POOL: [&str; 14] = [
    r#"@id("any") forbid (principal, action, resource) when { principal.subject == "u2" };"#,
    r#"@id("named") forbid (principal == Tidegate::User::"i|u1", action, resource) when { context.session.scopes.contains("use:echo") };"#,
    r#"@id("in-user") forbid (principal in Tidegate::User::"i|u3", action == Tidegate::Action::"list_tool", resource);"#,
    r#"@id("is-user") permit (principal is Tidegate::User, action == Tidegate::Action::"list_tool", resource) when { principal has client };"#,
    r#"@id("calls") forbid (principal, action in Tidegate::Action::"call_tool", resource) when { resource.risk == Tidegate::Risk::"high" } unless { principal.hasTag("groups") && principal.getTag("groups").contains("finance") };"#,
    r#"@id("some-calls") permit (principal, action in [Tidegate::Action::"get_invoice", Tidegate::Action::"pay_invoice"], resource) when { context.input.invoice_id like "i*" };"#,
    r#"@id("plugin") forbid (principal, action, resource in Tidegate::Plugin::"invoices") unless { principal has tenant && principal.tenant == "acme" };"#,
    r#"@id("is-tool") permit (principal, action == Tidegate::Action::"echo", resource is Tidegate::Tool in Tidegate::Plugin::"echo") when { context.input.text != "" };"#,
    r#"@id("tool") forbid (principal, action, resource == Tidegate::Tool::"pay_invoice") unless { context.session.scopes.containsAny(["write:invoices"]) };"#,
    r#"@id("overflow") forbid (principal, action == Tidegate::Action::"pay_invoice", resource) when { context.input has amount_cents && context.input.amount_cents + 9223372036854775807 > 0 };"#,
    r#"@id("mine") permit (principal, action == Tidegate::Action::"list_invoices", resource) when { context.input has user_id && context.input.user_id == principal.subject };"#,
    r#"@id("computed") forbid (principal, action == Tidegate::Action::"echo", resource) when { principal.hasTag(context.input.text) };"#,
    r#"@id("action") forbid (principal, action, resource) when { action in Tidegate::Action::"call_tool" && resource in Tidegate::Plugin::"echo" && principal has client };"#,
    r#"@id("whole") permit (principal, action == Tidegate::Action::"get_invoice", resource) when { context.input == {invoice_id: "i1"} };"#,
];

fn any_principal() -> impl Strategy<Value = Principal> {
    let text = prop_oneof![Just("u1"), Just("u2"), Just("u3"), Just("acme"), Just("groups"), Just("")];
    let text = text.prop_map(str::to_owned);
    let scope = prop_oneof![Just("read:invoices"), Just("write:invoices"), Just("use:echo")];
    let claim =
        prop_oneof![Just(json!("finance")), Just(json!(["staff", "finance"])), Just(json!(true)), Just(json!({ "a": 1 }))];
    let name = prop_oneof![Just("groups"), Just("team"), Just("hi")].prop_map(str::to_owned);
    let optional = || proptest::option::of(prop_oneof![Just("acme"), Just("other")].prop_map(str::to_owned));
    (text, vec(scope, 0..3), btree_map(name, claim, 0..3), optional(), optional()).prop_map(
        |(subject, scopes, claims, tenant, client)| Principal {
            issuer: "i".to_owned(),
            subject,
            client,
            tenant,
            claims,
            ..principal(&scopes)
        },
    )
}

/// A tool and arguments that fit it.
fn any_call() -> impl Strategy<Value = (&'static str, Value)> {
    let id = prop_oneof![Just("i1"), Just("x1"), Just("")];
    let text = prop_oneof![Just("hi"), Just("groups"), Just("team"), Just("")];
    let cents = proptest::option::of(prop_oneof![Just(-1_i64), Just(0), Just(1), any::<i64>()]);
    let user = proptest::option::of(prop_oneof![Just("u1"), Just("u2")]);
    let with = |mut value: Value, name: &str, further: Value| {
        if !further.is_null() {
            value[name] = further;
        }
        value
    };
    prop_oneof![
        text.prop_map(|text| ("echo", json!({ "text": text }))),
        id.clone().prop_map(|id| ("get_invoice", json!({ "invoice_id": id }))),
        user.prop_map(move |user| ("list_invoices", with(json!({}), "user_id", json!(user)))),
        (id, cents)
            .prop_map(move |(id, cents)| { ("pay_invoice", with(json!({ "invoice_id": id }), "amount_cents", json!(cents))) }),
    ]
}

/// Everything as Cedar itself reads it from JSON, checked against the schema: no slices, nothing left out.
fn decide_on_the_whole(
    policies: &Policies,
    admin: &str,
    fixture: &Fixture,
    principal: &Principal,
    (name, input): (&str, Option<&Value>),
) -> Verdict {
    let schema: Schema = policies.schema_text().parse().expect("the schema is valid");
    let texts = format!("{}\n{admin}", policies.generated_text());
    let all: PolicySet = texts.parse().expect("the policies are valid");
    let all = PolicySet::from_policies(
        all.policies().map(|policy| policy.new_id(PolicyId::new(policy.annotation("id").expect("each has an id")))),
    );
    let claim = |value: &Value| match value {
        Value::Array(values) => Some(json!(values)),
        Value::String(_) => Some(json!([value])),
        Value::Bool(flag) => Some(json!([flag.to_string()])),
        _ => None,
    };
    let tags: serde_json::Map<_, _> =
        principal.claims.iter().filter_map(|(name, value)| Some((name.clone(), claim(value)?))).collect();
    let mut attributes = json!({ "issuer": principal.issuer, "subject": principal.subject, "claims": {} });
    for (name, value) in [("tenant", &principal.tenant), ("client", &principal.client)] {
        value.iter().for_each(|value| attributes[name] = json!(value));
    }
    let user = json!({ "type": "Tidegate::User", "id": format!("i|{}", principal.subject) });
    let mut entities = vec![json!({ "uid": user, "attrs": attributes, "tags": tags, "parents": [] })];
    for subject in fixture.subjects() {
        let tool = subject.tool;
        entities.push(json!({
            "uid": { "type": "Tidegate::Tool", "id": tool.name.as_str() },
            "attrs": {
                "effect": { "__entity": { "type": "Tidegate::Effect", "id": tool.effect.as_str() } },
                "risk": { "__entity": { "type": "Tidegate::Risk", "id": tool.risk.as_str() } },
            },
            "parents": [{ "type": "Tidegate::Plugin", "id": subject.plugin }],
        }));
    }
    let entities = Entities::from_json_value(json!(entities), Some(&schema)).expect("the entities fit the schema");
    let uid = |kind: &str, id: &str| EntityUid::from_json(json!({ "type": kind, "id": id })).expect("a name");
    let action = uid("Tidegate::Action", if input.is_some() { name } else { "list_tool" });
    let scopes: Vec<String> = principal.scopes.iter().map(Scope::to_string).collect();
    let mut context = json!({ "session": { "scopes": scopes, "trace_id": TRACE } });
    input.iter().for_each(|input| context["input"] = (*input).clone());
    let context = Context::from_json_value(context, Some((&schema, &action))).expect("the context fits the schema");
    let user = EntityUid::from_json(user).expect("a name");
    let request =
        Request::new(user, action, uid("Tidegate::Tool", name), context, Some(&schema)).expect("the request fits the schema");
    decision::Tally::of(&cedar_policy::Authorizer::new().is_authorized(&request, &all.expect("ids are unique"), &entities))
        .verdict()
}

/// A JSON Schema in the making, with values that fit it.
#[derive(Clone, Debug)]
enum Shape {
    Flag,
    Count,
    Text,
    Fraction,
    Anything,
    Choice,
    Or(Box<Shape>),
    List(Box<Shape>),
    Object(BTreeMap<String, (bool, Shape)>),
}

impl Shape {
    fn any() -> impl Strategy<Value = Self> {
        let leaf = prop_oneof![
            Just(Self::Flag),
            Just(Self::Count),
            Just(Self::Text),
            Just(Self::Fraction),
            Just(Self::Anything),
            Just(Self::Choice)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let name = prop_oneof!["[a-c]", "in|if|type|__cedar|Set|__entity|__extn", "\\PC{0,3}", "(?s).{0,2}"];
            prop_oneof![
                inner.clone().prop_map(|shape| Self::Or(Box::new(shape))),
                inner.clone().prop_map(|shape| Self::List(Box::new(shape))),
                btree_map(name, (any::<bool>(), inner), 0..4).prop_map(Self::Object),
            ]
        })
    }

    fn schema(&self) -> Value {
        match self {
            Self::Flag => json!({ "type": "boolean" }),
            Self::Count => json!({ "type": "integer" }),
            Self::Text => json!({ "type": "string", "format": "date" }),
            Self::Fraction => json!({ "type": "number" }),
            Self::Anything => json!({}),
            Self::Choice => json!({ "enum": ["a", "b"] }),
            Self::Or(shape) => json!({ "anyOf": [shape.schema(), { "type": "null" }] }),
            Self::List(shape) => json!({ "type": "array", "items": shape.schema() }),
            Self::Object(properties) => {
                let required: Vec<_> = properties.iter().filter(|(_, (required, _))| *required).map(|(name, _)| name).collect();
                let properties: BTreeMap<_, _> = properties.iter().map(|(name, (_, shape))| (name, shape.schema())).collect();
                json!({ "type": "object", "properties": properties, "required": required })
            }
        }
    }

    /// A value that the schema accepts, chosen by `dice`.
    fn value(&self, dice: &mut impl FnMut(usize) -> usize) -> Value {
        match self {
            Self::Flag => json!(dice(2) == 0),
            Self::Count => [json!(0), json!(i64::MIN), json!(i64::MAX), json!(-3.0), json!(1e18)][dice(5)].clone(),
            Self::Text => ["", "x", "\u{202e}\"\\\n"][dice(3)].into(),
            Self::Fraction => json!(0.5),
            Self::Anything => [json!(null), json!([{}]), json!(1e300)][dice(3)].clone(),
            Self::Choice => ["a", "b"][dice(2)].into(),
            Self::Or(shape) if dice(2) == 0 => shape.value(dice),
            Self::Or(_) => Value::Null,
            Self::List(shape) => (0..dice(4)).map(|_| shape.value(dice)).collect(),
            Self::Object(properties) => {
                let present = properties.iter().filter(|(_, (required, _))| *required || dice(2) == 0).collect::<Vec<_>>();
                let mut object: Arguments =
                    present.into_iter().map(|(name, (_, shape))| (name.clone(), shape.value(dice))).collect();
                if dice(4) == 0 {
                    object.entry("undeclared").or_insert(json!([1, "a"]));
                }
                Value::Object(object)
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("user_id".to_owned()),
        Just("amount_cents".to_owned()),
        Just("tags".to_owned()),
        Just("lines".to_owned()),
        Just("customer".to_owned()),
        Just("invoice_id".to_owned()),
        ".{0,4}"
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), btree_map(name.clone(), inner, 0..6).prop_map(|m| json!(m))]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_slice_decides_as_the_whole_set_does(
        subset in vec(any::<bool>(), POOL.len()),
        calls in vec((any_principal(), any_call()), 1..6),
    ) {
        let fixture = Fixture::load();
        let admin: Vec<&str> = POOL.iter().zip(subset).filter(|(_, chosen)| *chosen).map(|(text, _)| *text).collect();
        let admin = admin.join("\n");
        let policies = fixture.compile(&[file("pool.cedar", &admin)]).unwrap_or_else(|error| panic!("{error}"));
        for (principal, (name, input)) in &calls {
            let whole = decide_on_the_whole(&policies, &admin, &fixture, principal, (name, Some(input)));
            let call = policies.decide(principal, &tool(name), PolicyAction::Call(&arguments(input.clone())), TRACE);
            prop_assert_eq!(call, whole);
            let whole = decide_on_the_whole(&policies, &admin, &fixture, principal, (name, None));
            prop_assert_eq!(&policies.decide(principal, &tool(name), PolicyAction::List, TRACE), &whole);
            prop_assert_eq!(policies.listed(principal, TRACE).contains(&&tool(name)), whole.decision == Decision::Allow);
        }
    }

    #[test]
    fn what_a_schema_accepts_fits_the_cedar_type(
        properties in btree_map("[a-d]|in|\\PC{0,2}", (any::<bool>(), Shape::any()), 0..5),
        seed in vec(any::<u8>(), 64),
    ) {
        let shape = Shape::Object(properties);
        let mut manifest = Fixture::load().plugins.swap_remove(0);
        manifest.tools.truncate(1);
        let schema = shape.schema();
        let subject = PolicySubject { plugin: "echo", tool: &manifest.tools[0], input_schema: &schema, resources: &[] };
        let policies = Policies::compile(&[subject], &[], GeneratedPermits::On).unwrap_or_else(|error| panic!("{error}"));
        let parsed: Schema = policies.schema_text().parse().expect("the schema is valid");
        let mut rolls = seed.iter().cycle();
        let mut dice = |sides: usize| usize::from(*rolls.next().expect("the seed is not empty")) % sides;
        let value = arguments(shape.value(&mut dice));
        let caller = principal(&["use:echo"]);
        let caller = policies.caller(&caller, TRACE);
        let holding = Holding { needed: &[], arguments: Some(&value), suppose: false };
        let context = caller.calling(None, holding, &policies.tools["echo"].input, &policies.tools["echo"].input, &value);
        let context = context.map_err(TestCaseError::fail)?;
        let checked = context.validate(&parsed, &policies.vocabulary.names.action("echo"));
        prop_assert!(checked.is_ok(), "{:?}\n{}\n{}", checked, policies.schema_text(), json!(value));
    }

    #[test]
    fn no_input_makes_a_decision_panic(
        inputs in vec(any_json(), 1..8),
        who in any_principal(),
        claim in any_json(),
        texts in (".{0,8}", ".{0,8}", ".{0,8}"),
    ) {
        let policies = Fixture::load().compile(&[file("pool.cedar", &POOL.join("\n"))]).unwrap_or_else(|error| panic!("{error}"));
        let (issuer, subject, trace) = texts;
        let who = Principal { issuer, subject, claims: [("groups".to_owned(), claim)].into(), ..who };
        for input in inputs {
            let input = arguments(if input.is_object() { input } else { json!({ "text": input }) });
            for name in policies.tools.keys() {
                let verdict = policies.decide(&who, name, PolicyAction::Call(&input), &trace);
                prop_assert!(verdict.decision == Decision::Deny || verdict.errors.is_empty());
            }
        }
    }
}
