//! A request to a backend through guest and host, beside the same request sent directly.

use serde_json::json;

use super::load::{Ask, Load};
use super::server::{Server, Setup};
use super::{ROUNDS, TURN, median};

/// Prints what an invoice costs to read through a tool, what is left of it without the way there (which the echo tool takes as
/// well) and without the backend's own part, for 1 connection: latencies, so that nobody waits for anybody else.
pub fn compare() {
    let billing = Server::billing();
    let setup = Setup { plugins: &["echo", "invoices"], billing: Some(&billing.address), ..Setup::ECHO };
    let tidegate = Server::tidegate(&setup);
    let asks = [
        ("billing, asked directly", &billing, Ask::get("/invoices/inv_0001", "inv_0001")),
        ("echo, which asks nobody", &tidegate, Ask::echo()),
        ("get_invoice", &tidegate, Ask::tool("get_invoice", &json!({"invoice_id": "inv_0001"}))),
    ];
    let mut turns = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (of, (_, server, ask)) in turns.iter_mut().zip(&asks) {
            of.push(Load::run(server, ask, 1, TURN));
        }
    }
    println!("1 connection, {ROUNDS} turns of {TURN:?} each; medians, in µs");
    println!("{:<26} {:>8} {:>8}", "", "p50", "p99");
    for ((name, ..), of) in asks.iter().zip(&turns) {
        let at = |share| median(&mut of.iter().map(|turn| turn.latency_us(share)).collect::<Vec<_>>());
        println!("{name:<26} {:>8.0} {:>8.0}", at(0.50), at(0.99));
    }
    let [direct, echo, through] = &turns;
    let overhead = |((direct, echo), through): ((&Load, &Load), &Load)| {
        through.latency_us(0.5) - echo.latency_us(0.5) - direct.latency_us(0.5)
    };
    let mut overheads: Vec<f64> = direct.iter().zip(echo).zip(through).map(overhead).collect();
    let middle = median(&mut overheads);
    println!("{:<26} {middle:>8.0}   (from {:.0} to {:.0})", "through guest and host", overheads[0], overheads[ROUNDS - 1]);
}
