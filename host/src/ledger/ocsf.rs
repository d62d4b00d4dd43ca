//! Records as events of the Open Cybersecurity Schema Framework (OCSF 1.5), class API Activity, for those who collect such.
//!
//! Every record becomes one event: the intent and the outcome of a call carry the same `metadata.correlation_uid`, the call's id.
//! What the schema has no place for stands under `unmapped`, the record's hash and sequence above all, so that an event can be
//! traced to the record, and the record proven.

use serde_json::{Map, Value, json};

use super::audit::Record;
use super::chain::Kind;
use super::reading::{GONE, Reading, uid};

/// The version of the schema.
const VERSION: &str = "1.5.0";

/// The class API Activity.
const CLASS: u64 = 6003;

/// The members of a body that the schema has a place for.
const MAPPED: [&str; 3] = ["answer", "arguments", "trace_id"];

/// A number of an enumeration of the schema, and its caption.
type Coded<'a> = (u64, &'a str);

/// The event that a record of the log `log` is. `intent` is the intent that an outcome ends: without it the event does not say who
/// called.
pub fn event(log: &str, record: &Record, intent: Option<&Record>) -> Value {
    let told = Reading::of(record, intent);
    let head = &record.head;
    let (activity, status) = (activity(&told), status(&told));
    let (severity, (action, disposition)) = (severity(&told, status), verdict(&told));
    let mut event = Members::default();
    event.put("category_uid", Some(6)).put("category_name", Some("Application Activity"));
    event.put("class_uid", Some(CLASS)).put("class_name", Some("API Activity"));
    event.coded("activity", "activity_name", activity).coded("severity", "severity", severity);
    let caption = if activity.0 == 99 { "Other" } else { activity.1 };
    event.put("type_uid", Some(CLASS * 100 + activity.0)).put("type_name", Some(format!("API Activity: {caption}")));
    event.coded("status", "status", status).coded("action", "action", action).coded("disposition", "disposition", disposition);
    event.put("status_code", told.outcome()).put("status_detail", detail(&told));
    event.put("message", Some(message(&told))).put("time", Some(head.at.as_millis()));
    if let Some(risk) = risk(&told) {
        event.coded("risk_level", "risk_level", risk);
    }
    event.put("metadata", Some(metadata(log, &told)));
    event.put("actor", Some(actor(&told))).put("src_endpoint", Some(json!({ "name": endpoint(&told) })));
    event.put("api", Some(api(&told)));
    event.put("trace", told.text("trace_id").map(|trace| json!({ "uid": trace })));
    let decision = if disposition.0 == 2 { "deny" } else { "allow" };
    let policies: Vec<Value> =
        told.texts("policies").map(|policy| json!({ "decision": decision, "policy": { "uid": policy } })).collect();
    event.put("authorizations", Some(policies).filter(|policies| !policies.is_empty()));
    if head.call.is_some() {
        let (set, version) = (head.policy.to_string(), head.generation.to_string());
        event.put("policy", Some(json!({ "uid": set, "name": "policy set in force", "version": version })));
    }
    times(&told, &mut event);
    event.put("observables", Some(observables(&told)).filter(|found| !found.is_empty()));
    event.put("unmapped", Some(unmapped(&told)));
    event.0.into()
}

/// How much a record matters, as the schema counts: 1 is informational, 4 is high.
pub(super) fn severity_of(record: &Record, intent: Option<&Record>) -> u64 {
    let told = Reading::of(record, intent);
    severity(&told, status(&told)).0
}

/// Members of an object; what is not known is left out, the schema knows no nulls.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn put(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// `<name>_id`, and its caption as `caption`.
    fn coded(&mut self, name: &str, caption: &str, (id, words): Coded<'_>) -> &mut Self {
        self.put(&format!("{name}_id"), Some(id)).put(caption, Some(words))
    }
}

fn activity<'a>(told: &'a Reading<'_>) -> Coded<'a> {
    match told.kind() {
        Kind::Admin | Kind::Checkpoint => (99, told.operation()),
        Kind::Intent | Kind::Outcome | Kind::Rejection => match told.text("effect") {
            Some("read") => (2, "Read"),
            // Whether it creates, changes or deletes, only the tool knows.
            Some(_) => (99, "Write"),
            None => (0, "Unknown"),
        },
    }
}

fn status(told: &Reading<'_>) -> Coded<'static> {
    const SUCCESS: Coded<'_> = (1, "Success");
    const FAILURE: Coded<'_> = (2, "Failure");
    const UNKNOWN: Coded<'_> = (0, "Unknown");
    match told.kind() {
        Kind::Intent => (99, "Started"),
        _ if told.is_gone() => UNKNOWN,
        Kind::Outcome if told.text("disposition") == Some("unknown") => UNKNOWN,
        Kind::Outcome if told.outcome() == Some("completed") && told.get("is_error") != Some(&Value::Bool(true)) => SUCCESS,
        Kind::Outcome => FAILURE,
        Kind::Rejection if told.outcome() == Some("replayed") => SUCCESS,
        Kind::Rejection => FAILURE,
        Kind::Admin if told.text("action") == Some("reload_refused") => FAILURE,
        Kind::Admin | Kind::Checkpoint => SUCCESS,
    }
}

/// How much an event matters: what failed more than what went well, what nobody knows most, both by the risk of the tool.
fn severity(told: &Reading<'_>, status: Coded<'_>) -> Coded<'static> {
    const LEVELS: [Coded<'_>; 4] = [(1, "Informational"), (2, "Low"), (3, "Medium"), (4, "High")];
    let is_high = told.text("risk") == Some("high");
    LEVELS[match (told.kind(), status.0) {
        (Kind::Outcome, 0) if !told.is_gone() => 2 + usize::from(is_high),
        (Kind::Outcome, 2) => 1 + usize::from(is_high),
        // What a tool made up looks like a success.
        (Kind::Outcome, _) if is_despite_backend_error(told) => 1 + usize::from(is_high),
        (Kind::Rejection, 2) if matches!(told.outcome(), Some("permission_denied" | "insufficient_scope")) => 2,
        (Kind::Rejection | Kind::Admin, 2) => 1,
        // Records are missing where they were to be collected.
        (Kind::Admin, _) if told.text("action") == Some("sink_skipped") => 3,
        _ => 0,
    }]
}

/// What was decided, and what became of the call by that.
fn verdict(told: &Reading<'_>) -> (Coded<'static>, Coded<'static>) {
    const ALLOWED: (Coded<'_>, Coded<'_>) = ((1, "Allowed"), (1, "Allowed"));
    match told.kind() {
        Kind::Intent | Kind::Outcome => ALLOWED,
        Kind::Rejection if told.is_gone() => ((0, "Unknown"), (0, "Unknown")),
        Kind::Rejection if told.outcome() == Some("replayed") => ((1, "Allowed"), (16, "No Action")),
        Kind::Rejection => ((2, "Denied"), (2, "Blocked")),
        Kind::Admin | Kind::Checkpoint => ((3, "Observed"), (17, "Logged")),
    }
}

fn risk(told: &Reading<'_>) -> Option<Coded<'static>> {
    match told.text("risk")? {
        "low" => Some((1, "Low")),
        "medium" => Some((2, "Medium")),
        "high" => Some((3, "High")),
        _ => None,
    }
}

/// What operators are told beyond the code.
fn detail(told: &Reading<'_>) -> Option<String> {
    if told.is_gone() {
        return Some(GONE.to_owned());
    }
    let missing: Vec<&str> = told
        .get("scopes")
        .and_then(|scopes| scopes["missing"].as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let lacks = (told.kind() == Kind::Rejection && !missing.is_empty()).then(|| format!("lacks {}", missing.join(" ")));
    let despite = is_despite_backend_error(told).then(|| "it reported success although a backend failed it".to_owned());
    told.body().get("detail").and_then(Value::as_str).map(str::to_owned).or(lacks).or(despite)
}

/// Whether the guest reported success although the last attempt at one of its backends failed.
fn is_despite_backend_error(told: &Reading<'_>) -> bool {
    told.body().get("succeeded_despite_backend_error") == Some(&Value::Bool(true))
}

fn message(told: &Reading<'_>) -> String {
    let (operation, outcome) = (told.operation(), told.outcome().unwrap_or("unknown"));
    match told.kind() {
        Kind::Intent => format!("{operation} is about to run"),
        Kind::Outcome => format!("{operation} ended: {outcome}"),
        Kind::Rejection => format!("{operation} did not run: {outcome}"),
        Kind::Admin => format!("administration: {operation}"),
        Kind::Checkpoint => "the log up to here was signed".to_owned(),
    }
}

fn metadata(log: &str, told: &Reading<'_>) -> Value {
    let head = &told.record.head;
    let mut metadata = Members::default();
    metadata.put("version", Some(VERSION)).put("profiles", Some(json!(["security_control", "trace"])));
    let product = json!({ "name": "Tidegate", "vendor_name": "Tidegate", "version": env!("CARGO_PKG_VERSION") });
    metadata.put("product", Some(product)).put("uid", Some(uid(log, told.record)));
    metadata.put("log_name", Some(log)).put("log_provider", Some("tidegate"));
    metadata.put("sequence", Some(head.seq)).put("event_code", Some(head.kind.as_str()));
    metadata.put("correlation_uid", head.call.map(|call| call.to_string())).put("tenant_uid", told.text("tenant"));
    metadata.0.into()
}

fn actor(told: &Reading<'_>) -> Value {
    if told.record.head.call.is_none() {
        return json!({ "app_name": "tidegate" });
    }
    let Some(subject) = told.text("subject") else { return json!({ "user": { "name": "Unknown", "type_id": 0 } }) };
    let groups = told.get("basis").and_then(|basis| basis["groups"].as_array()).into_iter().flatten();
    let groups: Vec<Value> = groups.map(|group| json!({ "name": group })).collect();
    let mut user = Members::default();
    user.put("uid", Some(subject)).put("domain", told.text("issuer"));
    user.put("groups", Some(groups).filter(|groups| !groups.is_empty()));
    let mut actor = Members::default();
    actor.put("user", Some(user.0)).put("app_uid", told.text("client"));
    actor.put("session", told.text("issuer").map(|issuer| json!({ "issuer": issuer })));
    actor.0.into()
}

/// Where the call came from, as far as that is known: the client that the caller's token names. Addresses are not recorded.
fn endpoint<'a>(told: &'a Reading<'_>) -> &'a str {
    match told.record.head.call {
        None => "tidegate",
        Some(_) => told.text("client").unwrap_or("unknown"),
    }
}

fn api(told: &Reading<'_>) -> Value {
    let mut api = Members::default();
    api.put("operation", Some(told.operation()));
    if let Some(plugin) = told.text("plugin") {
        let mut service = Members::default();
        service.put("name", Some(plugin)).put("version", told.text("plugin_version")).put("uid", told.text("component"));
        api.put("service", Some(service.0));
    }
    if let Some(call) = told.record.head.call {
        let mut request = Members::default();
        // An outcome does not repeat what was asked.
        request.put("uid", Some(call.to_string())).put("data", told.body().get("arguments").cloned());
        api.put("request", Some(request.0));
    }
    if matches!(told.kind(), Kind::Outcome | Kind::Rejection) && !told.is_gone() {
        let mut response = Members::default();
        let failed = status(told).0 != 1;
        response.put("error", told.outcome().filter(|_| failed)).put("message", detail(told));
        response.put("data", told.body().get("answer").cloned());
        api.put("response", Some(response.0));
    }
    api.0.into()
}

/// When it began and ended, and how often it happened, where the record tells of more than a moment.
fn times(told: &Reading<'_>, event: &mut Members) {
    let end = told.record.head.at.as_millis();
    if told.kind() == Kind::Outcome {
        let latency = told.number("latency_us").map(|micros| micros / 1000);
        let begun = told.intent.map(|intent| intent.head.at.as_millis()).or(latency.map(|latency| end.saturating_sub(latency)));
        event.put("duration", latency).put("start_time", begun).put("end_time", Some(end));
    }
    if let Some(repeated) = told.get("repeated") {
        event.put("count", repeated["count"].as_u64()).put("start_time", repeated["first_ms"].as_u64());
        event.put("end_time", repeated["last_ms"].as_u64());
    }
}

/// What somebody who searches events may search for.
fn observables(told: &Reading<'_>) -> Vec<Value> {
    let call = told.record.head.call.map(|call| call.to_string());
    let found = [
        ("actor.user.uid", (31, "User Object: uid"), told.record.head.call.and(told.text("subject"))),
        ("api.request.uid", (10, "Resource UID"), call.as_deref()),
        ("trace.uid", (99, "Trace ID"), told.text("trace_id")),
    ];
    let observable =
        |name: &str, (id, words): Coded<'_>, value: &str| json!({ "name": name, "type_id": id, "type": words, "value": value });
    found.into_iter().filter_map(|(name, kind, value)| Some(observable(name, kind, value?))).collect()
}

/// What the schema has no place for: where the event stands in the log and how that is proven, and the rest of what it says.
fn unmapped(told: &Reading<'_>) -> Value {
    let head = &told.record.head;
    let mut rest = told.body().clone();
    rest.retain(|name, _| !MAPPED.contains(&name.as_str()));
    json!({
        "seq": head.seq, "prev": head.prev, "hash": told.record.hash, "commitment": head.body,
        "generation": head.generation, "policy": head.policy, "body": if told.is_gone() { Value::Null } else { rest.into() },
    })
}
