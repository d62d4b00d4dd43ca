//! The tree over the log, against another implementation of RFC 6962.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

use super::*;
use crate::ledger::tree::{Frontier, leaf, root_of_proof};

/// A log of `count` short records, written without calls.
async fn log(count: u64) -> (World, MemoryBackedTree<Sha256, Vec<u8>>) {
    let world = World::new();
    let append = move |tx: &mut Tx<'_>| {
        for n in 0..count {
            let body = body::Body::plain(&json!({ "action": "test", "n": n }));
            let draft = audit::Draft { kind: Kind::Admin, call: None, generation: GENERATION, body };
            audit::append(tx, draft, Timestamp(1_800_000_000_000))?;
        }
        Ok::<_, LedgerError>(())
    };
    world.ledger.store().commit(append).await.expect("writable");
    let mut oracle = MemoryBackedTree::new();
    for head in audit::heads(world.ledger.store(), 1, count).expect("readable") {
        oracle.push(head);
    }
    (world, oracle)
}

#[test]
fn a_frontier_has_the_root_that_others_compute() {
    let (mut frontier, mut oracle) = (Frontier::default(), MemoryBackedTree::<Sha256, Vec<u8>>::new());
    for n in 0..300_u32 {
        assert_eq!(frontier.root().0[..], oracle.root().as_bytes()[..], "{n}");
        assert_eq!(Frontier::of(u64::from(n), frontier.peaks().to_vec()), Some(frontier.clone()));
        frontier.push(leaf(&n.to_be_bytes()), |_, _, _| {});
        oracle.push(n.to_be_bytes().to_vec());
    }
    assert_eq!(Frontier::of(301, frontier.peaks().to_vec()), None);
}

#[tokio::test]
async fn roots_and_proofs_from_the_store_hold_elsewhere() {
    // Beyond a full row of the first kept level, so that the second is used.
    const SIZE: u64 = 64 * 64 + 77;
    let (world, oracle) = log(SIZE).await;
    assert_eq!(world.ledger.root(SIZE).expect("readable").0[..], oracle.root().as_bytes()[..]);
    let tip = audit::tip(world.ledger.store()).expect("readable");
    assert_eq!(tip.tree.root(), world.ledger.root(SIZE).expect("readable"));
    for index in [0, 1, 63, 64, 4000, 4095, 4096, 4100, SIZE - 2, SIZE - 1] {
        let proof = world.ledger.tree().inclusion(index, SIZE).expect("readable");
        let bytes: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
        assert_eq!(bytes, oracle.prove_inclusion(index as usize).as_bytes(), "{index}");
        let head = audit::heads(world.ledger.store(), index + 1, 1).expect("readable").remove(0);
        assert_eq!(root_of_proof(leaf(&head), index, SIZE, &proof), Some(tip.tree.root()), "{index}");
        assert_ne!(root_of_proof(leaf(b"another"), index, SIZE, &proof), Some(tip.tree.root()));
        assert_ne!(root_of_proof(leaf(&head), index ^ 1, SIZE, &proof), Some(tip.tree.root()));
        assert_eq!(root_of_proof(leaf(&head), index, SIZE, &proof[1..]), None);
    }
}

#[tokio::test]
async fn proofs_hold_at_every_place_of_small_trees() {
    for size in [1, 2, 3, 7, 64, 65, 130] {
        let (world, oracle) = log(size).await;
        for index in 0..size {
            let proof = world.ledger.tree().inclusion(index, size).expect("readable");
            let bytes: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
            assert_eq!(bytes, oracle.prove_inclusion(index as usize).as_bytes(), "{index} of {size}");
            let head = audit::heads(world.ledger.store(), index + 1, 1).expect("readable").remove(0);
            assert_eq!(root_of_proof(leaf(&head), index, size, &proof), world.ledger.root(size).ok());
        }
    }
}
