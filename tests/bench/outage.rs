//! What callers see of a backend that is killed and comes back, under a load that does not wait for answers.
//!
//! `cargo bench --bench outage` calls tools of `invoices` on schedule, 2,000 a second unless told otherwise (`cargo bench --bench outage --
//! 500`), kills the demo backend, starts it again, and prints for each second how calls due in it were answered and how fast, counted
//! from when they were due; then how fast the envelope came while the breaker was open, how long traffic took to recover, and whether
//! what callers were told is what the backend did. Unlike `tidegate bench`, which says how a run went as a whole, it keeps the times apart.

#![expect(dead_code, reason = "what other benchmarks and tests start is here, and only a part of it is started")]

#[path = "../harness/backend.rs"]
mod backend;
mod bare;
mod schedule;
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use backend::Billing;
use schedule::{Answered, Schedule};
use server::{Server, Setup};

/// Calls a second, unless told otherwise.
const RATE: u32 = 2_000;
/// How long everything is well at first.
const BEFORE: Duration = Duration::from_secs(4);
/// How long the backend is dead.
const OUTAGE: Duration = Duration::from_secs(6);
/// How long it is back at the end.
const AFTER: Duration = Duration::from_secs(5);

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace")
}

fn main() {
    let rate = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(RATE);
    let mut billing = Billing::start(&[]);
    let address = billing.url.strip_prefix("http://").expect("it speaks HTTP");
    let server = Server::tidegate(&Setup { plugins: &["plugins/invoices"], billing: Some(address), ..Setup::ECHO });
    let seeded = invoices(&billing);
    println!("{rate} calls/s on schedule, one in ten a keyed write; the backend is killed at {BEFORE:?} for {OUTAGE:?}");

    let start = Instant::now() + Duration::from_millis(200);
    let watch = watch_breaker(&server, start, BEFORE + OUTAGE);
    let load = Schedule { address: server.address.clone(), rate, start, length: BEFORE + OUTAGE + AFTER }.run();
    sleep_until(start + BEFORE);
    billing.kill();
    sleep_until(start + BEFORE + OUTAGE);
    billing.restart();
    let back = start.elapsed();
    let answers = load.join().expect("the load does not panic");
    let opened = watch.join().expect("nobody panics while watching");

    print_seconds(&answers);
    match opened {
        None => println!("the breaker never opened"),
        Some(opened) => {
            println!("the breaker opened {:.0} ms after the kill", millis(opened.saturating_sub(BEFORE)));
            let while_open = |answer: &&Answered| answer.due > opened + Duration::from_secs(1) && answer.due < BEFORE + OUTAGE;
            let mut told: Vec<_> =
                answers.iter().filter(while_open).filter(|answer| answer.code != "ok").map(|answer| answer.took).collect();
            println!("envelopes from a second later on: {}, p99 {:.1} ms", told.len(), millis(share(&mut told, 0.99)));
        }
    }
    let first_ok = answers.iter().filter(|answer| answer.due > back && answer.code == "ok").map(|answer| answer.due).min();
    let last_error = answers.iter().filter(|answer| answer.due > back && answer.code != "ok").map(|answer| answer.due).max();
    let since = |at: Option<Duration>| at.map_or("never".to_owned(), |at| format!("{:.0} ms", millis(at.saturating_sub(back))));
    println!(
        "after the backend listened again: first result due after {}, last error due after {}",
        since(first_ok),
        since(last_error)
    );

    let of_writes = |code: &str| answers.iter().filter(|answer| answer.is_write && answer.code == code).count();
    let (done, unknown, created) = (of_writes("ok"), of_writes("outcome_unknown"), invoices(&billing) - seeded);
    println!("writes: {done} told to be done, {unknown} that nobody knows; {created} done at the backend");
    let strange = answers.iter().filter(|answer| answer.code.starts_with('!')).count();
    let is_true = (done..=done + unknown).contains(&created);
    println!(
        "calls that ended as a 500, a hang or no answer: {strange}; false successes: {}",
        if is_true { "none" } else { "some" }
    );
    assert!(strange == 0 && is_true, "callers were told what is not so");
}

/// How many invoices the backend has.
fn invoices(billing: &Billing) -> usize {
    let counts = ureq::get(format!("{}/counts", billing.url)).call().expect("it answers").body_mut().read_to_string();
    let counts: serde_json::Value = counts.expect("text").parse().expect("JSON");
    usize::try_from(counts["invoices"].as_u64().expect("a number")).expect("it fits")
}

/// Waits for the breaker to open, and answers when it did.
fn watch_breaker(server: &Server, start: Instant, until: Duration) -> std::thread::JoinHandle<Option<Duration>> {
    let url = format!("http://{}/readyz", server.admin.as_ref().expect("it has an admin listener"));
    std::thread::spawn(move || {
        sleep_until(start + BEFORE);
        while start.elapsed() < until {
            let readiness = ureq::get(&url).call().expect("it is ready").body_mut().read_to_string().expect("text");
            if readiness.contains("\"breaker\":\"open\"") {
                return Some(start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    })
}

fn print_seconds(answers: &[Answered]) {
    let mut codes: Vec<&str> = answers.iter().map(|answer| answer.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    println!(
        "{:>6} {} {:>9} {:>9}",
        "second",
        codes.iter().map(|code| format!("{code:>20}")).collect::<String>(),
        "p50 ms",
        "p99 ms"
    );
    let mut seconds: BTreeMap<u64, Vec<&Answered>> = BTreeMap::new();
    for answer in answers {
        seconds.entry(answer.due.as_secs()).or_default().push(answer);
    }
    for (second, answers) in seconds {
        let counts = codes.iter().map(|code| format!("{:>20}", answers.iter().filter(|answer| answer.code == *code).count()));
        let mut took: Vec<_> = answers.iter().map(|answer| answer.took).collect();
        let (p50, p99) = (millis(share(&mut took, 0.5)), millis(share(&mut took, 0.99)));
        println!("{second:>6} {} {p50:>9.1} {p99:>9.1}", counts.collect::<String>());
    }
}

/// The time below which this share stayed; sorts.
fn share(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn sleep_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}
