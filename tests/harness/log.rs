//! The audit log of a host that is not running, held against what callers were told and what the backend did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::journal::{Journal, key_of};
use super::tidegate;

/// Something that happened at the backend.
pub struct Effect {
    /// The key of the write that did it.
    pub key: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u128,
}

/// The log.
pub struct Log {
    records: Vec<Value>,
}

/// A call, as far as the log tells.
#[derive(Default)]
struct Call<'l> {
    intents: Vec<&'l Value>,
    outcomes: Vec<&'l Value>,
}

impl Log {
    /// Verifies and reads it, which opens the data folder as a host does: what a crash left open gets its outcome. Answers also
    /// what is wrong with it by itself.
    pub fn of(data: &Path) -> (Self, Vec<String>) {
        let data = data.display().to_string();
        let mut problems = Vec::new();
        let verified = tidegate(&["audit", "verify", "--data", &data]);
        if !verified.status.success() {
            problems.push(format!("the log does not verify: {verified:?}"));
        }
        let listed = tidegate(&["audit", "list", "--output", "json", "--data", &data]);
        let records = serde_json::from_slice(&listed.stdout).unwrap_or_else(|error| {
            problems.push(format!("the log can't be read: {error}: {}", String::from_utf8_lossy(&listed.stderr)));
            Vec::new()
        });
        let log = Self { records };
        // No intent without exactly one outcome, and no outcome without its intent before it.
        for (call, Call { intents, outcomes }) in &log.calls() {
            match (&intents[..], &outcomes[..]) {
                ([intent], [outcome]) if intent["seq"].as_u64() < outcome["seq"].as_u64() => {}
                _ => problems.push(format!("{call} has {} intents and {} outcomes", intents.len(), outcomes.len())),
            }
        }
        (log, problems)
    }

    /// The calls of one tool that ran, in the order in which they started.
    pub fn runs_of(&self, tool: &str) -> Vec<&str> {
        let intents = self.records.iter().filter(|record| record["kind"] == "intent" && record["body"]["tool"] == tool);
        intents.filter_map(|record| record["call"].as_str()).collect()
    }

    /// How many records there are of calls refused for this reason.
    pub fn rejected(&self, reason: &str) -> usize {
        self.records.iter().filter(|record| record["kind"] == "rejection" && record["body"]["reason"] == reason).count()
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// What in it, in what callers were told and in what happened contradicts each other.
    pub fn contradictions(&self, journal: &Journal, effects: &[Effect]) -> Vec<String> {
        let mut problems = Vec::new();
        let calls = self.calls();
        // Every answered read ran with an intent.
        let unrecorded = journal.reads().into_iter().filter(|call| !calls.contains_key(call.as_str()));
        problems.extend(unrecorded.map(|call| format!("the answered read {call} is not in the log")));

        let mut by_key: BTreeMap<String, Vec<&Call<'_>>> = BTreeMap::new();
        for call in calls.values() {
            let body = &call.intents.first().unwrap_or(&&Value::Null)["body"];
            if let Some(key) = body["tool"].as_str().and_then(|tool| key_of(tool, &body["arguments"])) {
                by_key.entry(key).or_default().push(call);
            }
        }
        let writes = journal.writes();
        problems.extend(by_key.keys().filter(|key| !writes.contains_key(*key)).map(|key| format!("nobody asked for {key}")));
        for (key, write) in &writes {
            let runs = by_key.get(key).map_or(&[][..], Vec::as_slice);
            // Whatever a caller was told stands in the log, word by word.
            let done = runs.iter().filter(|run| run.disposition() == "done").count();
            if let Some(told) = &write.told
                && (done != 1 || !runs.iter().any(|run| run.answer() == &told["structuredContent"]))
            {
                problems.push(format!("{key}: its caller has a result that is not in the log, which has {done}"));
            }
            // Billing pays once per key, so paying may be tried again; nothing else may.
            let ran = runs.iter().filter(|run| run.disposition() != "released").count();
            if ran > 1 && write.tool != "pay_invoice" {
                problems.push(format!("{key} ran {ran} times"));
            }
            problems.extend(effect_problems(key, write.told.is_some(), runs, effects));
        }
        let asked: BTreeSet<&String> = writes.keys().collect();
        let strange = effects.iter().filter(|effect| !asked.contains(&effect.key));
        problems.extend(strange.map(|effect| format!("nobody asked for the effect {}", effect.key)));
        problems
    }

    fn calls(&self) -> BTreeMap<&str, Call<'_>> {
        let mut calls: BTreeMap<&str, Call<'_>> = BTreeMap::new();
        for record in &self.records {
            let Some(id) = record["call"].as_str() else { continue };
            match record["kind"].as_str() {
                Some("intent") => calls.entry(id).or_default().begins(record),
                Some("outcome") => calls.entry(id).or_default().outcomes.push(record),
                _ => {}
            }
        }
        calls
    }
}

/// No key has two effects; each has an intent that precedes it; what a caller knows to be done was done.
fn effect_problems(key: &str, is_told: bool, runs: &[&Call<'_>], effects: &[Effect]) -> Vec<String> {
    let mut problems = Vec::new();
    let own: Vec<_> = effects.iter().filter(|effect| effect.key == key).collect();
    let has_effects = !key.starts_with("tell-");
    if own.len() > 1 || (is_told && has_effects && own.is_empty()) {
        problems.push(format!("{key} had {} effects", own.len()));
    }
    for effect in own {
        let precedes = |run: &&&Call<'_>| {
            run.intents.first().is_some_and(|intent| u128::from(intent["at_ms"].as_u64().unwrap_or(u64::MAX)) <= effect.at_ms)
        };
        if !runs.iter().any(|run| precedes(&run)) {
            problems.push(format!("{key} had an effect before its intent"));
        }
    }
    problems
}

impl<'l> Call<'l> {
    /// A call out of the queue whose start was lost with a fault waits on, and starts once more.
    fn begins(&mut self, intent: &'l Value) {
        if let ([_], [outcome]) = (&self.intents[..], &self.outcomes[..])
            && outcome["body"]["ended"] == "not_started"
        {
            *self = Self::default();
        }
        self.intents.push(intent);
    }

    fn disposition(&self) -> &str {
        self.outcomes.first().and_then(|outcome| outcome["body"]["disposition"].as_str()).unwrap_or_default()
    }

    fn answer(&self) -> &Value {
        static NOTHING: Value = Value::Null;
        self.outcomes.first().map_or(&NOTHING, |outcome| &outcome["body"]["answer"]["output"]["structured"])
    }
}

/// All records of a host that has ended, whose log is whole.
pub fn records(data: &Path) -> Vec<Value> {
    let data = data.display().to_string();
    let verified = tidegate(&["audit", "verify", "--data", &data]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let listed = tidegate(&["audit", "list", "--data", &data, "--output", "json"]);
    serde_json::from_slice(&listed.stdout).expect("JSON")
}

/// What happened at the backend, from its own books: invoices that were created, given all but the first ones, and payments.
pub fn effects(created: &[Value], payments: &[Value]) -> Vec<Effect> {
    let at = |value: &Value| {
        let time = humantime::parse_rfc3339(value.as_str().expect("a time")).expect("RFC 3339");
        time.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis()
    };
    let created = created.iter().map(|invoice| Effect {
        key: key_of("create_invoice", &json!(invoice)).expect("an invoice is described"),
        at_ms: at(&invoice["created_at"]),
    });
    let paid = payments.iter().map(|payment| Effect {
        key: key_of("pay_invoice", payment).expect("a payment names its invoice"),
        at_ms: at(&payment["at"]),
    });
    created.chain(paid).collect()
}
