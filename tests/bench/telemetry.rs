//! What it costs to be observed: with nobody who wants to know, with a collector that listens, with one that is dead.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::load::{Ask, Load};
use super::server::{Server, Setup};
use super::{ROUNDS, TURN, median};

/// Calls at once.
const CONNECTIONS: usize = 32;

/// Prints throughput and CPU time of the echo tool, each beside that of a host without a collector.
pub fn compare() {
    let live = collector();
    // Nobody listens at the port of a listener that is gone.
    let dead = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let told = |collector: &str| format!("[telemetry]\notlp = \"http://{collector}\"\nsample = 0.1\n");
    let hosts = [
        ("no collector", Server::tidegate(&Setup::ECHO)),
        ("a collector, 10 % sampled", Server::tidegate(&Setup { config: &told(&live), ..Setup::ECHO })),
        ("a dead collector", Server::tidegate(&Setup { config: &told(&dead.to_string()), ..Setup::ECHO })),
    ];
    let mut turns = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (of, (_, host)) in turns.iter_mut().zip(&hosts) {
            of.push(Load::run(host, &Ask::echo(), CONNECTIONS, TURN));
        }
    }
    println!("echo tool, {CONNECTIONS} connections, {ROUNDS} turns of {TURN:?} each; medians");
    println!("{:<26} {:>9} {:>12} {:>7}", "", "calls/s", "µs CPU/call", "ratio");
    for ((name, _), of) in hosts.iter().zip(&turns) {
        let mut ratios: Vec<f64> = turns[0].iter().zip(of).map(|(plain, observed)| observed.rate() / plain.rate()).collect();
        let mut rates: Vec<f64> = of.iter().map(Load::rate).collect();
        let mut cpu: Vec<f64> = of.iter().map(Load::server_cpu_us).collect();
        let ratio = median(&mut ratios);
        let spread = format!("(from {:.2} to {:.2})", ratios[0], ratios[ROUNDS - 1]);
        println!("{name:<26} {:>9.0} {:>12.1} {ratio:>7.2}   {spread}", median(&mut rates), median(&mut cpu));
    }
}

/// Takes all that is posted and keeps nothing, so that it costs as little as a collector can.
fn collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || take_all(stream));
        }
    });
    address
}

fn take_all(mut stream: TcpStream) -> Option<()> {
    let mut buffer = Vec::new();
    let mut chunk = [0; 64 << 10];
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
            buffer.extend_from_slice(&chunk[..read]);
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
        while buffer.len() < end + length {
            let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
            buffer.extend_from_slice(&chunk[..read]);
        }
        buffer.drain(..end + length);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}
