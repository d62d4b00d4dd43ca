//! Compiled components that outlive the process: used again if this host wrote them, made anew if anything is strange.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{OPEN, World};
use crate::harness::{Host, Started, Version};

/// The one compiled component there is.
fn compiled(data: &Path) -> std::path::PathBuf {
    let files: Vec<_> =
        std::fs::read_dir(data.join("compiled")).expect("it is there").map(|file| file.expect("readable").path()).collect();
    let [file] = &files[..] else { panic!("one component was compiled: {files:?}") };
    file.clone()
}

fn start(world: &World, data: &Path) -> Started {
    Host::dev(world.plugins.path()).on(data).config(OPEN).serve().start()
}

fn serves(host: &Started) {
    let answer = host.client().call("which_version_0000", serde_json::json!({}));
    assert_eq!(answer.structured()["version"], Version::new(1).answer().as_str());
}

#[test]
fn what_was_compiled_once_is_private_and_used_at_the_next_start() {
    let mut world = World::new("");
    assert!(world.host.stop("-TERM").success());
    let data = world.host.data.clone();
    let file = compiled(&data);
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&data.join("compiled")), mode(&file)), (0o700, 0o600));
    let written = || std::fs::metadata(&file).expect("it is there").ino();
    let before = written();
    let mut host = start(&world, &data);
    serves(&host);
    assert!(host.stop("-TERM").success());
    assert_eq!(written(), before, "it was not compiled again:\n{}", host.log());
}

#[test]
fn what_somebody_else_may_have_written_is_compiled_anew() {
    let mut world = World::new("");
    assert!(world.host.stop("-TERM").success());
    let data = world.host.data.clone();
    let file = compiled(&data);
    let whole = std::fs::read(&file).expect("readable");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (content, said) in
        [(&flipped[..], "not as this host wrote it"), (&whole[..whole.len() / 2], "not as this host"), (b"", "cut off")]
    {
        std::fs::write(&file, content).expect("writable");
        let mut host = start(&world, &data);
        serves(&host);
        assert!(host.stop("-TERM").success());
        assert!(host.log().contains(said), "{}", host.log());
        assert_eq!(std::fs::read(&file).expect("it was made anew").len(), whole.len());
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
    let mut host = start(&world, &data);
    serves(&host);
    assert!(host.stop("-TERM").success());
    assert!(host.log().contains("others may write to it"), "{}", host.log());
}
