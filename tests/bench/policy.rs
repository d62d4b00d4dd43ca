//! What decisions cost, by the number of policies: calls, listings and single rows, for 100 tools.
//!
//! `cargo bench --bench policy` prints microseconds of CPU per decision, medians of several rounds on one thread. In the first table
//! the policies are spread over the tools as admins write them, in the second all of them are about one tool.

#![expect(dead_code, unused_imports, reason = "a part of the host is compiled in here, and only its decisions are used")]

#[path = "../../host/src/model/mod.rs"]
mod model;
#[path = "../../host/src/policy/mod.rs"]
mod policy;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use model::{Arguments, Decision, Manifest, Principal, ToolName};
use policy::{GeneratedPermits, Policies, PolicyAction, PolicyFile, PolicySubject};

/// As in the host.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOOLS: usize = 100;
const RESOURCES: usize = 10;
/// One policy in this many is about rows.
const ROWS: usize = 5;
/// One policy in this many is about everything.
const WALLS: usize = 25;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(40);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn main() {
    println!("µs of CPU per decision, {TOOLS} tools, one thread; medians of {ROUNDS} rounds");
    for (title, spread) in [("policies spread over the tools", true), ("all policies about one tool", false)] {
        println!("\n{title}");
        println!(
            "{:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "policies", "call", "list", "row", "rows for", "hint", "all lists", "compile"
        );
        for count in [10, 100, 500, 1000] {
            let started = Instant::now();
            let policies = Arc::new(compile(count, spread));
            let compiled = started.elapsed();
            let [call, list, row, access, hint, listed] = measure(&policies);
            let compiled = compiled.as_millis();
            println!("{count:>9} {call:>9.1} {list:>9.1} {row:>9.1} {access:>9.1} {hint:>9.1} {listed:>9.1} {compiled:>6} ms");
        }
    }
}

/// The median time of each kind of decision, in microseconds.
fn measure(policies: &Arc<Policies>) -> [f64; 6] {
    let (principal, tool) = (principal(), name(0));
    let Value::Object(arguments) = json!({ "user_id": "u1", "amount_cents": 17, "status": "open" }) else { unreachable!() };
    let call = || policies.decide(&principal, &tool, PolicyAction::Call(&arguments), TRACE);
    let access = || policies.row_access(&principal, &tool, &arguments, TRACE);
    let rows = access();
    let row = json!({ "user_id": "u1", "status": "open", "amount_cents": 17, "note": "not declared" });
    assert_eq!(call().decision, Decision::Allow, "{:?}", call());
    assert_eq!(rows.permits("r0", &row).decision, Decision::Allow);
    [
        time(call),
        time(|| policies.decide(&principal, &tool, PolicyAction::List, TRACE)),
        time(|| rows.permits("r0", &row)),
        time(access),
        time(|| rows.hint("r0")),
        time(|| policies.listed(&principal, TRACE).len()),
    ]
}

fn time<T>(mut decide: impl FnMut() -> T) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (started, mut count) = (spent(), 0_u32);
            while spent() - started < ROUND {
                for _ in 0..8 {
                    black_box(decide());
                }
                count += 8;
            }
            (spent() - started).as_secs_f64() * 1e6 / f64::from(count)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// What this thread has spent of the CPU: others on the machine do not count.
fn spent() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn name(tool: usize) -> ToolName {
    format!("tool_{tool}").parse().expect("a tool name")
}

fn compile(count: usize, spread: bool) -> Policies {
    let tool = |number: usize| {
        let resource = number % RESOURCES;
        format!(
            "[[tool]]\nname = \"tool_{number}\"\neffect = \"read\"\nscopes = [\"read:r{resource}.where(user_id=$principal.sub)\"]\nrows = {{ pointer = \"/rows\", resource = \"r{resource}\" }}\n"
        )
    };
    let resource = |number: usize| {
        format!(
            "[[resource]]\nname = \"r{number}\"\ntype = \"Row{number}\"\nattributes = {{ user_id = \"String\", status = \"String\", amount_cents = \"Long\" }}\n"
        )
    };
    let text = format!(
        "name = \"bench\"\nversion = \"0.1.0\"\ncontract = \"0.1\"\n{}{}",
        (0..RESOURCES).map(resource).collect::<String>(),
        (0..TOOLS).map(tool).collect::<String>()
    );
    let manifest: Manifest = toml::from_str(&text).expect("a manifest");
    let schema = json!({
        "type": "object",
        "properties": { "user_id": { "type": "string" }, "amount_cents": { "type": "integer" }, "status": { "enum": ["open", "paid"] } },
        "required": ["user_id"],
    });
    let subjects: Vec<_> = manifest
        .tools
        .iter()
        .map(|tool| PolicySubject { plugin: "bench", tool, input_schema: &schema, resources: &manifest.resources })
        .collect();
    let walls = PolicyFile { path: "walls.cedar".into(), text: (0..count).map(|number| wall(number, spread)).collect() };
    Policies::compile(&subjects, &[walls], GeneratedPermits::On).unwrap_or_else(|error| panic!("{error}"))
}

/// A wall as admins write them: about everything, about the rows of one resource, or about one tool.
fn wall(number: usize, spread: bool) -> String {
    let of = |count: usize| if spread { number % count } else { 0 };
    let (head, condition) = match number {
        number if number % WALLS == WALLS - 1 => ("action, resource".to_owned(), "principal.subject == \"\"".to_owned()),
        number if number % ROWS == ROWS - 1 => (
            format!("action == Tidegate::Action::\"read:r{}\", resource", of(RESOURCES)),
            format!("resource.amount_cents > {} && resource.status == \"void\"", 1000 + number),
        ),
        number => (
            format!("action == Tidegate::Action::\"tool_{}\", resource", of(TOOLS)),
            match number % 3 {
                0 => format!("context.input has amount_cents && context.input.amount_cents > {}", 1000 + number),
                1 => "context.input has status && context.input.status == \"paid\" && !(principal.hasTag(\"groups\") && principal.getTag(\"groups\").contains(\"finance\"))".to_owned(),
                _ => "principal in Tidegate::Group::\"https://id.example|interns\" && context.input.user_id != principal.subject".to_owned(),
            },
        ),
    };
    format!("@id(\"wall-{number}\") forbid (principal, {head}) when {{ {condition} }};\n")
}

/// A caller with a usual token.
fn principal() -> Principal {
    let claims =
        json!({ "groups": ["staff", "finance"], "email": "u1@example.com", "amr": ["pwd", "otp"], "level": 3, "locale": "de" });
    let scopes = (0..RESOURCES).map(|resource| format!("read:r{resource}.where(user_id=$principal.sub)"));
    Principal {
        issuer: "https://id.example".to_owned(),
        subject: "u1".to_owned(),
        client: Some("agent".to_owned()),
        tenant: Some("acme".to_owned()),
        groups: vec!["staff".to_owned(), "finance".to_owned()],
        scopes: scopes.map(|scope| scope.parse().expect("a scope")).collect(),
        claims: serde_json::from_value(claims).expect("an object"),
    }
}
