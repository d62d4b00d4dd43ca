//! Power cuts under load: what a host has told anybody survives them. And a host that leaves out the sync does not survive
//! them, or these tests would prove nothing.
//!
//! A cut is emulated: the data folder is an ext4 on a loop device, which is shut down without flushing its journal, so that
//! everything that was not synced is gone. That is kinder than a real cut in one respect: the disk's own cache survives.
//! `TIDEGATE_POWER_CUTS=200 cargo test -p tidegate --test tidegate power::` makes it more cuts.

mod disk;

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::harness::{Figures, Habits, Scene, seed};
use disk::Disk;

/// How many cuts there are unless `TIDEGATE_POWER_CUTS` says otherwise.
const CUTS: usize = 2;

/// How many cuts the host without a sync has to live through.
const CONTROLS: usize = 6;

/// How many cuts one data folder sees before the next one is begun.
const CUTS_PER_FOLDER: usize = 20;

/// The disks are small.
const SMALL: &str = "[store]\nmin_free = \"1MiB\"\n";

fn cuts() -> usize {
    std::env::var("TIDEGATE_POWER_CUTS").map_or(CUTS, |cuts| cuts.parse().expect("TIDEGATE_POWER_CUTS is a number"))
}

/// Lets callers work on a host until the power fails.
fn work_until_cut(scene: &mut Scene, disk: &Disk, failpoints: &str, habits: Habits) {
    let (answers, pause) = (scene.dice.usize(20..120), Duration::from_micros(scene.dice.u64(..5_000)));
    let mut host = scene.host().failing(failpoints).start();
    scene.recheck(&host).expect("it lives");
    let load = scene.load(&host, habits);
    load.wait_for(answers).expect("it lives");
    // A moment that no answer marks.
    std::thread::sleep(pause);
    disk.cut();
    host.kill();
    load.end();
    disk.power_up();
}

#[test]
fn nothing_that_anybody_was_told_is_lost_in_a_power_cut() {
    let (cuts, seed, started) = (cuts(), seed(), Instant::now());
    let (mut figures, mut records) = (Vec::new(), 0);
    for first in (0..cuts).step_by(CUTS_PER_FOLDER) {
        let mut scene = Scene::new(seed.wrapping_add(first as u64)).config(SMALL);
        let disk = Disk::mounted_at(&scene.data());
        for cut in first..cuts.min(first + CUTS_PER_FOLDER) {
            work_until_cut(&mut scene, &disk, "", Habits::default());
            // Every other time the log is read before a host has recovered it.
            if cut % 2 == 0 {
                let problems = scene.inspect().0;
                assert!(problems.is_empty(), "after {cut} cuts with TIDEGATE_SEED={seed}:\n{}", problems.join("\n"));
            }
        }
        let mut host = scene.host().start();
        scene.recheck(&host).expect("it lives");
        assert!(host.stop("-TERM").success());
        let (problems, last) = scene.inspect();
        assert!(problems.is_empty(), "with TIDEGATE_SEED={seed}:\n{}", problems.join("\n"));
        records += last;
        figures.push(scene.figures());
    }
    let took = started.elapsed().as_secs_f64();
    let table = Figures::table(&figures);
    let said = format!("\n{cuts} power cuts in {took:.0} s, TIDEGATE_SEED={seed}, {records} records, nothing lost\n{table}\n");
    // Past the test runner, which swallows what a test that passes has to say.
    std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
}

#[test]
fn without_the_sync_power_cuts_lose_what_callers_were_told() {
    if cuts() == 0 {
        return;
    }
    let seed = seed();
    let lost = (0..CONTROLS).filter_map(|index| lost_without_sync(seed.wrapping_add(index as u64))).collect::<Vec<_>>();
    let said =
        format!("\nwithout the sync {} of {CONTROLS} power cuts lost something, such as: {}\n", lost.len(), lost.join("; "));
    std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
    assert!(lost.len() * 2 > CONTROLS, "the cuts are too kind to prove anything: {lost:?}");
}

/// What is found missing after one cut, of a host that never syncs.
fn lost_without_sync(seed: u64) -> Option<String> {
    let mut scene = Scene::new(seed).config(SMALL);
    let disk = Disk::mounted_at(&scene.data());
    work_until_cut(&mut scene, &disk, "store::sync=return(skip)", Habits { brief: true, ..Habits::default() });
    let mut host = match scene.host().try_start() {
        Ok(host) => host,
        Err(said) => return Some(said.lines().last().unwrap_or("the host did not start").to_owned()),
    };
    scene.recheck(&host).expect("it lives");
    assert!(host.stop("-TERM").success());
    scene.inspect().0.into_iter().next().map(|problem| problem.chars().take(120).collect())
}
