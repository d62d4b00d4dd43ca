//! What an operator sees of the gate: the host, every tool, and the principals that burn most.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::flow::Flow;
use super::gate::Gate;

/// The principals that are listed at most.
const LISTED: usize = 50;

/// The gate at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// All together.
    pub host: HostLoad,
    /// Every tool that was ever called, by name.
    pub tools: Vec<Load>,
    /// Those that burn most, wait most, and were refused most, of those with calls in the last seconds; at most 50.
    pub principals: Vec<Load>,
    /// How many principals those are picked from.
    pub principals_known: usize,
}

/// What all calls together take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLoad {
    /// Fuel that the processor burns in a second.
    pub capacity: u64,
    /// Fuel that was burned lately, in a second.
    pub fuel_per_second: u64,
    /// Calls at once, at most.
    pub slots: usize,
    /// Calls that hold a slot.
    pub running: usize,
    /// Calls that wait for one.
    pub queued: usize,
    /// Guests that wait for fuel.
    pub parked: usize,
    /// Fuel that the waiting calls are expected to burn.
    pub queue_fuel: u64,
    /// Memory that guests were promised, in bytes.
    pub memory: u64,
    /// The memory of all guests together, in bytes.
    pub memory_limit: u64,
    /// How long the whole backlog takes.
    pub estimated_wait_ms: u64,
    /// Calls refused since the start because they would have waited too long.
    pub rejects: u64,
}

/// What the calls of one tool or one principal take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// The tool, or the principal's subject.
    pub name: String,
    /// Who vouches for the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Calls that hold a slot.
    pub running: usize,
    /// Calls that wait for one.
    pub queued: usize,
    /// Guests that wait for fuel.
    pub parked: usize,
    /// Fuel that was burned lately, in a second.
    pub fuel_per_second: u64,
    /// What its account holds; nothing if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<i64>,
    /// Time that its guests waited for fuel; of principals, since they were last forgotten.
    pub parked_seconds: u64,
    /// Calls refused because they would have waited too long.
    pub rejects: u64,
    /// How long all of its waiting calls take: a tool's, as if the queue held no others, or until its account has earned their fuel.
    pub estimated_wait_ms: u64,
}

impl Gate {
    /// The gate at `now`.
    pub fn snapshot(&self, now: u64) -> Snapshot {
        let host = HostLoad {
            capacity: self.capacity,
            fuel_per_second: self.burning.get(now),
            slots: self.config.slots,
            running: self.running.len(),
            queued: self.waiting.len(),
            parked: self.parked,
            queue_fuel: self.backlog,
            memory: self.config.memory.0 - self.memory_free,
            memory_limit: self.config.memory.0,
            estimated_wait_ms: milliseconds(self.backlog_wait(now)),
            rejects: self.rejects,
        };
        Snapshot { host, tools: self.tool_loads(now), principals: self.principal_loads(now), principals_known: self.flows.len() }
    }

    fn tool_loads(&self, now: u64) -> Vec<Load> {
        let rate = self.drain.rate(self.queueing, now);
        let load = |tool: &super::tools::ToolState| Load {
            name: tool.name.to_string(),
            issuer: None,
            running: tool.running,
            queued: tool.waiting,
            parked: tool.parked,
            fuel_per_second: tool.burning.get(now),
            balance: tool.account.as_ref().map(|account| account.level_at(now)),
            parked_seconds: tool.parked_ns / 1_000_000_000,
            rejects: tool.rejects,
            estimated_wait_ms: match tool.waiting {
                0 => 0,
                _ => {
                    let account = tool.account.as_ref().map_or(0.0, |account| account.seconds_until(tool.backlog, now));
                    ((tool.backlog as f64 / rate).max(account) * 1000.0) as u64
                }
            },
        };
        let mut loads: Vec<_> = self.tools.iter().map(load).collect();
        loads.sort_by(|one, other| one.name.cmp(&other.name));
        loads
    }

    fn principal_loads(&self, now: u64) -> Vec<Load> {
        let rank = |(id, flow): (usize, &Flow)| {
            let rank = (flow.burning.get(now), flow.running + flow.queue.waiting, flow.rejects);
            (Reverse(rank), id)
        };
        let mut ranked: Vec<_> = self.flows.iter().map(rank).collect();
        if ranked.len() > LISTED {
            ranked.select_nth_unstable(LISTED);
            ranked.truncate(LISTED);
        }
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, id)| self.principal_load(id, now)).collect()
    }

    fn principal_load(&self, id: usize, now: u64) -> Load {
        let flow = &self.flows[id];
        Load {
            name: flow.subject.to_string(),
            issuer: Some(flow.issuer.to_string()),
            running: flow.running,
            queued: flow.queue.waiting,
            parked: flow.parked.len(),
            fuel_per_second: flow.burning.get(now),
            balance: Some(flow.account.level_at(now)),
            parked_seconds: flow.parked_ns / 1_000_000_000,
            rejects: flow.rejects,
            estimated_wait_ms: flow.queue.last().map_or(0, |place| milliseconds(self.wait_of(place, now))),
        }
    }
}

fn milliseconds(wait: std::time::Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}
