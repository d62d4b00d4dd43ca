//! A request to a backend through guest and host, beside the same request sent directly.

use serde_json::json;

use super::load::{Ask, Load};
use super::server::{Server, Setup, StageTotal};
use super::{ROUNDS, TURN, median};

/// Prints what an invoice costs to read directly and through a tool, for 1 connection: latencies, so that nobody waits for anybody
/// else. Then how much longer the guest runs than one that asks nobody, and what is left of that without the backend's own part: the way
/// out through guest and host, with what the guest makes of the answer.
pub fn compare() {
    let billing = Server::billing();
    let setup = Setup { plugins: &["plugins/echo", "plugins/invoices"], billing: Some(&billing.address), ..Setup::ECHO };
    let tidegate = Server::tidegate(&setup);
    let asks = [
        ("billing, asked directly", &billing, Ask::get("/invoices/inv_0001", "inv_0001")),
        ("echo, which asks nobody", &tidegate, Ask::echo()),
        ("get_invoice", &tidegate, Ask::tool("get_invoice", &json!({"invoice_id": "inv_0001"}))),
    ];
    let mut turns = [const { Vec::new() }; 3];
    let mut running = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for ((of, running), (_, server, ask)) in turns.iter_mut().zip(&mut running).zip(&asks) {
            let before = execution(&tidegate);
            of.push(Load::run(server, ask, 1, TURN));
            running.push(execution(&tidegate).since(&before) * 1e6);
        }
    }
    println!("1 connection, {ROUNDS} turns of {TURN:?} each; medians, in µs");
    println!("{:<26} {:>8} {:>8}", "", "p50", "p99");
    for ((name, ..), of) in asks.iter().zip(&turns) {
        let at = |share| median(&mut of.iter().map(|turn| turn.latency_us(share)).collect::<Vec<_>>());
        println!("{name:<26} {:>8.0} {:>8.0}", at(0.50), at(0.99));
    }
    let [direct, ..] = &turns;
    let [_, echo, through] = &running;
    let overhead = |((direct, echo), through): ((&Load, &f64), &f64)| through - echo - direct.mean_us();
    let mut overheads: Vec<f64> = direct.iter().zip(echo).zip(through).map(overhead).collect();
    let (longer, middle) = (median(&mut through.clone()) - median(&mut echo.clone()), median(&mut overheads));
    println!("{:<26} {longer:>8.0}", "longer in the guest, mean");
    println!("{:<26} {middle:>8.0}   (from {:.0} to {:.0})", "of that, not billing's", overheads[0], overheads[ROUNDS - 1]);
}

/// The time guests have run so far.
fn execution(server: &Server) -> StageTotal {
    server.stages().into_iter().find(|stage| stage.name == "execute").expect("it is a stage")
}
