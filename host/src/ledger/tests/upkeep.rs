//! What the ledger does every second: one thing that fails keeps it from no other.

use super::keeping::{DAY, long_log};
use super::*;
use crate::ledger::base;

/// A world that signs its log whenever it looks after it.
fn signing() -> World {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary folder"));
    let config = LedgerConfig { checkpoint_every: Span::millis(0), ..LedgerConfig::default() };
    let store = StoreConfig { min_free: Bytes(0), ..StoreConfig::default() };
    World::open(dir, store, config, Arc::new(AtomicU64::new(1_800_000_000_000))).expect("an empty folder opens")
}

#[tokio::test]
async fn a_row_that_makes_no_sense_keeps_the_log_neither_from_being_marked_nor_signed() {
    let world = signing();
    let senseless = [keys::EXPIRY_START, &[0]].concat();
    world.ledger.store().commit(move |tx| tx.put(senseless, Vec::new())).await.expect("writable");
    world.run(&write("key-1"), &answer("paid")).await;
    let inner = Arc::clone(&world.ledger.inner);
    let looked = tokio::task::spawn_blocking(move || inner.look_after(&mut std::time::Instant::now())).await.expect("no panic");
    let failed = looked.expect_err("one step fails").to_string();
    assert!(failed.contains("an expiry"), "{failed}");
    let mark = std::fs::read_to_string(world.dir.path().join("ledger.mark")).expect("there is one");
    let marked: u64 = mark.split_once(' ').expect("two words").0.parse().expect("a number");
    assert!(marked >= 2, "{mark}");
    assert!(world.ledger.last_checkpoint().expect("readable").is_some());
}

#[tokio::test]
async fn the_start_of_the_log_stays_as_long_as_the_log_can_not_be_marked() {
    let world = long_log(World::new()).await;
    world.pass(31 * DAY);
    // Where the mark is written before it takes the place of the last one.
    let unfinished = world.dir.path().join("ledger.mark.new");
    std::fs::create_dir(&unfinished).expect("creatable");
    let failed = world.ledger.prune(false, "ada").expect_err("it can not be marked").to_string();
    assert!(failed.contains("the mark"), "{failed}");
    assert_eq!(base::start(world.ledger.store()).expect("readable").tip, None);
    std::fs::remove_dir(unfinished).expect("removable");
    assert!(world.ledger.prune(false, "ada").expect("writable").records > 4000);
    world.settle().await;
    // Whatever the upkeep had got to: the marked record is there.
    world.crash().verified();
}
