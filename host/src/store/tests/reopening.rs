//! After a failure: the store opens its engine anew by itself, and shows and takes nothing before it has been looked through.

use std::sync::Mutex;

use super::*;

/// Waits until the store takes writes again.
pub(crate) async fn reopened(store: &Store) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = store.check() {
        assert!(Instant::now() < deadline, "it is still shut: {error}");
        tokio::task::yield_now().await;
    }
}

async fn fail(store: &Store) {
    let panicked: Result<(), StoreError> = store.commit(|_| panic!("a bug")).await;
    assert!(matches!(&panicked, Err(StoreError::Closed { why }) if why.contains("panicked")), "{panicked:?}");
}

fn mender(mend: impl Fn(&mut Tx<'_>, Option<&[u8]>) -> Result<(), Unmended> + Send + Sync + 'static) -> Mender {
    let mend = move |tx: &mut Tx<'_>, landmark: Option<&[u8]>| mend(tx, landmark).map(|()| Box::new(|| ()) as reopen::Mended);
    Mender { landmark: b"landmark", mend: Box::new(mend) }
}

#[tokio::test]
async fn a_commit_that_panics_shuts_the_store_until_its_engine_is_opened_anew() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    put(&store, "k", b"before").await.expect("the commit is durable");
    let panicked: Result<(), StoreError> = store
        .commit(|tx| {
            tx.put(b"k".to_vec(), b"half done".to_vec())?;
            panic!("a bug")
        })
        .await;
    assert!(matches!(panicked, Err(StoreError::Closed { .. })), "{panicked:?}");
    assert!(store.failure().is_some());
    assert!(matches!(put(&store, "k", b"v").await, Err(StoreError::Closed { .. })), "nothing is taken meanwhile");
    assert!(matches!(store.get(b"k"), Err(StoreError::Closed { .. })), "nothing is shown that may not be on the disk");

    reopened(&store).await;
    assert!(store.failure().is_none());
    assert_eq!(store.get(b"k").expect("readable"), Some(b"before".to_vec()));
    put(&store, "k", b"after").await.expect("it takes writes again");
    fail(&store).await;
    reopened(&store).await;
    assert_eq!(store.get(b"k").expect("readable"), Some(b"after".to_vec()));
    store.close().await.expect("the store closes cleanly");
}

#[tokio::test]
async fn what_finishes_something_begun_waits_until_the_store_is_open_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    // Behind the commit that fails, in its group and after it.
    let (free, held) = std::sync::mpsc::channel::<()>();
    drop(store.submit::<_, StoreError, _>(None, Urgency::Now, move |_| Ok(held.recv().is_ok())));
    drop(store.submit::<(), StoreError, _>(None, Urgency::Now, |_| panic!("a bug")));
    let same_group = store.submit::<_, StoreError, _>(None, Urgency::Now, |tx| tx.put(b"1".to_vec(), b"v".to_vec()));
    free.send(()).expect("the holder waits");
    while store.is_open() {
        tokio::task::yield_now().await;
    }
    let later = store.submit::<_, StoreError, _>(None, Urgency::Soon, |tx| tx.put(b"2".to_vec(), b"v".to_vec()));
    same_group.durable().await.expect("it is written once the store is open again");
    later.durable().await.expect("it is written once the store is open again");
    assert_eq!(store.scan(b"", b"z", 9).expect("readable").len(), 2);
}

#[tokio::test]
async fn a_store_closed_while_it_is_shut_writes_what_it_still_can() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    fail(&store).await;
    let finish = store.submit::<_, StoreError, _>(None, Urgency::Now, |tx| tx.put(b"k".to_vec(), b"v".to_vec()));
    store.close().await.expect("the engine opens anew and closes cleanly");
    finish.durable().await.expect("it was written");
    assert_eq!(open(dir.path()).get(b"k").expect("readable"), Some(b"v".to_vec()));
}

#[tokio::test]
async fn a_reopened_engine_is_looked_through_before_it_is_used() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    let seen = Arc::new(Mutex::new(Vec::new()));
    store.mend_with({
        let (seen, shown) = (Arc::clone(&seen), store.clone());
        mender(move |tx, landmark| {
            let attempts = {
                let mut seen = seen.lock().expect("not poisoned");
                seen.push(landmark.map(<[u8]>::to_vec));
                seen.len()
            };
            assert!(!shown.is_open() && shown.get(b"landmark").is_err());
            assert_eq!(tx.get(b"landmark")?, landmark.map(<[u8]>::to_vec));
            tx.put(b"mended".to_vec(), vec![u8::try_from(attempts).expect("few")])?;
            // What the first attempt wanted to write must not come to stand.
            if attempts == 1 { Err(Unmended::Later("not yet".to_owned())) } else { Ok(()) }
        })
    });
    put(&store, "landmark", b"here").await.expect("the commit is durable");
    fail(&store).await;
    reopened(&store).await;
    assert_eq!(*seen.lock().expect("not poisoned"), vec![Some(b"here".to_vec()); 2]);
    assert_eq!(store.get(b"mended").expect("readable"), Some(vec![2]));
}

#[tokio::test]
async fn a_store_that_lost_what_was_durable_stays_shut_and_says_so() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open(dir.path());
    store.mend_with(mender(|_, _| Err(Unmended::Never("the end is missing".to_owned()))));
    fail(&store).await;
    let finish = store.submit::<_, StoreError, _>(None, Urgency::Now, |tx| tx.put(b"k".to_vec(), b"v".to_vec()));
    let refused = finish.durable().await.expect_err("nothing is taken any more");
    assert!(refused.to_string().contains("the end is missing; it stays shut"), "{refused}");
    let closed = store.close().await.expect_err("the failure is told");
    assert!(closed.to_string().contains("the end is missing"), "{closed}");
}

#[tokio::test]
async fn a_folder_that_was_replaced_is_not_written_to() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let (dir, moved) = (parent.path().join("data"), parent.path().join("moved"));
    let store = open(&dir);
    put(&store, "k", b"v").await.expect("the commit is durable");
    fs::rename(&dir, &moved).expect("movable");
    fs::create_dir(&dir).expect("creatable");
    fail(&store).await;
    let refused = store.submit::<_, StoreError, _>(None, Urgency::Now, |_| Ok(())).durable().await.expect_err("it stays shut");
    assert!(refused.to_string().contains("moved away or replaced"), "{refused}");
    assert!(store.close().await.is_err());
    assert_eq!(fs::read_dir(&dir).expect("readable").count(), 0);
    assert_eq!(open(&moved).get(b"k").expect("readable"), Some(b"v".to_vec()));
}
