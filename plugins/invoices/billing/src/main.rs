//! `billing`: the demo backend as a process.

use std::error::Error;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use billing::{Book, Fault, Faults, logged, router, traced};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The demo backend: invoices and payments in SQLite, on 127.0.0.1.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The port to listen on; 0 picks one. The address is printed either way.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The SQLite file; created and filled with a few invoices if there is none.
    #[arg(long)]
    db: PathBuf,
    /// Delays every request to invoices, such as `50ms`.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Fails this share of the requests to invoices, from 0 to 1, before they do anything.
    #[arg(long, default_value_t = 0.0, value_parser = parse_rate)]
    failure_rate: f64,
    /// Lists everybody's invoices whatever is asked for.
    #[arg(long)]
    ignore_filters: bool,
    /// Never answers this many requests that change something, though it does what they ask for.
    #[arg(long, default_value_t = 0)]
    lose_answers: u64,
    /// Fails in this way until `PUT /fault` says otherwise: `hang`, `busy`, `unavailable`, `gateway`, `garbage`, `truncated` or
    /// `headers`; with ` changes` behind it only where something is to be changed.
    #[arg(long)]
    fault: Option<Fault>,
    /// Sends a span for each request of a trace to the collector here, such as `http://127.0.0.1:4318`;
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` says the same.
    #[arg(long)]
    otlp: Option<String>,
    /// Exits when standard input closes, that is, when the process that started it ends.
    #[arg(long)]
    exit_with_stdin: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let book = Book::open(&arguments.db).map_err(|error| format!("can't open the book `{}`: {error}", arguments.db.display()))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))
        .await
        .map_err(|error| format!("can't listen on port {}: {error}; is another one running?", arguments.port))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if arguments.exit_with_stdin {
        std::thread::spawn(exit_with_stdin);
    }
    {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "billing listening on http://{}", listener.local_addr()?)?;
        stdout.flush()?;
    }
    let faults = Faults::new(arguments.latency, arguments.failure_rate)
        .ignoring_filters(arguments.ignore_filters)
        .losing_answers(arguments.lose_answers);
    faults.set(arguments.fault);
    // What the environment says is for whoever can use it.
    let told = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|url| url.starts_with("http://"));
    let routes = logged(router(book, faults));
    let routes = match arguments.otlp.or(told) {
        Some(url) => traced(routes, &url)?,
        None => routes,
    };
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await?;
    Ok(())
}

/// Exits at once when standard input closes: every answered payment is on disk already.
fn exit_with_stdin() {
    let mut buffer = [0; 256];
    while matches!(std::io::stdin().lock().read(&mut buffer), Ok(1..)) {}
    std::process::exit(0);
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}
