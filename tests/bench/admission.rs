//! What the gate costs: one call let in, started, charged and let go, by the number of principals.
//!
//! `cargo bench --bench admission` prints microseconds of CPU per call, medians of several rounds on one thread: of calls that start at
//! once, and of calls that go through the queue.

#![expect(dead_code, unused_imports, reason = "a part of the host is compiled in here, and only its gate is used")]

#[path = "../../host/src/admission/mod.rs"]
mod admission;
#[path = "../../host/src/model/mod.rs"]
mod model;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use futures::FutureExt as _;

use admission::{Admission, AdmissionConfig, Ask, Ticket};
use model::{Bytes, Principal, ToolName};

/// As in the host.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(40);
/// What a host of two cores burns in a second, roughly.
const CAPACITY: u64 = 2_000_000_000;
const FUEL: u64 = 10_000_000;
/// What a call burns.
const BURNED: u64 = 20_000;

fn main() {
    println!("µs of CPU per call let in, started, charged and let go, one thread; medians of {ROUNDS} rounds");
    println!("{:>11} {:>9} {:>9}", "principals", "at once", "queued");
    for count in [10, 100, 1_000, 10_000] {
        let principals: Vec<_> = (0..count).map(principal).collect();
        println!("{count:>11} {:>9.2} {:>9.2}", at_once(&principals), queued(&principals));
    }
}

/// Calls that find a free slot, one principal after the other.
fn at_once(principals: &[Principal]) -> f64 {
    let (admission, tool) = (admission(), tool());
    let mut next = principals.iter().cycle();
    time(|| {
        let permit = enter(&admission, &tool, next.next().expect("endless")).now_or_never().expect("a slot is free");
        black_box(permit.expect("started").settle(BURNED, 1 << 20));
    })
}

/// Calls of principals that all have one in the queue already: each that ends lets the next one in.
fn queued(principals: &[Principal]) -> f64 {
    let (admission, tool) = (admission(), tool());
    let mut waiting: VecDeque<Ticket> = principals.iter().map(|principal| enter(&admission, &tool, principal)).collect();
    let mut next = principals.iter().cycle();
    time(|| {
        // Almost always it is the turn of the oldest.
        let permit = loop {
            let mut oldest = waiting.pop_front().expect("they all wait");
            match (&mut oldest).now_or_never() {
                Some(permit) => break permit.expect("nobody waits too long"),
                None => waiting.push_back(oldest),
            }
        };
        black_box(permit.settle(BURNED, 1 << 20));
        waiting.push_back(enter(&admission, &tool, next.next().expect("endless")));
        drop(permit);
    })
}

fn enter(admission: &Admission, tool: &ToolName, principal: &Principal) -> Ticket {
    let ask = Ask { principal, tool, fuel: FUEL, memory: Bytes::mib(16) };
    admission.enter(&ask).expect("there is room")
}

fn admission() -> Admission {
    let config = AdmissionConfig { slots: 8, queue: 100_000, queue_fuel: Some(1 << 50), ..AdmissionConfig::default() };
    Admission::new(AdmissionConfig { max_wait: model::Span::seconds(1_000_000), ..config }, CAPACITY)
        .expect("the limits make sense")
}

fn tool() -> ToolName {
    "pay_invoice".parse().expect("a tool name")
}

fn principal(number: usize) -> Principal {
    Principal {
        issuer: "https://id.example.com".into(),
        subject: format!("principal-{number}"),
        client: None,
        tenant: None,
        groups: Vec::new(),
        scopes: Vec::new(),
        claims: std::collections::BTreeMap::new(),
    }
}

fn time(mut call: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (started, mut count) = (spent(), 0_u32);
            while spent() - started < ROUND {
                for _ in 0..64 {
                    call();
                }
                count += 64;
            }
            (spent() - started).as_secs_f64() * 1e6 / f64::from(count)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// What this thread has spent of the CPU: others on the machine do not count.
fn spent() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
