//! Whatever somebody does to the log, the check finds it and names the first bad record.

use proptest::prelude::*;

use super::*;
use crate::ledger::{keys, page};

/// A log of 60 records over several pages.
async fn log() -> World {
    let world = World::new();
    for n in 0..30 {
        world.run(&write(&format!("key-{n}")), &answer("paid")).await;
    }
    assert_eq!(world.verified().records, 60);
    world
}

fn broken(world: &World) -> Broken {
    world.ledger.verify(None, |_| {}).expect("the store is readable").broken.expect("something is wrong")
}

/// The pages of the log: the first record of each, and its content.
fn pages(world: &World) -> Vec<(u64, Vec<u8>)> {
    let entries = world.ledger.store().scan(keys::LOG_START, keys::LOG_END, 1000).expect("scannable");
    entries.into_iter().map(|entry| (keys::log_seq(&entry.key).expect("a page"), entry.payload)).collect()
}

/// Puts a page back, with a checksum that fits: what an insider can do.
async fn put(world: &World, first: u64, content: Option<Vec<u8>>) {
    let put = move |tx: &mut Tx<'_>| match content {
        Some(content) => tx.put(keys::log(first), content),
        None => {
            tx.delete(keys::log(first));
            Ok(())
        }
    };
    world.ledger.store().commit(put).await.expect("writable");
}

fn records(page: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    page::pairs(page).map(|pair| pair.expect("whole")).map(|(head, body)| (head.to_vec(), body.to_vec())).collect()
}

fn as_page(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut page = Vec::new();
    for (head, body) in records {
        assert!(page::push(&mut page, &[head, body]));
    }
    page
}

#[tokio::test]
async fn a_changed_head_is_found_even_if_it_still_reads_well() {
    let world = log().await;
    let (first, page) = pages(&world).swap_remove(3);
    let mut records = records(&page);
    let mut head = Head::decode(&records[1].0).expect("a head");
    head.generation += 1;
    records[1].0 = head.encode();
    put(&world, first, Some(as_page(&records))).await;
    assert_eq!(broken(&world).seq, first + 1);
}

#[tokio::test]
async fn a_changed_body_is_found() {
    let world = log().await;
    let (first, page) = pages(&world).swap_remove(3);
    let mut records = records(&page);
    let body = &mut records[2].1;
    let last = body.len() - 1;
    body[last - 5] ^= 1;
    put(&world, first, Some(as_page(&records))).await;
    let broken = broken(&world);
    assert_eq!(broken.seq, first + 2);
    assert!(broken.problem.contains("body"), "{broken:?}");
}

#[tokio::test]
async fn a_body_taken_away_is_found_whatever_is_put_in_its_place() {
    let world = log().await;
    let (first, page) = pages(&world).swap_remove(3);
    for stand_in in [Vec::new(), body::pruned(7), [&[2][..], &[9; 16]].concat()] {
        let mut records = records(&page);
        records[2].1 = stand_in;
        put(&world, first, Some(as_page(&records))).await;
        assert_eq!(broken(&world).seq, first + 2, "nobody accounts for it");
    }
}

#[tokio::test]
async fn keys_that_are_lost_are_found() {
    let world = log().await;
    world.ledger.close().await.expect("the ledger closes cleanly");
    for file in std::fs::read_dir(world.dir.path().join("keys/subjects")).expect("readable") {
        std::fs::remove_file(file.expect("readable").path()).expect("removable");
    }
    let world = world.open_again().expect("it opens");
    assert_eq!(broken(&world).seq, 1, "no erasure accounts for it");
}

#[tokio::test]
async fn a_changed_checkpoint_and_a_changed_tree_are_found() {
    let world = log().await;
    let checkpoint = world.ledger.checkpoint().expect("writable");
    assert_eq!((checkpoint.seq, checkpoint.note.size), (61, 60));
    assert_eq!(world.ledger.checkpoint().expect("nothing is new"), checkpoint);
    assert_eq!((world.verified().checkpoints, world.verified().unsigned), (1, 1));
    let (first, page) = pages(&world).pop().expect("a page");
    let mut changed = records(&page);
    let last = changed.last_mut().expect("a record");
    // What an insider without the signing key can do: another note, and a head that commits to it.
    let other = signer::Note { size: 60, root: Digest([1; 32]), text: checkpoint.note.text.replace("\n60\n", "\n59\n") };
    let forged = body::Body::plain(&checkpoint::CheckpointBody { note: other.text });
    let mut head = Head::decode(&last.0).expect("a head");
    head.body = forged.commitment;
    *last = (head.encode(), forged.stored.clone());
    let mut tip = audit::tip(world.ledger.store()).expect("readable");
    tip.tip.hash = chain::hash(&last.0);
    put(&world, first, Some(as_page(&changed))).await;
    world.ledger.store().commit(move |tx| tx.put(keys::TIP.to_vec(), tip.encode())).await.expect("writable");
    let found = broken(&world);
    assert!(found.seq == 61 && found.problem.contains("not signed"), "{found:?}");

    let world = World::new();
    for n in 0..40 {
        world.run(&write(&format!("key-{n}")), &answer("paid")).await;
    }
    world.ledger.store().commit(|tx| tx.put(keys::nodes(1, 0), vec![1; 32])).await.expect("writable");
    assert_eq!(broken(&world).seq, 64);
}

#[tokio::test]
async fn a_log_that_was_rolled_back_is_found_by_the_copy_of_its_checkpoint() {
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let config = LedgerConfig { checkpoint_copy: Some(elsewhere.path().join("checkpoint")), ..LedgerConfig::default() };
    let world = World::configured(config);
    world.run(&write("key-1"), &answer("paid")).await;
    let old = tempfile::tempdir().expect("a temporary folder");
    let world = world.reopen().await;
    copy_folder(world.dir.path(), old.path());
    world.run(&write("key-2"), &answer("paid")).await;
    let world = world.reopen().await;
    let World { store, now, config, ledger, .. } = world;
    ledger.close().await.expect("the ledger closes cleanly");
    drop(ledger);
    let refused = World::open(Arc::new(old), store, config, now).err().expect("it is yesterday's folder");
    assert!(matches!(refused, LedgerError::RolledBack { marked: 5, reached: 3, .. }), "{refused}");
}

#[tokio::test]
async fn a_removed_record_is_found() {
    let world = log().await;
    let (first, page) = pages(&world).swap_remove(3);
    let mut records = records(&page);
    records.remove(1);
    put(&world, first, Some(as_page(&records))).await;
    assert_eq!(broken(&world).seq, first + 1);
}

#[tokio::test]
async fn a_removed_page_is_found() {
    let world = log().await;
    let first = pages(&world)[3].0;
    put(&world, first, None).await;
    assert_eq!(broken(&world), Broken { seq: first, problem: "it is missing".to_owned() });
}

#[tokio::test]
async fn swapped_records_are_found() {
    let world = log().await;
    let (first, page) = pages(&world).swap_remove(3);
    let mut records = records(&page);
    records.swap(0, 1);
    put(&world, first, Some(as_page(&records))).await;
    assert_eq!(broken(&world).seq, first);
}

#[tokio::test]
async fn an_inserted_record_is_found() {
    let world = log().await;
    let (first, page) = pages(&world).swap_remove(3);
    let mut records = records(&page);
    let copy = records[0].clone();
    records.pop();
    records.insert(1, copy);
    put(&world, first, Some(as_page(&records))).await;
    assert_eq!(broken(&world).seq, first + 1);
}

#[tokio::test]
async fn a_record_put_after_the_end_is_found() {
    let world = log().await;
    let mut calls = 30;
    // Until the last page has room for one more.
    let (first, page) = loop {
        let (first, page) = pages(&world).pop().expect("a page");
        if page.len() < 2_500 {
            break (first, page);
        }
        world.run(&write(&format!("key-{calls}")), &answer("paid")).await;
        calls += 1;
    };
    let mut records = records(&page);
    let (head, body) = records.last().expect("a record").clone();
    let mut next = Head::decode(&head).expect("a head");
    (next.seq, next.prev) = (next.seq + 1, chain::hash(&head));
    records.push((next.encode(), body.clone()));
    put(&world, first, Some(as_page(&records))).await;
    assert_eq!(broken(&world).seq, 2 * calls + 1);
    // On a page of its own as well.
    put(&world, first, Some(page)).await;
    put(&world, next.seq, Some(as_page(&[(next.encode(), body)]))).await;
    assert_eq!(broken(&world).seq, 2 * calls + 1);
}

#[tokio::test]
async fn a_cut_log_is_found() {
    let world = log().await;
    let (first, page) = pages(&world).pop().expect("a page");
    let mut records = records(&page);
    records.pop();
    let cut = if records.is_empty() { None } else { Some(as_page(&records)) };
    put(&world, first, cut).await;
    let broken = broken(&world);
    assert_eq!(broken.seq, 60);
    assert!(broken.problem.contains("60 records"), "{broken:?}");
}

#[tokio::test]
async fn a_cut_log_with_a_forged_end_is_found_by_its_mark() {
    let world = log().await;
    mark::write(world.dir.path(), &world.ledger.tip().expect("readable")).expect("writable");
    let world = world.reopen().await;
    let (first, _) = pages(&world).pop().expect("a page");
    let last = world.ledger.records(first - 1, 1).expect("readable").remove(0);
    put(&world, first, None).await;
    let page = pages(&world).last().expect("a page").0;
    let mut tree = tree::Frontier::default();
    for head in audit::heads(world.ledger.store(), 1, first - 1).expect("readable") {
        tree.push(tree::leaf(&head), |_, _, _| {});
    }
    let tip = chain::TipRow { tip: Tip { seq: first - 1, hash: last.hash }, page, tree }.encode();
    world.ledger.store().commit(move |tx| tx.put(keys::TIP.to_vec(), tip)).await.expect("writable");
    assert_eq!(world.verified().records, first - 1, "in itself it is a good log");
    world.ledger.close().await.expect("the ledger closes cleanly");
    let refused = world.open_again().err().expect("it had been longer");
    assert!(matches!(refused, LedgerError::RolledBack { marked: 60, reached, .. } if reached == first), "{refused}");
}

#[tokio::test]
async fn a_lost_store_is_not_taken_for_a_new_one() {
    let world = log().await;
    world.ledger.close().await.expect("the ledger closes cleanly");
    std::fs::remove_dir_all(world.dir.path().join("store")).expect("removable");
    let refused = world.open_again().err().expect("the secret tells of an earlier log");
    assert!(refused.to_string().contains("backup"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_flipped_bit_is_found_and_located(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..8, any::<bool>()), 16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let world = log().await;
            let pages = pages(&world);
            for (page, byte, bit, insider) in flips {
                let (first, content) = &pages[page.index(pages.len())];
                let at = byte.index(content.len());
                // The record that holds the byte, framing included.
                let mut end = 0;
                let within = records(content).iter().take_while(|(head, body)| { end += 4 + head.len() + body.len(); end <= at }).count();
                let key = keys::log(*first);
                if insider {
                    let mut content = content.clone();
                    content[at] ^= 1 << bit;
                    put(&world, *first, Some(content)).await;
                } else {
                    world.ledger.store().corrupt(&key, &key, |value| { let at = value.len() - content.len() + at; value[at] ^= 1 << bit; });
                }
                prop_assert_eq!(broken(&world).seq, first + within as u64);
                put(&world, *first, Some(content.clone())).await;
            }
            prop_assert_eq!(world.verified().records, 60);
            Ok(())
        })?;
    }
}
