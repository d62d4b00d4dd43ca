//! What a call through the whole path costs, in comparisons that are each made in one run.
//!
//! `cargo bench --bench call` compares the echo tool with a bare rmcp server. `-- outbound` tells what a request to a backend costs
//! more than one that is sent directly, `-- telemetry` what it costs to be observed, `-- python` what it costs to write a plugin in
//! Python. All servers of a comparison are driven by the same generator on the same machine, in turns, so that its noise meets all;
//! trust the ratios, not the figures.

mod bare;
mod echo;
mod load;
mod outbound;
mod python;
mod server;
mod telemetry;

use std::time::Duration;

/// Turns of each server at each number of connections.
const ROUNDS: usize = 5;
/// How long a turn is measured, after a warm-up of a quarter of it.
const TURN: Duration = Duration::from_secs(3);

fn main() {
    // Cargo's own flag says nothing here.
    match std::env::args().skip(1).find(|argument| argument != "--bench").as_deref() {
        None => echo::compare(),
        Some(bare::FLAG) => bare::serve(),
        Some("outbound") => outbound::compare(),
        Some("python") => python::compare(),
        Some("telemetry") => telemetry::compare(),
        Some(other) => panic!("`{other}` is no comparison: `outbound`, `python`, `telemetry`, or nothing for the echo tool"),
    }
}

/// The middle value; sorts.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
