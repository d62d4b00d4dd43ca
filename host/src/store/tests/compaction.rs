//! Space comes back: what was deleted is given back at the next start, and a start that is cut off loses nothing.

use super::*;

/// How many rows are written in one commit.
const ROWS: u32 = 400;

async fn write(store: &Store, from: u32, until: u32) {
    for first in (from..until).step_by(ROWS as usize) {
        let put = move |tx: &mut Tx<'_>| {
            (first..(first + ROWS).min(until)).try_for_each(|n| tx.put(n.to_be_bytes().to_vec(), vec![7; 3900]))
        };
        store.commit(put).await.expect("the commit is durable");
    }
}

async fn delete(store: &Store, from: u32, until: u32) {
    for first in (from..until).step_by(ROWS as usize) {
        let delete = move |tx: &mut Tx<'_>| {
            (first..(first + ROWS).min(until)).for_each(|n| tx.delete(n.to_be_bytes().to_vec()));
            Ok::<_, StoreError>(())
        };
        store.commit(delete).await.expect("the commit is durable");
    }
}

fn on_disk(dir: &Path) -> u64 {
    compact::bytes_on_disk(&dir.join("store")).expect("readable")
}

#[tokio::test]
async fn a_store_that_has_lost_most_of_what_it_held_is_small_again_after_the_next_start() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    write(&store, 0, 20_000).await;
    delete(&store, 1_000, 20_000).await;
    store.close().await.expect("the store closes cleanly");
    let before = on_disk(dir.path());
    assert!(before > 64 << 20, "{before}");

    let store = open(dir.path());
    let (after, live) = (on_disk(dir.path()), 1_000 * (4 + 5 + 3900));
    // The engine's files take some megabytes whatever is in them.
    assert!(after <= 2 * live + (8 << 20), "{after} bytes for {live}");
    let rows = store.scan(&[], &[0xff; 5], usize::MAX).expect("readable");
    let kept: Vec<_> = rows.into_iter().filter(|row| row.key != compact::LIVE).map(|row| row.intact().expect("intact")).collect();
    assert_eq!((kept.len(), kept.iter().all(|payload| *payload == [7; 3900])), (1_000, true));
    assert_eq!(store.read(compact::live_bytes).expect("readable"), live);
    write(&store, 1_000, 1_010).await;
    store.close().await.expect("the store closes cleanly");
    let store = open(dir.path());
    assert_eq!(store.get(&1_009_u32.to_be_bytes()).expect("readable"), Some(vec![7; 3900]));
    assert!(!dir.path().join("store.compact").exists());
}

#[tokio::test]
async fn a_compaction_that_was_cut_off_leaves_a_whole_store() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k", b"v").await.expect("the commit is durable");
    store.close().await.expect("the store closes cleanly");
    // Cut off before the two changed names, the folder aside holds half an engine; cut off after, the old one.
    let aside = dir.path().join("store.compact");
    fs::create_dir(&aside).expect("creatable");
    fs::copy(dir.path().join("store/conf"), aside.join("conf")).expect("copyable");
    fs::write(aside.join("db"), vec![7; 5000]).expect("writable");
    let store = open(dir.path());
    assert_eq!(store.get(b"k").expect("readable"), Some(b"v".to_vec()));
    assert!(!aside.exists(), "what was left aside is removed");
}
