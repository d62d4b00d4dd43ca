//! The operator's limits on who runs and who waits, `[admission]` in `tidegate.toml`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::Deserialize;

use crate::model::{Bytes, Principal, Span, ToolName};

/// What no amount of fuel in the config may exceed, so that sums of them never overflow.
const MOST_FUEL: u64 = 1 << 56;
/// A tenth of it holds the longest answers of one call, and what they answer.
const LEAST_ASK_BYTES: Bytes = Bytes::mib(1);
/// The seconds of its rate that a budget holds if its `burst` is not said.
const BURST_SECONDS: u64 = 10;

/// `[admission]`: how many calls run and wait, for how long, and what they may burn. Fuel is counted in wasmtime's units.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// Calls that run at the same time, those waiting for a backend included. A principal takes one more only while it holds fewer
    /// than are free.
    pub slots: usize,
    /// Calls that wait for a slot; one more is refused with `overloaded`. A principal queues one more only while it has fewer queued
    /// than there are places left.
    pub queue: usize,
    /// The fuel that all waiting calls together may be expected to burn. Absent: what the host burns in `max_wait`.
    pub queue_fuel: Option<u64>,
    /// What the arguments of all calls take up whose callers were told that they wait; one more is refused with `overloaded`.
    pub queue_bytes: Bytes,
    /// Calls that wait for answers of their callers; a tool that has to ask then fails with `overloaded`. One principal may have a
    /// tenth of them.
    pub max_asking: usize,
    /// What those take up, with all that may be answered; one principal's, a tenth of it.
    pub ask_bytes: Bytes,
    /// The longest a question waits for its answer, or an answer counts; no longer than answers of calls are kept.
    pub ask_timeout: Span,
    /// The longest a call waits for a slot. One that would wait longer is refused at once, with `overloaded`.
    pub max_wait: Span,
    /// The longest a caller waits for the result, queueing included, before it is told *pending*. `"0s"`: every caller is, at once.
    pub sync_budget: Span,
    /// The most fuel any call may burn, whatever its manifest says.
    pub max_fuel: u64,
    /// The memory of all guests together.
    pub memory: Bytes,
    /// Fuel that all guests together may burn in a second. Absent: as much as the processor manages, measured at start.
    pub capacity: Option<u64>,
    /// `[admission.principal]`: every principal's budget.
    pub principal: BudgetConfig,
    /// `[admission.principals.<subject>]` or `[admission.principals."<issuer>|<subject>"]`: what is different for some.
    pub principals: BTreeMap<String, BudgetConfig>,
    /// `[admission.tools.<name>]`: tools whose calls together have a budget.
    pub tools: BTreeMap<ToolName, ToolBudget>,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            slots: 64,
            queue: 16_384,
            queue_fuel: None,
            queue_bytes: Bytes::mib(256),
            max_asking: 1_000,
            ask_bytes: Bytes::mib(128),
            ask_timeout: Span::seconds(3_600),
            max_wait: Span::seconds(300),
            sync_budget: Span::seconds(5),
            max_fuel: 10_000_000_000,
            memory: Bytes::mib(512),
            capacity: None,
            principal: BudgetConfig::default(),
            principals: BTreeMap::new(),
            tools: BTreeMap::new(),
        }
    }
}

/// A principal's budget. What is absent here is as in `[admission.principal]`, and what is absent there has a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Fuel earned in a second. By default the host's whole capacity: others are served first, but what they leave may be burned.
    pub rate: Option<u64>,
    /// The most fuel that is saved up; ten seconds of the rate by default.
    pub burst: Option<u64>,
    /// The fuel that may be owed: by writes that must not stop halfway. By default what one call may burn at most.
    pub debt: Option<u64>,
    /// The share of the queue, beside others; 1 by default.
    pub weight: Option<u32>,
    /// Calls it may make in a second, whatever they cost; one more is refused with `rate_limited`. By default as many as it likes.
    pub calls: Option<NonZeroU32>,
    /// Calls it may make at once after a pause; by default those of one second.
    pub calls_burst: Option<NonZeroU32>,
}

/// What all calls of one tool may burn together.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolBudget {
    /// Fuel earned in a second.
    pub rate: u64,
    /// The most fuel that is saved up.
    pub burst: u64,
}

/// A limit that makes no sense. The text names the key and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AdmissionConfigError(String);

/// What one principal's budget comes to, all defaults settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Fuel earned in a second.
    pub rate: u64,
    /// The most fuel that is saved up.
    pub burst: u64,
    /// The most fuel that is owed.
    pub debt: u64,
    /// The share of the queue.
    pub weight: u32,
}

impl Budget {
    /// The most fuel that can ever be promised to one call.
    pub fn most(&self) -> u64 {
        self.burst.saturating_add(self.debt)
    }
}

impl AdmissionConfig {
    /// Refuses limits that nobody can mean: none at all, and more than can be counted.
    ///
    /// # Errors
    /// The first key whose value makes no sense, and why.
    pub fn check(&self) -> Result<(), AdmissionConfigError> {
        nonzero("slots", self.slots as u64, "no call could run")?;
        nonzero("queue", self.queue as u64, "no call could wait")?;
        nonzero("max_wait", u64::from(!self.max_wait.duration().is_zero()), "no call could wait")?;
        nonzero("max_asking", self.max_asking as u64, "no tool could ask anything")?;
        if self.ask_bytes < LEAST_ASK_BYTES {
            return Err(AdmissionConfigError(format!(
                "`admission.ask_bytes` is {}: a principal may have a tenth of it, and no tool could ask anything with less than {LEAST_ASK_BYTES}",
                self.ask_bytes
            )));
        }
        nonzero("ask_timeout", u64::from(!self.ask_timeout.duration().is_zero()), "nobody could answer anything")?;
        nonzero("queue_bytes", self.queue_bytes.0, "no call could be told to wait")?;
        nonzero("memory", self.memory.0, "no guest could start")?;
        fuel("max_fuel", self.max_fuel)?;
        for (key, value) in [("queue_fuel", self.queue_fuel), ("capacity", self.capacity)] {
            value.map_or(Ok(()), |value| fuel(key, value))?;
        }
        self.principal.check("principal")?;
        self.principal.check_calls("principal", &self.principal)?;
        for (name, budget) in &self.principals {
            let key = format!("principals.{name:?}");
            budget.check(&key)?;
            budget.check_calls(&key, &self.principal)?;
        }
        for (name, budget) in &self.tools {
            fuel(&format!("tools.{name}.rate"), budget.rate)?;
            fuel(&format!("tools.{name}.burst"), budget.burst)?;
        }
        Ok(())
    }

    /// The budget of `principal` on a host that burns `capacity` fuel in a second.
    pub(super) fn budget(&self, principal: &Principal, capacity: u64) -> Budget {
        let special = said_of(&self.principals, principal);
        let said = |value: fn(&BudgetConfig) -> Option<u64>| special.and_then(value).or_else(|| value(&self.principal));
        let rate = said(|budget| budget.rate).unwrap_or(capacity).clamp(1, MOST_FUEL);
        Budget {
            rate,
            burst: said(|budget| budget.burst).unwrap_or_else(|| rate.saturating_mul(BURST_SECONDS).min(MOST_FUEL)),
            debt: said(|budget| budget.debt).unwrap_or(self.max_fuel),
            weight: special.and_then(|budget| budget.weight).or(self.principal.weight).unwrap_or(1),
        }
    }

    /// The fuel that all waiting calls together may be expected to burn, on a host that burns `capacity` fuel in a second.
    pub(super) fn queue_fuel(&self, capacity: u64) -> u64 {
        let in_max_wait = || {
            let milliseconds = self.max_wait.duration().as_millis();
            u64::try_from(u128::from(capacity) * milliseconds / 1000).unwrap_or(MOST_FUEL)
        };
        self.queue_fuel.unwrap_or_else(in_max_wait).clamp(1, MOST_FUEL)
    }
}

impl BudgetConfig {
    fn check(&self, key: &str) -> Result<(), AdmissionConfigError> {
        for (name, value) in [("rate", self.rate), ("burst", self.burst)] {
            value.map_or(Ok(()), |value| fuel(&format!("{key}.{name}"), value))?;
        }
        // No debt is a limit like any other: whoever may owe nothing has to save up first.
        at_most(&format!("{key}.debt"), self.debt.unwrap_or(0))?;
        nonzero(&format!("{key}.weight"), self.weight.unwrap_or(1).into(), "it would never get a turn")
    }

    /// The calls it may make in a second, and at once; what is not said here is as in `all`.
    pub(super) fn calls(&self, all: &Self) -> Option<(NonZeroU32, NonZeroU32)> {
        let calls = self.calls.or(all.calls)?;
        Some((calls, self.calls_burst.or(all.calls_burst).unwrap_or(calls)))
    }

    fn check_calls(&self, key: &str, all: &Self) -> Result<(), AdmissionConfigError> {
        match (self.calls_burst, self.calls(all)) {
            (Some(_), None) => Err(AdmissionConfigError(format!(
                "`admission.{key}.calls_burst` says nothing without `calls`: say how many calls may be made in a second"
            ))),
            _ => Ok(()),
        }
    }
}

/// What is said of this principal among `some`, by issuer and subject or by subject alone.
pub(super) fn said_of<'s, T>(some: &'s BTreeMap<String, T>, principal: &Principal) -> Option<&'s T> {
    // Almost always there is none, and then nothing is put together to look for one.
    if some.is_empty() {
        return None;
    }
    some.get(&format!("{}|{}", principal.issuer, principal.subject)).or_else(|| some.get(&principal.subject))
}

fn fuel(key: &str, value: u64) -> Result<(), AdmissionConfigError> {
    nonzero(key, value, "nothing could be burned")?;
    at_most(key, value)
}

fn nonzero(key: &str, value: u64, or_else: &str) -> Result<(), AdmissionConfigError> {
    match value {
        0 => Err(AdmissionConfigError(format!("`admission.{key}` is zero: {or_else}; leave it out for the default"))),
        _ => Ok(()),
    }
}

fn at_most(key: &str, value: u64) -> Result<(), AdmissionConfigError> {
    match value {
        0..=MOST_FUEL => Ok(()),
        _ => Err(AdmissionConfigError(format!(
            "`admission.{key}` is {value}: more than {MOST_FUEL} fuel is more than can be counted"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_of(text: &str) -> String {
        let config: AdmissionConfig = toml::from_str(text).expect("well formed");
        config.check().expect_err("it makes no sense").to_string()
    }

    #[test]
    fn limits_of_zero_and_beyond_counting_are_refused_by_name() {
        for (text, key) in [
            ("slots = 0", "admission.slots"),
            ("queue = 0", "admission.queue"),
            ("queue_fuel = 0", "admission.queue_fuel"),
            ("max_wait = \"0s\"", "admission.max_wait"),
            ("max_fuel = 0", "admission.max_fuel"),
            ("memory = \"0B\"", "admission.memory"),
            ("capacity = 0", "admission.capacity"),
            ("principal.rate = 0", "admission.principal.rate"),
            ("principal.burst = 9223372036854775807", "admission.principal.burst"),
            ("principals.\"https://id.example.com|u1\".weight = 0", "admission.principals.\"https://id.example.com|u1\".weight"),
            ("tools.echo = { rate = 1, burst = 0 }", "admission.tools.echo.burst"),
            ("principal.calls_burst = 5", "admission.principal.calls_burst"),
            ("principals.u1.calls_burst = 5", "admission.principals.\"u1\".calls_burst"),
        ] {
            let problem = problem_of(text);
            assert!(problem.contains(&format!("`{key}`")), "{text}: {problem}");
        }
        AdmissionConfig::default().check().expect("the defaults make sense");
    }

    #[test]
    fn a_negative_limit_is_refused_where_it_stands() {
        let error = crate::model::document::parse::<AdmissionConfig>("tidegate.toml".as_ref(), "slots = 1\nqueue = -1\n");
        let error = error.expect_err("negative").to_string();
        assert!(error.starts_with("tidegate.toml:2:9") && error.contains("-1"), "{error}");
    }

    #[test]
    fn what_is_said_of_one_principal_goes_before_what_is_said_of_all() {
        let config: AdmissionConfig = toml::from_str(
            "max_fuel = 7\nprincipal = { rate = 10 }\nprincipals.u1 = { weight = 3 }\nprincipals.\"corp|u1\" = { rate = 20, debt = 0 }\n",
        )
        .expect("well formed");
        let of = |issuer, subject| config.budget(&Principal::named(issuer, subject), 1000);
        assert_eq!(of("corp", "u2"), Budget { rate: 10, burst: 100, debt: 7, weight: 1 });
        assert_eq!(of("other", "u1"), Budget { rate: 10, burst: 100, debt: 7, weight: 3 });
        assert_eq!(of("corp", "u1"), Budget { rate: 20, burst: 200, debt: 0, weight: 1 });
        assert_eq!(AdmissionConfig::default().budget(&Principal::named("corp", "u1"), 1000).rate, 1000);
    }
}
