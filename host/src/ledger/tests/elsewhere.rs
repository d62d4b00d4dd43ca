//! Reading the log in pieces of bounded size and cost, and finding all there is of a call.

use super::*;

/// Adds so many records that are about no call, or about this one.
async fn fill(world: &World, count: u64, call: Option<CallId>) {
    let append = move |tx: &mut Tx<'_>| {
        for n in 0..count {
            let body = body::Body::plain(&json!({ "action": "test", "n": n }));
            let draft = audit::Draft { kind: Kind::Admin, call, generation: GENERATION, body };
            audit::append(tx, draft, Timestamp(1_800_000_000_000))?;
        }
        Ok::<_, LedgerError>(())
    };
    world.ledger.store().commit(append).await.expect("writable");
}

#[tokio::test]
async fn all_records_of_a_call_are_found_in_the_index_and_behind_it() {
    let world = World::new();
    let (one, other) = (write("key-1"), write("key-2"));
    world.run(&one, &answer("paid")).await;
    fill(&world, 10, None).await;
    fill(&world, 1, Some(one.id)).await;
    fill(&world, index::CHUNK, None).await;
    while world.ledger.inner.index_next().expect("writable") {}
    assert_eq!(world.ledger.inner.indexed().expect("readable"), 1);
    fill(&world, 1, Some(one.id)).await;
    world.run(&other, &answer("paid")).await;
    let last = world.ledger.tip().expect("readable").seq;
    assert_eq!(world.ledger.history(&one.id).expect("readable"), [1, 2, 13, last - 2]);
    assert_eq!(world.ledger.history(&other.id).expect("readable"), [last - 1, last]);
    assert_eq!(world.ledger.history(&CallId::random()).expect("readable"), [0; 0]);

    let running = write("key-3");
    let lease = world.lease(&running);
    let intent = world.intent(&running, Some(lease)).await.expect("recorded");
    fill(&world, index::CHUNK, None).await;
    while world.ledger.inner.index_next().expect("writable") {}
    assert_eq!(world.ledger.history(&running.id).expect("readable"), [last + 1], "its end does not name it yet");
    world.end(intent, Disposition::Done, &answer("paid")).await.expect("recorded");
}

#[tokio::test]
async fn a_page_of_lines_ends_when_it_is_long_and_never_before_its_first() {
    let world = World::new();
    for n in 0..3 {
        let long = "x".repeat(5 << 20);
        world.run(&write(&format!("key-{n}")).with(json!({ "note": long })), &answer("noted")).await;
    }
    let last = world.ledger.tip().expect("readable").seq;
    let (mut next, mut pages) = (1, Vec::new());
    while next <= last {
        let page: Vec<u64> = world.ledger.export(next, 512).expect("readable").iter().map(|line| line.seq).collect();
        next = page.last().expect("one record at least") + 1;
        pages.push(page);
    }
    assert_eq!(pages, [vec![1], vec![2, 3], vec![4, 5], vec![6]]);
}

#[tokio::test]
async fn a_question_that_nothing_answers_is_given_up_for_the_moment_and_gone_on_with() {
    let world = World::new();
    world.run(&write("key-1"), &answer("paid")).await;
    for _ in 0..9 {
        fill(&world, 8192, None).await;
    }
    // Issuers are not in the index, so every record is looked at.
    let nobody = Query { issuer: Some("https://nobody.example".to_owned()), ..Query::default() };
    let page = world.ledger.query(&nobody, None, 10).expect("readable");
    let next = page.next.expect("it has not looked at everything");
    assert!(page.calls.is_empty() && next > 1 && next < 9 * 8192, "{next}");
    let rest = world.ledger.query(&nobody, Some(next), 10).expect("readable");
    assert_eq!((rest.calls.len(), rest.next), (0, None));
    let somebody = Query { issuer: Some("https://issuer.example".to_owned()), ..Query::default() };
    assert_eq!(world.ledger.query(&somebody, Some(next), 10).expect("readable").calls.len(), 1);
}
