//! What each stage of the call path costs, for `/metrics` and the benchmark.

use std::time::{Duration, Instant};

use metrics::{Counter, Histogram};

use crate::model::{OpenSpan, Spans};

/// The stages that are measured, in call order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding the tool.
    LookUp,
    /// Arguments against the schema.
    Validate,
    /// Scopes and policies.
    Authorize,
    /// The idempotency key.
    Claim,
    /// Waiting for a slot.
    Admit,
    /// The durable intent.
    Intent,
    /// The guest and its backends.
    Execute,
    /// The outcome; durable for writes.
    Outcome,
}

impl Stage {
    /// The stages in call order, with the names they have in metrics.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::LookUp, "look_up"),
        (Self::Validate, "validate"),
        (Self::Authorize, "authorize"),
        (Self::Claim, "claim"),
        (Self::Admit, "admit"),
        (Self::Intent, "record_intent"),
        (Self::Execute, "execute"),
        (Self::Outcome, "record_outcome"),
    ];
}

/// The instruments, looked up once: on the hot path only numbers move.
pub struct Stages {
    seconds: [Histogram; Stage::ALL.len()],
    fuel: Counter,
    queue_wait: Histogram,
}

impl Stages {
    /// The instruments of one pipeline. Telemetry must have been installed before.
    pub fn new() -> Self {
        Self {
            seconds: Stage::ALL.map(|(_, name)| metrics::histogram!("tidegate_stage_seconds", "stage" => name)),
            fuel: metrics::counter!("tidegate_fuel_total"),
            queue_wait: metrics::histogram!("tidegate_queue_wait_seconds"),
        }
    }

    /// Starts measuring `stage`; dropping the timer ends it, also when the stage is abandoned.
    pub fn start(&self, stage: Stage, spans: &Spans) -> Timer<'_> {
        let span = spans.stage(Stage::ALL[stage as usize].1);
        Timer { started: Instant::now(), seconds: &self.seconds[stage as usize], span }
    }

    /// Notes how long a call waited for its turn.
    pub fn waited(&self, wait: Duration) {
        self.queue_wait.record(wait);
    }

    /// Counts the fuel a guest burned.
    pub fn burned(&self, fuel: u64) {
        self.fuel.increment(fuel);
    }
}

/// A stage being measured.
pub struct Timer<'a> {
    started: Instant,
    seconds: &'a Histogram,
    /// What traces tell of it.
    pub span: OpenSpan,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.seconds.record(self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_stands_at_its_own_index() {
        for (index, (stage, _)) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
        }
    }
}
