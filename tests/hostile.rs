//! Guests that spin, hoard, crash, flood and pry harm nobody else: each is stopped with the right word, while honest calls
//! run beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Billing, Host, Started, plugins};

/// One host under attack from all tests at once: they also prove that attacks don't add up.
struct Besieged {
    host: Started,
    billing: Billing,
    _plugins: tempfile::TempDir,
}

fn besieged() -> Arc<Besieged> {
    // Shared by the tests that run at the moment, and ended with the last of them: a static is never dropped.
    static BESIEGED: Mutex<Weak<Besieged>> = Mutex::new(Weak::new());
    let mut besieged = BESIEGED.lock().unwrap_or_else(PoisonError::into_inner);
    besieged.upgrade().unwrap_or_else(|| {
        let billing = Billing::start(&[]);
        let plugins = plugins(&["hostile", "socket", "echo"]);
        let host = Host::dev(plugins.path()).with(&["--backend", &format!("billing={}", billing.url)]).start();
        let started = Arc::new(Besieged { host, billing, _plugins: plugins });
        *besieged = Arc::downgrade(&started);
        started
    })
}

/// Attacks while an honest caller calls in a loop; returns the attack's answer.
fn attack(tool: &str, arguments: Value) -> Answer {
    let besieged = besieged();
    let is_over = Arc::new(AtomicBool::new(false));
    let honest = std::thread::spawn({
        let (client, is_over) = (besieged.host.client(), is_over.clone());
        move || {
            let mut calls = 0;
            // At least one call starts after the attack did.
            while !is_over.load(Ordering::Relaxed) || calls == 0 {
                assert_eq!(client.call("echo", json!({"text": "honest"})).structured(), &json!({"text": "honest"}));
                calls += 1;
            }
        }
    });
    let answer = besieged.host.client().call(tool, arguments);
    is_over.store(true, Ordering::Relaxed);
    honest.join().expect("every honest call is answered as usual");
    answer
}

/// The error code of an attack that was stopped.
fn stopped(tool: &str) -> String {
    attack(tool, json!({})).error()
}

#[test]
fn a_guest_that_loops_is_stopped_by_fuel_or_deadline() {
    let error = stopped("spin");
    assert!(["fuel_exhausted", "deadline_exceeded"].contains(&error.as_str()), "{error}");
}

#[test]
fn a_guest_that_recurses_without_end_traps() {
    assert_eq!(stopped("recurse"), "plugin_trapped");
}

#[test]
fn a_guest_that_crashes_is_told_as_crashed_without_its_inner_life() {
    let answer = attack("trap", json!({}));
    assert_eq!(answer.error(), "plugin_trapped");
    assert!(!answer.body.to_string().contains("wasm"), "callers learn the code, operators the stack: {answer:?}");
}

#[test]
fn a_guest_that_allocates_without_end_is_stopped_at_its_cap() {
    assert_eq!(stopped("allocate"), "memory_exceeded");
}

#[test]
fn floods_of_output_are_cut_and_do_not_fill_disk_or_log() {
    let besieged = besieged();
    for tool in ["flood_stdout", "flood_log", "flood_progress", "flood_host_calls"] {
        let error = stopped(tool);
        assert!(["fuel_exhausted", "deadline_exceeded"].contains(&error.as_str()), "{tool}: {error}");
    }
    let log = besieged.host.log().len();
    assert!(log < 1 << 20, "the host's log grew to {log} bytes");
    let on_disk: u64 = walk(&besieged.host.data);
    assert!(on_disk < 64 << 20, "the data folder grew to {on_disk} bytes");
}

fn walk(path: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return std::fs::metadata(path).map_or(0, |file| file.len()) };
    entries.filter_map(Result::ok).map(|entry| walk(&entry.path())).sum()
}

#[test]
fn an_answer_of_200_mib_or_of_any_other_unusable_kind_is_withheld() {
    for tool in ["huge_output", "deep_output", "garbage_output", "bad_structured"] {
        let error = stopped(tool);
        assert!(["output_invalid", "memory_exceeded", "fuel_exhausted"].contains(&error.as_str()), "{tool}: {error}");
    }
}

#[test]
fn a_guest_cannot_speak_in_the_hosts_name() {
    assert_eq!(stopped("strange_failure"), "failed");
}

#[test]
fn a_gibibyte_of_random_and_millions_of_handles_are_refused() {
    for (tool, arguments) in [
        ("random_flood", json!({})),
        ("many_pollables", json!({})),
        ("many_pollables", json!({"kind": "fields"})),
        ("many_pollables", json!({"kind": "requests"})),
    ] {
        let error = attack(tool, arguments.clone()).error();
        let known = ["plugin_trapped", "fuel_exhausted", "deadline_exceeded", "memory_exceeded", "failed"];
        assert!(known.contains(&error.as_str()), "{tool} {arguments}: {error}");
    }
}

#[test]
fn a_guest_that_sleeps_for_centuries_is_woken_by_its_deadline() {
    let started = Instant::now();
    assert_eq!(stopped("sleep"), "deadline_exceeded");
    assert!(started.elapsed() < Duration::from_secs(30), "its deadline is two seconds");
}

#[test]
fn a_guest_that_never_reads_its_response_holds_nobody_up() {
    let answer = attack("ignore_response", json!({}));
    assert!(answer.body["result"]["content"].is_array(), "{answer:?}");
    for then in ["spin", "sleep"] {
        let error = attack("ignore_response", json!({"then": then})).error();
        assert!(["fuel_exhausted", "deadline_exceeded"].contains(&error.as_str()), "{then}: {error}");
    }
    assert!(!besieged().billing.open_invoices("u1").is_empty(), "the backend still answers");
}

#[test]
fn a_guest_sees_nothing_of_the_machine() {
    let answer = attack("dump_environment", json!({}));
    let surroundings = answer.structured();
    assert_eq!(surroundings["environment"], json!({}));
    assert!(surroundings["arguments"].as_array().expect("a list").len() <= 1, "{surroundings}");
    for empty in ["folders", "root"] {
        assert_eq!(surroundings[empty], json!([]), "{surroundings}");
    }
    assert_eq!((&surroundings["passwd_bytes"], &surroundings["stdin_bytes"]), (&json!(0), &json!(0)));
}

#[test]
fn a_guest_reaches_no_address_of_its_choice() {
    let secret = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    secret.set_nonblocking(true).expect("a socket");
    let port = secret.local_addr().expect("bound").port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://billing:{port}/"),
        format!("http://billing@127.0.0.1:{port}/"),
        format!("http://[::1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://metadata.google.internal/".to_owned(),
        "https://billing/".to_owned(),
    ] {
        let answer = attack("fetch", json!({"url": url}));
        assert_eq!(answer.body["result"]["isError"], json!(true), "{url}: {answer:?}");
    }
    assert!(secret.accept().is_err(), "nobody knocked");
    // Its own backend it does reach, under the name it knows it by, whatever host it claims to want.
    let own = attack("fetch", json!({"url": "http://billing/healthz", "headers": {"host": "evil.example"}}));
    assert_eq!(own.structured()["status"], json!(200), "{own:?}");
}

#[test]
fn a_guest_that_imports_sockets_gets_none_of_any_kind() {
    let there = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    there.set_nonblocking(true).expect("a socket");
    let datagrams = std::net::UdpSocket::bind(there.local_addr().expect("bound")).expect("the same port, over UDP");
    datagrams.set_nonblocking(true).expect("a socket");
    let answer = attack("open_socket", json!({"address": there.local_addr().expect("bound").to_string()}));
    let attempts = answer.structured().as_object().expect("what became of each attempt");
    assert_eq!(attempts.len(), 4, "{attempts:?}");
    for (attempt, result) in attempts {
        let result = result.as_str().expect("in words").to_lowercase();
        // A name that may not be looked up is one that has no address, to a C library.
        let closed = ["denied", "not permitted", "failed to lookup"];
        assert!(closed.iter().any(|word| result.contains(word)), "{attempt}: {result}");
    }
    assert!(there.accept().is_err() && datagrams.recv(&mut [0; 8]).is_err(), "nobody knocked");
}

#[test]
fn a_guest_finds_nothing_that_another_left_in_memory() {
    let (seed, _besieged) = (0x5eed, besieged());
    for _ in 0..8 {
        attack("leave_secret", json!({"seed": seed})).structured();
    }
    let found = attack("find_secret", json!({"seed": seed}));
    assert_eq!(found.structured()["copies"], json!(0), "{found:?}");
}

#[test]
fn a_principal_that_ran_dry_has_its_guests_parked_and_computes_no_more_than_it_earns() {
    let plugins = plugins(&["hostile"]);
    let host = Host::dev(plugins.path())
        .with(&["--backend", "billing=http://127.0.0.1:1"])
        .config("[admission.principal]\nrate = 10_000_000\nburst = 100_000_000\n")
        .start();
    let started = Instant::now();
    let spinners: Vec<_> = (0..2)
        .map(|_| {
            let client = host.client();
            let spin = json!({"name": "spin", "arguments": {}});
            std::thread::spawn(move || client.try_call(spin).expect("it lives").error())
        })
        .collect();
    for spinner in spinners {
        assert_eq!(spinner.join().expect("no panic"), "deadline_exceeded");
    }
    let earned = started.elapsed().as_secs_f64() * 10_000_000.0;
    let metrics = host.admin("/metrics").1;
    let of = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{tool=\"spin\"}}"))).expect("it was called");
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    assert!(of("tidegate_parked_seconds_sum") > 1.0, "{metrics}");
    // What was saved up, what was earned since, and what each call may have burned beyond what it drew.
    assert!(of("tidegate_charged_fuel_total") < 100_000_000.0 + earned + 2_000_000.0, "{earned} earned: {metrics}");
}

#[test]
fn a_spinning_guest_leaves_honest_calls_their_latency() {
    let besieged = besieged();
    let host = &besieged.host;
    let typical = |count: usize| {
        let mut times: Vec<Duration> = (0..count)
            .map(|_| {
                let started = Instant::now();
                host.client().call("echo", json!({"text": "honest"})).structured();
                started.elapsed()
            })
            .collect();
        times.sort();
        times[count / 2]
    };
    let spinners: Vec<_> = (0..4)
        .map(|_| {
            let client = host.client();
            let spin = json!({"name": "spin", "arguments": {}});
            std::thread::spawn(move || client.try_call(spin).expect("it lives").error())
        })
        .collect();
    let beside = typical(50);
    for spinner in spinners {
        spinner.join().expect("no panic");
    }
    // Not a benchmark: a peer that serves no one while one tool spins fails this by seconds.
    assert!(beside < Duration::from_millis(500), "the median honest call took {beside:?} beside four spinners");
}
