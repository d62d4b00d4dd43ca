//! Whatever dies in the middle of an installation leaves the old or the new, and nothing in anybody's way.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{World, path};

/// The places where an installation can die, in order, and whether what was installed is in force then.
pub const CRASHES: [(&str, bool); 5] = [
    ("install::staged", false),
    ("install::laid_down", false),
    ("install::recorded", false),
    ("install::written", false),
    ("install::committed", true),
];

#[test]
fn killed_at_any_step_an_installation_has_happened_or_has_not() {
    for (place, has_happened) in CRASHES {
        let world = World::new();
        world.install(&world.version("first", &[])).done();
        let second = world.version("second", &[("0.1.0", "0.2.0")]);
        let died = world.failing(&format!("{place}=return"), &["install", path(&second)]);
        assert_eq!(died.code, None, "{place} was never reached: {died:?}");
        assert_eq!(world.active().as_deref(), Some(if has_happened { "0.2.0" } else { "0.1.0" }), "{place}");
        // A host starts on it, whichever it is, and sweeps what was left.
        let mut host = world.start();
        assert_swept(&world, if has_happened { 2 } else { 1 }, place);
        assert_eq!(host.client().call("echo", json!({"text": "x"})).structured(), &json!({"text": "x"}), "{place}");
        assert!(host.stop("-TERM").success());
        // The next one does what was meant.
        world.plugin(&["install", path(&second)]).done();
        assert_eq!(world.active().as_deref(), Some("0.2.0"), "{place}");
        assert_swept(&world, 2, place);
        world.plugin(&["rollback", "echo"]).done();
        assert_eq!(world.active().as_deref(), Some("0.1.0"), "{place}");
    }
}

/// Nothing is left of what was being written, and so many contents are kept.
#[track_caller]
fn assert_swept(world: &World, kept: usize, place: &str) {
    let plugins = world.data().join("plugins");
    assert_eq!(fs::read_dir(plugins.join("staging")).expect("there").count(), 0, "{place}");
    assert_eq!(fs::read_dir(plugins.join("sha256")).expect("there").count(), kept, "{place}");
    assert!(!plugins.join("installed.json.new").exists(), "{place}");
}

#[test]
fn the_next_installation_sweeps_as_well_where_no_host_starts_in_between() {
    for (place, has_happened) in CRASHES {
        let world = World::new();
        world.install(&world.version("first", &[])).done();
        let second = world.version("second", &[("0.1.0", "0.2.0")]);
        world.failing(&format!("{place}=return"), &["install", path(&second)]);
        // What is refused sweeps, too.
        world.plugin(&["rollback", "echo", "--to", "0.9.9"]).refused(&["no `0.9.9` is kept"]);
        assert_swept(&world, if has_happened { 2 } else { 1 }, place);
    }
}

#[test]
fn contents_that_no_list_keeps_are_left_for_whoever_puts_the_list_back() {
    let world = World::new();
    world.install(&world.version("first", &[])).done();
    let (list, aside) = (world.data().join("plugins/installed.json"), world.dir.path().join("installed.json"));
    fs::rename(&list, &aside).expect("movable");
    assert!(world.host().try_start().err().expect("nothing is left to serve").contains("no plugin in"));
    fs::rename(&aside, &list).expect("movable");
    drop(world.start());
}

#[test]
fn what_is_in_force_is_never_said_to_be_undone_and_what_lies_in_the_way_keeps_nobody_from_anything() {
    let world = World::new();
    world.install(&world.version("first", &[])).done();
    fs::write(world.data().join("plugins/staging/stray"), "x").expect("writable");
    let second = world.version("second", &[("0.1.0", "0.2.0")]);
    world.failing("install::unsynced=return", &["install", path(&second)]).done();
    assert_eq!(world.active().as_deref(), Some("0.2.0"));
    let acts: Vec<_> = world.records("plugin_").iter().map(|body| body["action"].clone()).collect();
    assert_eq!(acts, [json!("plugin_install"), json!("plugin_install")]);
    assert!(!world.data().join("plugins/staging/stray").exists());
}

/// A small disk in memory over the folder of installed plugins; gone when dropped.
pub struct Small(PathBuf);

impl Small {
    pub fn mounted_at(path: &Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "none"])
            .arg(path)
            .output()
            .expect("mount runs");
        assert!(mounted.status.success(), "needs root: {}", String::from_utf8_lossy(&mounted.stderr));
        Self(path.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Fills the disk to the last page; answers with which file.
pub fn fill(dir: &Path) -> PathBuf {
    let filler = dir.join("filler");
    let mut file = fs::File::create(&filler).expect("there is room");
    while file.write_all(&[7; 4096]).is_ok() {}
    filler
}

#[test]
fn on_a_full_disk_nothing_is_installed_and_with_room_it_is() {
    let world = World::new();
    let plugins = world.data().join("plugins");
    fs::create_dir_all(&plugins).expect("writable");
    let _small = Small::mounted_at(&plugins);
    world.install(&world.version("first", &[])).done();
    let second = world.version("second", &[("0.1.0", "0.2.0")]);
    let filler = fill(&plugins);
    world.plugin(&["install", path(&second)]).refused(&["No space left"]);
    assert_eq!(world.active().as_deref(), Some("0.1.0"));
    fs::remove_file(filler).expect("removable");
    world.plugin(&["install", path(&second)]).done();
    assert_eq!(world.active().as_deref(), Some("0.2.0"));
}
