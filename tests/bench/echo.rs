//! A call through the whole path, beside a bare rmcp server with a native echo tool.

use super::load::{Ask, Load};
use super::server::{Server, Setup};
use super::{ROUNDS, TURN, median};

/// Prints, for 1 and for 32 connections, calls per second of both, their ratio, CPU time per call, and what each stage took.
pub fn compare() {
    let (bare, tidegate) = (Server::bare(), Server::tidegate(&Setup::ECHO));
    println!("echo tool, MCP 2026-07-28 over Streamable HTTP, {ROUNDS} turns of {TURN:?} each; medians");
    for connections in [1, 32] {
        let stages_before = tidegate.stages();
        let (mut bare_turns, mut tidegate_turns) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare_turns.push(Load::run(&bare, &Ask::echo(), connections, TURN));
            tidegate_turns.push(Load::run(&tidegate, &Ask::echo(), connections, TURN));
        }
        let mut ratios: Vec<f64> = bare_turns.iter().zip(&tidegate_turns).map(|(bare, ours)| ours.rate() / bare.rate()).collect();
        println!("\n{connections} connection{}", if connections == 1 { "" } else { "s" });
        report("bare rmcp", &bare_turns);
        report("tidegate", &tidegate_turns);
        println!("  {:<12} {:>9.2}   (from {:.2} to {:.2})", "ratio", median(&mut ratios), ratios[0], ratios[ratios.len() - 1]);
        println!("  {:<16} {:>12}", "stage", "µs per call");
        for (stage, before, after) in
            tidegate.stages().into_iter().zip(stages_before).map(|(after, before)| (after.name.clone(), before, after))
        {
            println!("  {stage:<16} {:>12.1}", after.since(&before) * 1e6);
        }
    }
}

fn report(name: &str, turns: &[Load]) {
    let mut rates: Vec<f64> = turns.iter().map(Load::rate).collect();
    let mut server: Vec<f64> = turns.iter().map(|turn| turn.server_cpu_us()).collect();
    let mut all: Vec<f64> = turns.iter().map(|turn| turn.total_cpu_us()).collect();
    let mut p50: Vec<f64> = turns.iter().map(|turn| turn.latency_us(0.50)).collect();
    let mut p99: Vec<f64> = turns.iter().map(|turn| turn.latency_us(0.99)).collect();
    println!(
        "  {name:<12} {:>9.0} calls/s   {:>6.1} µs CPU per call ({:.1} with the generator)   p50 {:.0} µs   p99 {:.0} µs",
        median(&mut rates),
        median(&mut server),
        median(&mut all),
        median(&mut p50),
        median(&mut p99),
    );
}
