//! Copies taken while commits go on: each is the store as it was at one moment, and nothing less can be loaded.

use std::sync::atomic::AtomicBool;

use super::super::record;
use super::*;

const LANDMARK: &[u8] = b"m/landmark";

/// How many sets of rows are changed together.
const SETS: u64 = 400;

/// Rows that are changed together and lie far apart.
fn set(number: u64) -> [Vec<u8>; 3] {
    ["a", "k", "x"].map(|prefix| format!("{prefix}/{number:04}").into_bytes())
}

fn row(tx: &Tx<'_>, key: &[u8]) -> Result<u64, StoreError> {
    Ok(tx.get(key)?.map_or(0, |bytes| u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"))))
}

/// Counts a set up, with every eighth number deleted from one of its rows, and counts all commits in the landmark.
fn count_up(tx: &mut Tx<'_>, number: u64) -> Result<u64, StoreError> {
    let next = row(tx, &set(number)[0])? + 1;
    for key in set(number) {
        let payload = [&next.to_be_bytes()[..], &[7; 500]].concat();
        tx.put(key, payload)?;
    }
    let gone = format!("z/{number:04}").into_bytes();
    if next % 8 == 0 {
        tx.delete(gone)
    } else {
        tx.put(gone, next.to_be_bytes().to_vec())?
    }
    let commits = row(tx, LANDMARK)? + 1;
    tx.put(LANDMARK.to_vec(), commits.to_be_bytes().to_vec())?;
    Ok(commits)
}

fn number(bytes: Option<Vec<u8>>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_taken_while_commits_go_on_is_the_store_as_it_was_at_one_moment() {
    let (dir, to) = (tempfile::tempdir().expect("a temporary folder"), tempfile::tempdir().expect("a temporary folder"));
    let store = open(dir.path());
    for number in 0..SETS {
        store.commit(move |tx| count_up(tx, number)).await.expect("the commit is durable");
    }
    let body = vec![7; 100_000];
    let digest = store.write_body(body.clone()).await.expect("written");
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, over) = (store.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut turn = writer;
                while !over.load(Ordering::SeqCst) {
                    turn += 8;
                    store.commit(move |tx| count_up(tx, turn * 7919 % SETS)).await.expect("the commit is durable");
                }
            })
        })
        .collect();
    let begun = number(store.get(LANDMARK).expect("readable"));
    while number(store.get(LANDMARK).expect("readable")) < begun + 64 {
        tokio::task::yield_now().await;
    }
    // On a busy machine a copy can be there before the next commit is.
    let mut folders = (0..50).map(|attempt| to.path().join(format!("{attempt}")));
    let (before, after, copied, [rows, bodies]) = loop {
        let folder = folders.next().expect("commits go on while one of so many copies is taken");
        fs::create_dir(&folder).expect("creatable");
        let (paths, copying) = (["rows", "bodies"].map(|name| folder.join(name)), store.clone());
        let [rows, bodies] = paths.clone();
        let before = number(store.get(LANDMARK).expect("readable"));
        let copied = tokio::task::spawn_blocking(move || copying.copy(&rows, &bodies, LANDMARK)).await.expect("no panic");
        let after = number(store.get(LANDMARK).expect("readable"));
        if after > before + 8 {
            break (before, after, copied.expect("the copy is taken"), paths);
        }
    };
    over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    store.close().await.expect("the store closes cleanly");

    let landmark = number(copied.landmark.clone());
    assert!((before..=after).contains(&landmark), "{before} {landmark} {after}");
    let new = to.path().join("data");
    let loaded = load(&new, &config(), &rows, &bodies, LANDMARK).expect("the copy can be loaded");
    assert_eq!(number(loaded), landmark);
    let store = open(&new);
    let mut commits = 0;
    for set_number in 0..SETS {
        let counts = set(set_number).map(|key| number(store.get(&key).expect("intact")));
        assert!(counts.iter().all(|count| *count == counts[0]), "set {set_number} is torn: {counts:?}");
        let gone = store.get(format!("z/{set_number:04}").as_bytes()).expect("intact");
        assert_eq!(number(gone), if counts[0] % 8 == 0 { 0 } else { counts[0] });
        commits += counts[0];
    }
    assert_eq!(commits, landmark, "all commits up to that moment, and none after it");
    assert_eq!(store.read_body(&digest).expect("intact"), Some(body));
    store.close().await.expect("the store closes cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_reads_again_the_moment_it_is_noted_has_changed_already() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    let noting = Arc::new(store.begin_copy().expect("no other copy is being taken"));
    let over = Arc::new(AtomicBool::new(false));
    let reading = {
        let (store, over, noting) = (store.clone(), Arc::clone(&over), Arc::clone(&noting));
        tokio::task::spawn_blocking(move || {
            let mut seen = BTreeMap::new();
            while !over.load(Ordering::SeqCst) {
                for key in noting.take().expect("the copy goes on") {
                    let value = store.get(&key).expect("readable");
                    seen.insert(key, value);
                }
            }
            seen
        })
    };
    // Each key changes once: what is read too soon is not noted, and read, a second time.
    for number in 0..600_u64 {
        put(&store, &format!("k/{number:04}"), &number.to_be_bytes()).await.expect("the commit is durable");
    }
    over.store(true, Ordering::SeqCst);
    let mut seen = reading.await.expect("no panic");
    for (key, value) in store.cut(&noting, LANDMARK).expect("the moment is reached").rows {
        let value = value.map(|value| record::unwrap(&key, &value).expect("whole"));
        seen.insert(key, value);
    }
    drop(noting);
    for number in 0..600_u64 {
        let seen = seen.get(format!("k/{number:04}").as_bytes()).expect("every key was noted");
        assert_eq!(seen.as_deref(), Some(&number.to_be_bytes()[..]), "number {number}");
    }
    store.close().await.expect("the store closes cleanly");
}

#[tokio::test]
async fn a_copy_that_was_cut_short_or_is_something_else_is_not_loaded() {
    let (dir, to) = (tempfile::tempdir().expect("a temporary folder"), tempfile::tempdir().expect("a temporary folder"));
    let store = open(dir.path());
    for number in 0..20 {
        store.commit(move |tx| count_up(tx, number)).await.expect("the commit is durable");
    }
    let (rows, bodies) = (to.path().join("rows"), to.path().join("bodies"));
    store.copy(&rows, &bodies, LANDMARK).expect("the copy is taken");
    let whole = fs::read(&rows).expect("readable");
    let end = whole.len() - 9;
    let broken = [&whole[..whole.len() - 1], &whole[..40], b"something else", &[&whole[..end], &[3], &[9; 8]].concat()[..]];
    for (index, broken) in broken.into_iter().enumerate() {
        fs::write(&rows, broken).expect("writable");
        let refused = load(&to.path().join(format!("{index}")), &config(), &rows, &bodies, LANDMARK);
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{index}: {refused:?}");
    }
    fs::write(&rows, whole).expect("writable");
    load(&to.path().join("whole"), &config(), &rows, &bodies, LANDMARK).expect("whole, it can be loaded");
}

#[tokio::test]
async fn a_fault_ends_the_copy_that_is_being_taken_and_the_next_one_succeeds() {
    let (dir, to) = (tempfile::tempdir().expect("a temporary folder"), tempfile::tempdir().expect("a temporary folder"));
    let store = open(dir.path());
    put(&store, "k", b"v").await.expect("the commit is durable");
    let noting = store.begin_copy().expect("no other copy is being taken");
    let second = store.begin_copy().map(drop).expect_err("one at a time");
    assert!(second.to_string().contains("already"), "{second}");
    let panicked: Result<(), StoreError> = store.commit(|_| panic!("a bug")).await;
    assert!(panicked.is_err());
    reopening::reopened(&store).await;
    let cut = store.cut(&noting, LANDMARK).map(drop).expect_err("what the failed group left is not known");
    assert!(cut.to_string().contains("try again"), "{cut}");
    drop(noting);
    store.copy(&to.path().join("rows"), &to.path().join("bodies"), LANDMARK).expect("another one can be taken");
}

#[tokio::test]
async fn a_copy_that_a_fault_has_ended_has_no_part_in_the_next_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k/1", b"v").await.expect("the commit is durable");
    let first = store.begin_copy().expect("no other copy is being taken");
    let panicked: Result<(), StoreError> = store.commit(|_| panic!("a bug")).await;
    assert!(panicked.is_err());
    reopening::reopened(&store).await;
    let second = store.begin_copy().expect("the first one is over");
    put(&store, "k/2", b"v").await.expect("the commit is durable");
    assert!(first.take().is_err() && store.cut(&first, LANDMARK).is_err(), "what is noted is not for the first one");
    drop(first);
    put(&store, "k/3", b"v").await.expect("the commit is durable");
    let rows = store.cut(&second, LANDMARK).expect("it goes on").rows;
    let keys: Vec<_> = rows.iter().map(|(key, _)| &key[..]).filter(|key| key.starts_with(b"k/")).collect();
    assert_eq!(keys, [b"k/2", b"k/3"], "nothing was lost to it");
}

#[tokio::test]
async fn a_damaged_body_is_not_copied_as_if_it_were_whole() {
    let (dir, to) = (tempfile::tempdir().expect("a temporary folder"), tempfile::tempdir().expect("a temporary folder"));
    let store = open(dir.path());
    let name = store.write_body(vec![7; 10_000]).await.expect("written").to_string();
    fs::write(dir.path().join("bodies").join(&name[..2]).join(&name), b"forged").expect("writable");
    let refused = store.copy(&to.path().join("rows"), &to.path().join("bodies"), LANDMARK).expect_err("it is damaged");
    assert!(refused.to_string().contains(&name), "{refused}");
    let left = fs::read_dir(dir.path().join("bodies/tmp")).expect("readable").count();
    assert_eq!(left, 0, "no second names stay behind");
}
