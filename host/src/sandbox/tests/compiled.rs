//! Compiled components on disk: whose they are, and how many there are.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

#[test]
fn compiled_components_are_kept_where_only_the_host_can_write() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let cache = folder.path().join("compiled");
    let caching = |folder: &Path, key: u8, limit: u64| -> Result<Sandbox, SandboxError> {
        Sandbox::new(&SandboxConfig { cache: model::Bytes(limit), ..small() }, |_| false)?.with_cache(folder, &[key; 32])
    };
    let entries = || -> Vec<_> {
        let entries = std::fs::read_dir(&cache).expect("it was made").map(|entry| entry.expect("readable").path());
        entries.map(|path| (std::fs::metadata(&path).expect("it is there").ino(), path)).collect()
    };
    for _ in 0..2 {
        compile(&caching(&cache, 1, 1 << 20).expect("writable"), &plugin(ANSWER)).expect("the guest is a plugin");
    }
    assert_eq!(std::fs::metadata(&cache).expect("it was made").permissions().mode() & 0o777, 0o700);
    let first = entries();
    assert_eq!(first.len(), 1);
    // Under another key it is somebody else's, and replaced.
    compile(&caching(&cache, 2, 1 << 20).expect("writable"), &plugin(ANSWER)).expect("the guest is a plugin");
    let second = entries();
    assert_eq!((second.len(), &second[0].1), (1, &first[0].1));
    assert_ne!(second[0].0, first[0].0);
    // There is room for one, and what was not used for longer goes.
    let size = std::fs::metadata(&second[0].1).expect("it is there").len();
    let narrow = caching(&cache, 2, size + size / 2).expect("writable");
    compile(&narrow, &plugin("(unreachable)")).expect("the guest is a plugin");
    let third = entries();
    assert_eq!(third.len(), 1);
    assert_ne!(third[0].1, second[0].1);
    // None at all, and none where there can be none.
    assert!(caching(&folder.path().join("none"), 1, 0).is_ok() && !folder.path().join("none").exists());
    std::fs::write(folder.path().join("file"), "").expect("it can be written to");
    let error = caching(&folder.path().join("file"), 1, 1 << 20).err().expect("a file is no folder");
    assert!(error.to_string().contains("it is no folder"), "{error}");
}
