//! The plugin `invoices` in Rust, beside its twin in Python.

use serde_json::json;

use super::load::{Ask, Load};
use super::server::{Server, Setup};
use super::{ROUNDS, TURN, median};

/// Prints, for each tool that reads and for 1 and 8 connections, how many calls a second both answer, how fast, and what one burns.
pub fn compare() {
    let billing = Server::billing();
    let serve = |plugin| Server::tidegate(&Setup { plugins: &[plugin], billing: Some(&billing.address), ..Setup::ECHO });
    let languages = [("Rust", serve("plugins/invoices")), ("Python", serve("plugin-sdk/python/examples/invoices"))];
    let tools = [("get_invoice", json!({"invoice_id": "inv_0001"})), ("list_invoices", json!({"user_id": "u1"}))];
    println!("{ROUNDS} turns of {TURN:?} each; medians");
    for connections in [1, 8] {
        println!("\n{connections} connection{}", if connections == 1 { "" } else { "s" });
        println!("{:<24} {:>9} {:>8} {:>8} {:>14}", "", "calls/s", "p50 µs", "p99 µs", "fuel per call");
        for (tool, arguments) in &tools {
            let mut turns = [const { Vec::new() }; 2];
            let mut fuel = [const { Vec::new() }; 2];
            for _ in 0..ROUNDS {
                for (((_, server), turns), fuel) in languages.iter().zip(&mut turns).zip(&mut fuel) {
                    let before = server.fuel(tool);
                    let calls = server.calls();
                    turns.push(Load::run(server, &Ask::tool(tool, arguments), connections, TURN));
                    fuel.push((server.fuel(tool) - before) / (server.calls() - calls).max(1.0));
                }
            }
            for (((language, _), turns), mut fuel) in languages.iter().zip(&turns).zip(fuel) {
                let of = |figure: fn(&Load) -> f64| median(&mut turns.iter().map(figure).collect::<Vec<_>>());
                println!(
                    "{:<24} {:>9.0} {:>8.0} {:>8.0} {:>14.0}",
                    format!("{tool}, {language}"),
                    of(Load::rate),
                    of(|turn| turn.latency_us(0.50)),
                    of(|turn| turn.latency_us(0.99)),
                    median(&mut fuel),
                );
            }
        }
    }
}
