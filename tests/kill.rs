//! Hundreds of crashes under load, at random moments and at every step of a call: after each one the log, the backend's books
//! and what callers were told have to agree.
//!
//! `TIDEGATE_KILLS=300 cargo test -p tidegate --test tidegate kill::` makes it more kills; `TIDEGATE_SEED` repeats the choices
//! of a run, which prints its seed. What threads and disk make of them differs from run to run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};

use serde_json::json;

use crate::harness::{CRASHES, FAULTS, Figures, Habits, Host, Log, Scene, Started, seed, workspace};

/// How often the host is killed unless `TIDEGATE_KILLS` says otherwise: by `kill -9` and at failpoints in turn.
const KILLS: usize = 2 * RUNNING.len();

/// The failpoints that a host under load comes to. Those of recovery and upkeep have tests of their own.
const RUNNING: [&str; 14] = [
    "call::claim",
    "call::queued",
    "call::claimed",
    "body::unnamed",
    "body::named",
    "store::applied",
    "store::flushed",
    "store::synced",
    "call::intended",
    "outbound::leaves",
    "outbound::answered",
    "call::executed",
    "call::concluded",
    "mark::unnamed",
];

/// How many kills one data folder sees before the next one is begun: reading a log whole, again and again, takes its time.
const KILLS_PER_FOLDER: usize = 30;

/// How many kills pass between two looks at the log. The first start after it recovers; at a look, `tidegate audit` does.
const KILLS_PER_LOOK: usize = 3;

/// The most answers that a host may give before it has to have come to its failpoint.
const ANSWERS_TO_A_FAILPOINT: usize = 2_000;

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// How hosts died.
#[derive(Default)]
struct Tally {
    kills: BTreeMap<&'static str, Kills>,
    /// How the last one did.
    last: &'static str,
}

/// What is counted of the kills of one kind.
#[derive(Default)]
struct Kills {
    count: usize,
    /// Of these, before the host had started.
    while_starting: usize,
    /// How long the start after one took, in the worst case.
    slowest_start: Duration,
}

#[test]
fn whatever_moment_a_host_dies_at_nothing_is_lost_and_nothing_is_done_twice() {
    let kills = std::env::var("TIDEGATE_KILLS").map_or(KILLS, |kills| kills.parse().expect("TIDEGATE_KILLS is a number"));
    let seed = seed();
    let (mut tally, mut figures, mut records, started) = (Tally::default(), Vec::new(), 0, Instant::now());
    for first in (0..kills).step_by(KILLS_PER_FOLDER) {
        // So few at a time, and so little patience, that many calls are told to wait, durably.
        let scene = Scene::new(seed.wrapping_add(first as u64));
        let mut scene = scene.config("[admission]\nslots = 4\nsync_budget = \"5ms\"\n");
        // The first one compiles the plugins, and would look slow.
        drop(scene.host().start());
        let end = kills.min(first + KILLS_PER_FOLDER);
        for index in first..end {
            let point = (index % 2 == 1).then(|| RUNNING[index / 2 % RUNNING.len()]);
            kill(&mut scene, point, &mut tally);
            if (index - first) % KILLS_PER_LOOK == KILLS_PER_LOOK - 1 {
                look(&mut scene, seed, index);
            }
        }
        let mut host = tally.start(scene.host()).expect("it starts");
        scene.recheck(&host).expect("it lives");
        assert!(host.stop("-TERM").success());
        tally.last = "an orderly end";
        records += look(&mut scene, seed, end);
        figures.push(scene.figures());
    }
    tally.print(&figures, records, seed, started.elapsed());
}

/// Starts a host, asks for what was in question, sets callers on it, and lets it die: at a failpoint, or by `kill -9`.
fn kill(scene: &mut Scene, point: Option<&'static str>, tally: &mut Tally) {
    let skipped = match point {
        // Comes once a second.
        Some("mark::unnamed") => scene.dice.u32(..2),
        // Few calls have so much to say.
        Some("body::unnamed" | "body::named") => scene.dice.u32(..8),
        _ => scene.dice.u32(..60),
    };
    let failpoints = point.map(|point| format!("{point}={skipped}*off->return")).unwrap_or_default();
    let (answers, pause) = (scene.dice.usize(..80), Duration::from_micros(scene.dice.u64(..5_000)));
    let started = tally.start(scene.host().failing(&failpoints));
    let kills = tally.killed(point.unwrap_or("kill -9"));
    let mut host = match started {
        Ok(host) => host,
        Err(said) => {
            assert!(point.is_some() && !said.contains("error: "), "the host did not start: {said}");
            kills.while_starting += 1;
            return;
        }
    };
    let rechecked = scene.recheck(&host);
    let load = scene.load(&host, Habits::default());
    match point {
        None => {
            rechecked.and_then(|()| load.wait_for(answers)).expect("it lives");
            // A moment that no answer marks.
            std::thread::sleep(pause);
            assert_eq!(host.kill().signal(), Some(SIGKILL));
        }
        Some(point) => {
            let reached = rechecked.is_err() || load.wait_for(ANSWERS_TO_A_FAILPOINT).is_err();
            assert_eq!((reached, host.kill().signal()), (true, Some(SIGABRT)), "the host did not come to {point}");
        }
    }
    load.end();
}

/// Holds everything against each other; answers how many records the log has.
fn look(scene: &mut Scene, seed: u64, kills: usize) -> usize {
    let (problems, records) = scene.inspect();
    assert!(problems.is_empty(), "after {kills} kills with TIDEGATE_SEED={seed}:\n{}", problems.join("\n"));
    records
}

impl Tally {
    /// Starts a host after whatever ended the last one.
    fn start(&mut self, host: Host) -> Result<Started, String> {
        let begun = Instant::now();
        let started = host.try_start();
        if let Some(kills) = self.kills.get_mut(self.last) {
            kills.slowest_start = kills.slowest_start.max(begun.elapsed());
        }
        started
    }

    /// Counts one more kill of this kind.
    fn killed(&mut self, kind: &'static str) -> &mut Kills {
        self.last = kind;
        let kills = self.kills.entry(kind).or_default();
        kills.count += 1;
        kills
    }

    /// Prints past the test runner, which swallows what a test that passes has to say.
    fn print(&self, figures: &[Figures], records: usize, seed: u64, took: Duration) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["killed at", "kills", "while starting", "slowest start after"]);
        for (kind, kills) in &self.kills {
            table.add_row([
                (*kind).to_owned(),
                kills.count.to_string(),
                kills.while_starting.to_string(),
                format!("{} ms", kills.slowest_start.as_millis()),
            ]);
        }
        let kills: usize = self.kills.values().map(|kills| kills.count).sum();
        let said = format!(
            "\n{kills} kills in {:.0} s, TIDEGATE_SEED={seed}, {records} records, nothing lost, nothing done twice\n{table}\n{}\n",
            took.as_secs_f64(),
            Figures::table(figures),
        );
        std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
    }
}

#[test]
fn a_crash_in_the_middle_of_recovery_is_recovered_from() {
    // More open calls than recovery ends in one commit.
    const OPEN: usize = 200;
    // Some of them come with the key of another's call, and wait for that one.
    const CALLERS: usize = 280;
    // All of them may start, and wait for the backend as long as it takes; its URL comes by flag.
    let config = format!(
        "[sandbox]\nmax_instances = {slots}\n[admission]\nslots = {slots}\nmemory = \"8GiB\"\n\
         [backends.billing]\nurl = \"http://127.0.0.1:1\"\nmax_wait = \"60s\"\n",
        // Nobody takes more than half of them alone.
        slots = 2 * CALLERS,
    );
    let mut scene = Scene::new(seed()).config(&config);
    let mut host = scene.host().start();
    scene.billing.signal("-STOP");
    let load = scene.load(&host, Habits { callers: CALLERS, brief: true });
    let intended = |line: &str| line.strip_prefix("tidegate_stage_seconds_count{stage=\"record_intent\"} ")?.parse().ok();
    let deadline = Instant::now() + Duration::from_secs(60);
    while host.admin("/metrics").1.lines().find_map(intended).is_none_or(|count: usize| count < OPEN) {
        assert!(Instant::now() < deadline, "the calls never ran");
        std::thread::yield_now();
    }
    host.kill();
    load.end();
    // What has reached it is done now, and nobody is told.
    scene.billing.signal("-CONT");

    for _ in 0..2 {
        let said = scene.host().failing("recovery::page=return").try_start().err().expect("it crashes");
        assert!(!said.contains("error: "), "{said}");
    }
    let mut host = scene.host().start();
    scene.recheck(&host).expect("it lives");
    assert!(host.stop("-TERM").success());
    let (problems, _) = scene.inspect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(scene.figures().unknown >= OPEN);
}

#[test]
fn a_crash_while_answers_are_forgotten_leaves_a_whole_log_and_free_keys() {
    let scene = Scene::new(seed()).config("[ledger]\nkeep_answers = \"1s\"\n");
    let structured = json!({"padding": "x".repeat(10_000)});
    let arguments = json!({"structured": structured.to_string(), "content": "[]"});
    let key = |index: usize| format!("forgotten-{index:08}");
    let mut host = scene.host().failing("upkeep::grace=return;upkeep::forgotten=return").start();
    let client = host.client();
    for index in 0..8 {
        assert_eq!(client.call_keyed("garbage_output", arguments.clone(), &key(index)).structured(), &structured);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let read = || json!({"name": "honest", "arguments": {"a": 1, "b": 2}});
    while client.try_request_with("tools/call", read(), &[]).is_ok() {
        assert!(Instant::now() < deadline, "nothing was forgotten");
    }
    assert_eq!(host.kill().signal(), Some(SIGABRT));

    let mut host = scene.host().start();
    for index in 0..8 {
        let again = host.client().call_keyed("garbage_output", arguments.clone(), &key(index));
        assert!(!again.is_replayed() && again.structured() == &structured, "a forgotten key is free: {again:?}");
    }
    assert!(host.stop("-TERM").success());
    let (_, flaws) = Log::of(&scene.data());
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
}

#[test]
fn a_host_killed_while_it_starts_for_the_first_time_starts_the_next_time() {
    let mut scene = Scene::new(seed());
    // The first one compiles the plugins.
    drop(scene.host().start());
    let begun = Instant::now();
    drop(scene.host().start());
    let whole = begun.elapsed();
    for round in 0..8 {
        let data = scene.data().with_file_name(format!("first-{round}"));
        for _ in 0..2 {
            let moment = whole.mul_f64(scene.dice.f64());
            scene.host().on(&data).kill_after(moment);
        }
        let mut host = scene.host().on(&data).start();
        assert_eq!(host.client().call("honest", json!({"a": 1, "b": 2})).structured(), &json!({"sum": 3}));
        assert!(host.stop("-TERM").success());
        let (_, flaws) = Log::of(&data);
        assert!(flaws.is_empty(), "{}", flaws.join("\n"));
    }
}

#[test]
fn every_failpoint_in_the_source_is_listed_and_every_listed_one_is_there() {
    fn walk(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).expect("the source folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).expect("a source file is text");
                let points = text.split("fail_point!(\"").skip(1);
                found.extend(points.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
            }
        }
    }
    let mut found = Vec::new();
    walk(&workspace().join("host/src"), &mut found);
    let mut listed: Vec<_> = CRASHES.iter().chain(&FAULTS).map(|(name, _)| (*name).to_owned()).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed, "each is named once, in host/src and in tests/harness/failpoints.rs");
}
