//! What comes before any record is the same, whichever way it is told.

use super::*;
use crate::ledger::prefix::Prefix;

#[tokio::test]
async fn what_comes_before_a_record_is_told_by_those_before_and_by_those_since() {
    let world = World::new();
    let mut open = Vec::new();
    for number in 0..90 {
        let call = write(&format!("key-{number}"));
        let lease = world.lease(&call);
        open.push(world.intent(&call, Some(lease)).await.expect("recorded"));
        if number % 3 != 0 {
            let ended = open.remove(number % open.len());
            world.end(ended, Disposition::Done, &answer("paid")).await.expect("recorded");
        }
        if number == 50 {
            let ledger = world.ledger.clone();
            tokio::task::spawn_blocking(move || ledger.checkpoint()).await.expect("no panic").expect("signed");
        }
    }
    let ledger = world.ledger.clone();
    let tip = ledger.tip().expect("readable").seq;
    assert_eq!((tip, open.len()), (151, 30));
    for from in 2..=tip + 1 {
        let walked = ledger.prefix_forwards(Prefix::of(Default::default()), from - 1).expect("readable");
        assert_eq!(walked.tip.seq, from - 1);
        assert_eq!(ledger.prefix_backwards(from).expect("readable"), walked, "before record {from}");
        assert_eq!(ledger.prefix(from).expect("readable"), walked);
    }
    assert!(ledger.prefix(tip / 2).expect("readable").open.len() > 5, "calls were open there");
    assert_eq!(ledger.prefix(u64::MAX).expect("readable").tip, ledger.tip().expect("readable"));
    assert_eq!(ledger.prefix(0).expect("readable"), Prefix::of(Default::default()));
}
