//! What can't be taken back, above all removals, rests on what is durable, and not on what is merely seen.

use super::keeping::{ORDER, run};
use super::*;
use crate::ledger::index::CHUNK;
use crate::store::tests::stop::Stop;

/// A world whose store says soon that it has not answered.
pub(super) fn impatient() -> World {
    World::with(StoreConfig { min_free: Bytes(0), commit_wait: Span::seconds(2), ..StoreConfig::default() })
}

pub(super) fn timed_out(asked: Result<(), LedgerError>) {
    assert!(matches!(asked, Err(LedgerError::Store(crate::store::StoreError::Timeout { .. }))), "{asked:?}");
}

#[tokio::test]
async fn a_body_file_stays_until_it_is_durable_that_its_record_was_pruned() {
    let world = impatient();
    let mut call = write("key-1").with(json!({ "text": "x".repeat(20_000) }));
    call.risk = Risk::Low;
    world.run(&call, &answer("paid")).await;
    let inner = &world.ledger.inner;
    let stored = inner.store.scan(keys::LOG_START, keys::LOG_END, 1).expect("readable").remove(0).payload;
    let (head, stored) = page::pairs(&stored).next().flatten().expect("the intent");
    let file = body::file_of(stored, &Head::decode(head).expect("a head").body).expect("it is too long for a row");
    let is_there = || inner.store.read_body(&file).expect("readable").is_some();

    let stop = Stop::applied(&inner.store).await;
    let (ledger, holds) = (Arc::clone(inner), Arc::new(inner.holds().expect("readable")));
    let pruning = std::thread::spawn(move || ledger.drop_bodies(ORDER, vec![1, 2], (1, 3), &holds));
    stop.reached();
    // What is seen at this moment is lost if the disk fails now.
    timed_out(inner.remove_doomed_files());
    assert!(is_there());
    drop(stop);
    drop(pruning.join().expect("no panic"));
    world.settle().await;
    inner.remove_doomed_files().expect("removable");
    assert!(!is_there());
    world.verified();
}

#[tokio::test]
async fn a_key_stays_until_it_is_durable_that_its_person_was_erased() {
    let world = impatient();
    let call = run(&world, "u1", Risk::High, "key-1").await;
    let inner = &world.ledger.inner;
    let tag = inner.secret.subject(&call.principal.issuer, "u1");
    let stop = Stop::applied(&inner.store).await;
    let (ledger, issuer) = (world.ledger.clone(), call.principal.issuer.clone());
    let erasing = std::thread::spawn(move || ledger.erase(&issuer, "u1", "ada", "asked"));
    stop.reached();
    timed_out(inner.destroy_doomed());
    assert_eq!(inner.subjects.ids(&tag).expect("readable").len(), 1);
    drop(stop);
    drop(erasing.join().expect("no panic"));
    world.settle().await;
    inner.destroy_doomed().expect("destroyable");
    assert_eq!(inner.subjects.ids(&tag).expect("readable").len(), 0);
    assert_eq!(world.verified().erased_bodies, 2);
}

#[tokio::test]
async fn a_chunk_is_indexed_once_all_of_it_is_durable() {
    let world = impatient();
    let inner = &world.ledger.inner;
    let stop = Stop::applied(&inner.store).await;
    let ledger = Arc::clone(inner);
    let fill = move |tx: &mut Tx<'_>| {
        for _ in 0..CHUNK {
            let body = body::Body::plain(&json!({ "action": "test" }));
            let draft = audit::Draft { kind: Kind::Admin, call: Some(CallId::random()), generation: GENERATION, body };
            audit::append(tx, draft, ledger.clock.now())?;
        }
        Ok(())
    };
    drop(inner.store.submit::<(), LedgerError, _>(None, Urgency::Now, fill));
    stop.reached();
    assert_eq!(world.ledger.tip().expect("readable").seq, CHUNK);
    timed_out(inner.index_next().map(drop));
    drop(stop);
    world.settle().await;
    let index = || inner.store.scan(&keys::index(0, 0, 0), &keys::index(64, 0, 0), 1).expect("readable");
    assert!(index().is_empty(), "nothing was read too soon");
    assert!(inner.index_next().expect("writable"));
    assert!(!index().is_empty());
}
