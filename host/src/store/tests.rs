//! The store against a real disk: what is answered stays, what is refused leaves nothing, and every refusal says why.

mod compaction;
mod copies;
pub(crate) mod folder;
pub(crate) mod reopening;
pub(crate) mod stop;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tx::Row;
use super::*;
use crate::model::{Bytes, Span};

fn config() -> StoreConfig {
    StoreConfig { min_free: Bytes(0), ..StoreConfig::default() }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, &config()).expect("an empty or healthy folder opens")
}

impl Store {
    /// Puts a changed copy of one stored value, envelope and all, under another key or the same, past every check.
    pub(crate) fn corrupt(&self, from: &[u8], to: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        let engine = self.shared().engine.read().expect("not poisoned").clone().expect("open");
        let mut value = engine.get(from).expect("readable").expect("there").to_vec();
        change(&mut value);
        engine.insert(to, value).expect("writable");
    }
}

async fn put(store: &Store, key: &str, payload: &[u8]) -> Result<(), StoreError> {
    let (key, payload) = (key.as_bytes().to_vec(), payload.to_vec());
    store.commit(move |tx| tx.put(key, payload)).await
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k/1", b"one").await.expect("the commit is durable");
    put(&store, "k/2", b"two").await.expect("the commit is durable");
    let delete = |tx: &mut Tx<'_>| {
        tx.delete(b"k/1".to_vec());
        Ok::<_, StoreError>(())
    };
    store.commit(delete).await.expect("the commit is durable");
    store.close().await.expect("the store closes cleanly");

    let store = open(dir.path());
    assert_eq!(store.get(b"k/1").expect("readable"), None);
    assert_eq!(store.get(b"k/2").expect("readable"), Some(b"two".to_vec()));
    store.close().await.expect("the store closes cleanly");
}

#[tokio::test]
async fn a_dropped_store_writes_what_it_has_taken() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    let mut finished = store.shared().finished.subscribe();
    drop(store.submit::<_, StoreError, _>(None, Urgency::Soon, |tx| tx.put(b"k".to_vec(), b"v".to_vec())));
    drop(store);
    finished.wait_for(|finished| *finished).await.expect("the writer thread says when it is done");
    assert_eq!(open(dir.path()).get(b"k").expect("readable"), Some(b"v".to_vec()));
}

#[tokio::test]
async fn a_commit_that_answers_with_an_error_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k", b"before").await.expect("the commit is durable");
    let refused: Result<(), StoreError> = store
        .commit(|tx| {
            tx.put(b"k".to_vec(), b"after".to_vec())?;
            tx.delete(b"other".to_vec());
            tx.put(b"long".to_vec(), vec![0; MAX_PAYLOAD + 1])
        })
        .await;
    assert!(matches!(refused, Err(StoreError::TooLong { .. })), "{refused:?}");
    assert_eq!(store.get(b"k").expect("readable"), Some(b"before".to_vec()));
    assert!(store.is_open());
}

#[tokio::test]
async fn commits_of_one_group_see_each_other() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    let counters: Vec<_> = (0..200)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let count = |tx: &mut Tx<'_>| {
                    let count = tx.get(b"count")?.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
                    tx.put(b"count".to_vec(), (count + 1).to_be_bytes().to_vec())?;
                    Ok::<_, StoreError>(count)
                };
                store.commit(count).await.expect("the commit is durable")
            })
        })
        .collect();
    let mut seen = Vec::new();
    for counter in counters {
        seen.push(counter.await.expect("the task ends"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>(), "each commit saw all before it, and none twice");
}

#[tokio::test]
async fn a_commit_nobody_waits_for_is_durable_soon() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    let begun = Instant::now();
    let receipt = store.submit::<_, StoreError, _>(None, Urgency::Soon, |tx| tx.put(b"k".to_vec(), b"v".to_vec()));
    receipt.durable().await.expect("it is written without anybody asking for it");
    let linger = config().linger.duration();
    assert!((linger..linger + Duration::from_secs(2)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_commit_nobody_waits_for_rides_with_an_urgent_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = StoreConfig { linger: Span::seconds(3600), ..config() };
    let store = Store::open(dir.path(), &config).expect("an empty folder opens");
    let receipt = store.submit::<_, StoreError, _>(None, Urgency::Soon, |tx| tx.put(b"soon".to_vec(), b"v".to_vec()));
    put(&store, "now", b"v").await.expect("the commit is durable");
    receipt.durable().await.expect("it was in the same group");
    assert_eq!(store.get(b"soon").expect("readable"), Some(b"v".to_vec()));
}

#[tokio::test]
async fn a_commit_given_up_before_its_turn_never_runs() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    // Holds the writer thread until the commit behind it has been given up.
    let (free, held) = std::sync::mpsc::channel::<()>();
    let holder = store.submit::<_, StoreError, _>(None, Urgency::Now, move |_| Ok(held.recv().is_ok()));
    let given_up = tokio::time::timeout(Duration::from_millis(20), put(&store, "k", b"v")).await;
    assert!(given_up.is_err(), "the writer thread is held");
    free.send(()).expect("the holder waits");
    assert!(holder.durable().await.expect("it runs"));
    put(&store, "later", b"v").await.expect("the commit is durable");
    assert_eq!(store.get(b"k").expect("readable"), None);
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_answer_to_a_late_commit_is_dropped_after_it_is_durable() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store =
        Store::open(dir.path(), &StoreConfig { commit_wait: Span::millis(20), ..config() }).expect("an empty folder opens");
    let drops = Arc::new(AtomicUsize::new(0));
    let answer = Counted(Arc::clone(&drops));
    let (free, held) = std::sync::mpsc::channel::<()>();
    let late: Result<Counted, StoreError> = store
        .commit(move |tx| {
            tx.put(b"k".to_vec(), b"v".to_vec())?;
            let _ = held.recv();
            Ok(answer)
        })
        .await;
    assert!(matches!(late, Err(StoreError::Timeout { .. })), "the commit has begun and nobody waits any more");
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    free.send(()).expect("the commit waits");
    while put(&store, "next", b"v").await.is_err() {}
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(store.get(b"k").expect("readable"), Some(b"v".to_vec()), "it came to stand all the same");
}

#[tokio::test]
async fn callers_beyond_the_limit_are_refused_in_time() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = StoreConfig { commit_wait: Span::seconds(1), max_commits: 2, ..config() };
    let store = Store::open(dir.path(), &config).expect("an empty folder opens");
    let both = store.reserve_pair().await.expect("there is room for two");
    let refused = put(&store, "k", b"v").await;
    assert!(matches!(refused, Err(StoreError::Timeout { .. })), "{refused:?}");
    drop(both);
    put(&store, "k", b"v").await.expect("there is room again");
}

#[tokio::test]
async fn a_closed_store_refuses_everything() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    store.close().await.expect("the store closes cleanly");
    assert!(matches!(put(&store, "k", b"v").await, Err(StoreError::Closed { .. })));
    assert!(matches!(store.get(b"k"), Err(StoreError::Closed { .. })));
    store.close().await.expect("closing twice changes nothing");
}

#[tokio::test]
async fn a_body_is_kept_under_its_digest_and_checked_when_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    let body = vec![7; 100_000];
    let digest = store.write_body(body.clone()).await.expect("written");
    assert_eq!(store.write_body(body.clone()).await.expect("written"), digest, "the same body is one file");
    assert_eq!(store.read_body(&digest).expect("readable"), Some(body));
    let name = digest.to_string();
    let path = dir.path().join("bodies").join(&name[..2]).join(&name);
    fs::write(&path, b"forged").expect("writable");
    assert!(matches!(store.read_body(&digest), Err(StoreError::Damaged { .. })));
    store.remove_body(&digest).expect("removable");
    store.remove_body(&digest).expect("removing twice changes nothing");
    assert_eq!(store.read_body(&digest).expect("readable"), None);
}

#[tokio::test]
async fn a_changed_value_is_found_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k", b"value").await.expect("the commit is durable");
    store.corrupt(b"k", b"moved", |_| {});
    store.corrupt(b"k", b"short", |value| value.truncate(1));
    store.corrupt(b"k", b"k", |value| *value.last_mut().expect("not empty") ^= 1);
    for key in [&b"k"[..], b"moved", b"short"] {
        assert!(matches!(store.get(key), Err(StoreError::Damaged { .. })), "{key:?}");
    }
    let entries = store.scan(b"", b"z", 10).expect("scannable");
    assert!(entries.iter().all(|entry| entry.damage.is_some()), "{entries:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_group_shows_and_leaves_what_an_ordered_map_would(
        stored in proptest::collection::btree_map(0_u8..20, any::<u8>(), 0..12),
        commits in proptest::collection::vec((proptest::collection::vec((0_u8..20, any::<Option<u8>>()), 0..6), any::<bool>()), 0..5),
        (from, length, limit) in (0_u8..20, 0_u8..20, 0_usize..8),
    ) {
        let db = sled::Config::new().temporary(true).open().expect("a temporary engine opens");
        for (key, value) in &stored {
            db.insert([*key], record::wrap(&[*key], &[*value])).expect("writable");
        }
        let mut model: BTreeMap<u8, u8> = stored;
        let mut tx = Tx::new(&db);
        for (writes, keep) in commits {
            let mut after = model.clone();
            for (key, value) in writes {
                match value {
                    Some(value) => {
                        tx.put(vec![key], vec![value]).expect("short enough");
                        after.insert(key, value);
                    }
                    None => {
                        tx.delete(vec![key]);
                        after.remove(&key);
                    }
                }
            }
            if keep {
                tx.keep();
                model = after;
            } else {
                tx.undo();
            }
        }
        let until = from.saturating_add(length);
        let expected: Vec<Row> = model.range(from..until).take(limit).map(|(key, value)| (vec![*key], vec![*value])).collect();
        prop_assert_eq!(tx.scan(&[from], &[until], limit).expect("readable"), expected);
        for key in 0..20 {
            prop_assert_eq!(tx.get(&[key]).expect("readable"), model.get(&key).map(|value| vec![*value]));
        }
        let live = compact::live_bytes(&db).expect("readable");
        if let Some((batch, live)) = tx.into_batch(live).expect("readable") {
            db.apply_batch(batch).expect("writable");
            prop_assert_eq!(compact::live_bytes(&db).expect("readable"), live);
            db.remove(compact::LIVE).expect("writable");
            prop_assert_eq!(compact::live_bytes(&db).expect("readable"), live, "counted anew it is the same");
        }
        let left: BTreeMap<u8, u8> = db
            .iter()
            .map(|found| found.expect("readable"))
            .map(|(key, value)| (key[0], record::unwrap(&key, &value).expect("intact")[0]))
            .collect();
        prop_assert_eq!(left, model);
    }
}
