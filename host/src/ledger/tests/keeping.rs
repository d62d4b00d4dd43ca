//! What stays, for how long, and what goes: retention, legal holds, erasure; and whether what is left can still be proven.

use super::*;
use crate::ledger::index::CHUNK;
use crate::ledger::prune::Order;
use crate::ledger::retention::Class;

pub(super) const DAY: u64 = 24 * HOUR;

/// Drops the bodies of calls of low risk.
pub(super) const ORDER: Order<'_> = Order { class: Class::Low, keep: DAY, until: Timestamp(0), dry_run: false, by: "ada" };

/// Holds this call, as `case-7`.
pub(super) fn hold(world: &World, call: &Call) {
    let (name, call) = ("case-7".into(), Some(call.id));
    let hold = Hold { name, call, subject: None, issuer: None, tool: None, since_ms: None, until_ms: None };
    world.ledger.hold(hold, "ada").expect("writable");
}

/// A call of this caller, with a tool of this risk.
pub(super) async fn run(world: &World, subject: &str, risk: Risk, key: &str) -> Call {
    let mut call = write(key).with(json!({ "text": format!("of {subject}") }));
    subject.clone_into(&mut call.principal.subject);
    call.risk = risk;
    world.run(&call, &answer("paid")).await;
    call
}

/// Whether the bodies of a call can still be read.
pub(super) fn is_readable(world: &World, call: &Call) -> bool {
    let records = world.ledger.records(1, usize::MAX).expect("readable");
    let mut of_call = records.iter().filter(|record| record.head.call == Some(call.id)).peekable();
    assert!(of_call.peek().is_some(), "its heads stay");
    of_call.all(|record| record.body.is_some())
}

#[tokio::test]
async fn bodies_go_when_the_time_of_their_class_has_come_and_the_log_accounts_for_them() {
    let world = World::new();
    let low = run(&world, "u1", Risk::Low, "key-1").await;
    let medium = run(&world, "u1", Risk::Medium, "key-2").await;
    let high = run(&world, "u1", Risk::High, "key-3").await;
    let denied = crate::model::Rejection::Denied(low.verdict.clone());
    world.ledger.record_rejection(&records::rejection(&low.again(), &denied)).await.expect("recorded");
    world.settle().await;
    world.pass(31 * DAY);
    let young = run(&world, "u1", Risk::Low, "key-4").await;
    let would = world.ledger.prune(true, "ada").expect("readable");
    assert_eq!((would.low, would.medium, would.high, would.rejections), (2, 0, 0, 0));
    assert!(is_readable(&world, &low), "a dry run drops nothing");
    assert_eq!(world.ledger.prune(false, "ada").expect("writable"), would);
    assert!(!is_readable(&world, &low));
    assert!(is_readable(&world, &medium) && is_readable(&world, &high) && is_readable(&world, &young));
    assert_eq!(world.verified().pruned_bodies, 2);
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").low, 0, "what is gone is gone");
    world.pass(60 * DAY);
    let done = world.ledger.prune(false, "ada").expect("writable");
    assert_eq!((done.low, done.medium, done.high, done.rejections), (2, 2, 0, 1));
    assert!(is_readable(&world, &high));
    world.pass(310 * DAY);
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").high, 2);
    assert_eq!(who_did(&world, "prune"), ["ada"; 5]);
    let world = world.reopen().await;
    assert_eq!(world.verified().pruned_bodies, 9);
}

/// In whose name each act of this kind was done.
pub(super) fn who_did(world: &World, action: &str) -> Vec<String> {
    let records = world.ledger.records(1, usize::MAX).expect("readable");
    let acts = records.iter().filter_map(|record| serde_json::from_slice::<Value>(record.body.as_deref()?).ok());
    acts.filter(|act| act["action"] == action).map(|act| act["by"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_body_that_is_passed_off_as_pruned_is_found() {
    let world = World::new();
    run(&world, "u1", Risk::Low, "key-1").await;
    world.pass(31 * DAY);
    run(&world, "u1", Risk::Low, "key-2").await;
    world.ledger.prune(false, "ada").expect("writable");
    let pages = world.ledger.store().scan(keys::LOG_START, keys::LOG_END, 10).expect("readable");
    let page = pages.into_iter().next().expect("a page");
    let mut forged = Vec::new();
    for (index, pair) in page::pairs(&page.payload).enumerate() {
        let (head, stored) = pair.expect("whole");
        let stand_in = body::pruned(5);
        // The pruning that took the first two is made to account for the third.
        assert!(page::push(&mut forged, &[head, if index == 2 { &stand_in } else { stored }]));
    }
    world.ledger.store().commit(move |tx| tx.put(page.key, forged)).await.expect("writable");
    let broken = world.ledger.verify(None, |_| {}).expect("readable").broken.expect("a body was taken");
    assert!(broken.problem.contains("no pruning accounts"), "{broken:?}");
}

#[tokio::test]
async fn body_files_go_with_the_records_that_named_them() {
    let world = World::new();
    let mut call = write("key-1").with(json!({ "text": "x".repeat(20_000) }));
    call.risk = Risk::Low;
    world.run(&call, &answer("paid")).await;
    let files = || {
        let folders = std::fs::read_dir(world.dir.path().join("bodies")).expect("readable");
        folders.map(|folder| std::fs::read_dir(folder.expect("readable").path()).expect("readable").count()).sum::<usize>()
    };
    assert_eq!(files(), 1);
    world.pass(31 * DAY);
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").low, 2);
    assert_eq!(files(), 0);
    world.verified();
}

#[tokio::test]
async fn a_legal_hold_keeps_what_it_speaks_of_until_it_is_released() {
    let world = World::new();
    let held = run(&world, "u1", Risk::Low, "key-1").await;
    let free = run(&world, "u2", Risk::Low, "key-2").await;
    let hold = Hold {
        name: "case-7".into(),
        subject: Some("u1".into()),
        issuer: Some(held.principal.issuer.clone()),
        tool: None,
        call: None,
        since_ms: None,
        until_ms: None,
    };
    world.ledger.hold(hold.clone(), "ada").expect("writable");
    let twice = world.ledger.hold(hold.clone(), "ada").expect_err("the name is taken").to_string();
    assert!(twice.contains("case-7") && twice.contains("release"), "{twice}");
    let empty = Hold { name: "all".into(), subject: None, issuer: None, ..hold.clone() };
    assert!(world.ledger.hold(empty, "ada").is_err(), "a hold on everything has to be meant");
    assert_eq!(world.ledger.holds().expect("readable"), [hold]);
    world.pass(31 * DAY);
    let done = world.ledger.prune(false, "ada").expect("writable");
    assert_eq!((done.low, done.held), (2, 2));
    assert!(is_readable(&world, &held) && !is_readable(&world, &free));
    let refused = world.ledger.erase(&held.principal.issuer, "u1", "ada", "asked").expect_err("it is held").to_string();
    assert!(refused.contains("case-7"), "{refused}");
    world.ledger.release("case-7", "ada").expect("writable");
    assert!(world.ledger.release("case-7", "ada").is_err());
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").low, 2);
    assert!(!is_readable(&world, &held));
    world.verified();
}

#[tokio::test]
async fn an_erased_person_can_be_read_by_nobody_and_the_log_stays_whole() {
    let world = World::new();
    let gone = run(&world, "u1", Risk::High, "key-1").await;
    let other = run(&world, "u2", Risk::High, "key-2").await;
    let issuer = gone.principal.issuer.clone();
    assert_eq!(world.ledger.erase(&issuer, "u1", "ada", "asked on Monday").expect("writable"), 1);
    assert_eq!(world.ledger.erase(&issuer, "u1", "ada", "again").expect("writable"), 0, "nothing is left to erase");
    assert!(!is_readable(&world, &gone) && is_readable(&world, &other));
    match world.claim(&gone.again()).expect("the store is readable") {
        Claim::Unreadable { first, why: why @ LedgerError::Refused { .. } } if first == gone.id => {
            assert!(why.to_string().contains("erased"), "{why}");
        }
        other => panic!("the answer went with the rest, and yet: {other:?}"),
    }
    let back = run(&world, "u1", Risk::High, "key-3").await;
    assert!(is_readable(&world, &back), "what comes later has a key of its own");
    let world = world.reopen().await;
    assert!(!is_readable(&world, &gone) && is_readable(&world, &back));
    assert_eq!(world.verified().erased_bodies, 2);
    let query = Query { subject: Some("u1".into()), ..Query::default() };
    let found = world.ledger.query(&query, None, 10).expect("readable").calls;
    assert_eq!(found.iter().map(|found| found.end.head.call).collect::<Vec<_>>(), [Some(back.id)]);
    world.pass(401 * DAY);
    world.ledger.prune(false, "ada").expect("writable");
    assert_eq!(world.verified().erased_bodies, 0, "what can't be read is pruned with the rest");
}

#[tokio::test]
async fn an_erasure_that_a_crash_cut_off_is_finished_at_the_next_start() {
    let world = World::new();
    let gone = run(&world, "u1", Risk::High, "key-1").await;
    let tag = world.ledger.inner.secret.subject(&gone.principal.issuer, "u1");
    let ids = world.ledger.inner.subjects.ids(&tag).expect("readable");
    let inner = Arc::clone(&world.ledger.inner);
    // The record is durable, the key is still there.
    let begun = move |tx: &mut Tx<'_>| {
        let names = ids.iter().map(|id| format!("{:032x}", u128::from_be_bytes(*id))).collect::<Vec<_>>();
        let act = act::Act::Erase { by: "ada", keys: &names, reason: "asked", subject_tag: tag.to_string() };
        act::record(tx, &inner, None, &act)?;
        ids.iter().try_for_each(|id| tx.put(keys::doomed_key(id), Vec::new()))?;
        Ok::<_, LedgerError>(())
    };
    world.ledger.store().commit(begun).await.expect("writable");
    let world = world.crash();
    assert!(!is_readable(&world, &gone));
    assert_eq!(world.verified().erased_bodies, 2);
}

#[tokio::test]
async fn nothing_goes_while_somebody_reads_the_whole_log() {
    let world = World::new();
    let low = run(&world, "u1", Risk::Low, "key-1").await;
    world.pass(31 * DAY);
    world.ledger.keep_still().expect("nothing is going");
    let refused = world.ledger.prune(false, "ada").expect_err("somebody reads").to_string();
    assert!(refused.contains("half a minute") && is_readable(&world, &low), "{refused}");
    assert_eq!(world.ledger.prune(true, "ada").expect("counting takes nothing away").low, 2);
    // Nor if it was chosen before.
    let inner = &world.ledger.inner;
    let holds = Arc::new(inner.holds().expect("readable"));
    assert!(inner.drop_bodies(ORDER, vec![1, 2], (1, 3), &holds).is_err());
    assert!(is_readable(&world, &low));
}

#[tokio::test]
async fn the_start_of_the_log_does_not_go_while_somebody_reads_it_all() {
    let world = World::new();
    let held = run(&world, "u1", Risk::Low, "key-1").await;
    let world = long_log(world).await;
    hold(&world, &held);
    world.pass(31 * DAY);
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").records, 0);
    world.ledger.release("case-7", "ada").expect("writable");
    // A pruning has come as far as this when somebody begins to read.
    let inner = &world.ledger.inner;
    let holds = Arc::new(inner.holds().expect("readable"));
    assert!(inner.drop_bodies(ORDER, vec![1, 2], (1, 3), &holds).expect("writable"));
    world.ledger.keep_still().expect("nothing is going");
    let refused = inner.truncate("ada").expect_err("somebody reads").to_string();
    assert!(refused.contains("half a minute"), "{refused}");
    assert_eq!(base::start(&inner.store).expect("readable").tip, None);
    assert_eq!(world.verified().pruned_bodies, 4802);
}

#[tokio::test]
async fn high_risk_can_not_be_kept_for_less_than_six_months() {
    let retention = RetentionConfig { high: Span::seconds(183 * 24 * 3600), ..RetentionConfig::default() };
    let problem = retention.check().expect_err("the law says more");
    assert!(problem.contains("184 days") && problem.contains("high"), "{problem}");
    assert!(RetentionConfig::default().check().is_ok());
}

/// The log with more than a chunk of calls of low risk, written quickly, with a checkpoint behind them.
pub(super) async fn long_log(world: World) -> World {
    let ledger = &world.ledger;
    for group in 0..24_u64 {
        let calls: Vec<Call> = (0..100)
            .map(|n| {
                let mut call = read("-");
                call.risk = Risk::Low;
                call.principal.subject = format!("u{}", (group * 100 + n) % 7);
                call
            })
            .collect();
        let (outcome, answer) = (&outcome(), &answer("fine"));
        futures::future::join_all(calls.iter().map(async |call| {
            let intent = ledger.record_intent(&call.facts(), None).await.expect("recorded");
            ledger.record_outcome(intent, &ended(outcome, answer)).await.expect("recorded");
        }))
        .await;
    }
    world.settle().await;
    world.ledger.checkpoint().expect("writable");
    assert!(world.verified().records > CHUNK);
    world
}

#[tokio::test]
async fn the_start_of_the_log_goes_once_nothing_in_it_can_be_read_and_the_rest_is_proven_by_a_checkpoint() {
    let world = long_log(World::new()).await;
    while world.ledger.inner.index_next().expect("writable") {}
    world.pass(31 * DAY);
    let young = run(&world, "u1", Risk::Low, "key-1").await;
    let done = world.ledger.prune(false, "ada").expect("writable");
    assert!(done.records > CHUNK, "{done:?}");
    let kept = world.verified();
    assert!(kept.records < 100, "{kept:?}");
    let first = world.ledger.records(1, 1).expect("readable").remove(0);
    assert_eq!((first.head.kind, first.head.seq), (Kind::Checkpoint, done.records + 1));
    let world = world.reopen().await;
    assert!(is_readable(&world, &young));
    // The checkpoint that begins the log is the proof: without the key that signed it, nothing holds.
    let found = world.ledger.query(&Query { subject: Some("u1".into()), ..Query::default() }, None, 10).expect("readable");
    assert_eq!(found.calls.len(), 1);
    let lines = world.ledger.export(1, usize::MAX).expect("readable");
    let mut export = serde_json::to_string(&world.ledger.export_header(1).expect("readable")).expect("JSON") + "\n";
    lines.iter().for_each(|line| export += &(serde_json::to_string(line).expect("JSON") + "\n"));
    let (verified, _) = verify_export(export.as_bytes(), Some(world.ledger.public_key()), None).expect("an export");
    assert_eq!(verified.broken, None);
    let (header, rest) = export.split_once('\n').expect("lines");
    let mut header: Value = serde_json::from_str(header).expect("JSON");
    header["peaks"][0] = Digest([1; 32]).to_string().into();
    let (forged, _) = verify_export(format!("{header}\n{rest}").as_bytes(), None, None).expect("an export");
    assert_eq!(forged.broken.expect("the checkpoint signs what was dropped").seq, done.records + 1);
}

#[tokio::test]
async fn questions_are_answered_from_the_index_and_from_what_is_not_in_it_yet() {
    let world = long_log(World::new()).await;
    let late = run(&world, "u3", Risk::Low, "key-1").await;
    let everything = |world: &World, query: &Query| {
        let (mut seqs, mut before) = (Vec::new(), None);
        loop {
            let page = world.ledger.query(query, before, 50).expect("readable");
            seqs.extend(page.calls.iter().map(|found| found.end.head.seq));
            before = page.next;
            if before.is_none() {
                break seqs;
            }
        }
    };
    let of = |subject: &str| Query { subject: Some(subject.into()), ..Query::default() };
    let without: Vec<_> = ["u1", "u3", "u9"].map(|subject| everything(&world, &of(subject))).into();
    assert_eq!(without.iter().map(Vec::len).collect::<Vec<_>>(), [343, 344, 0]);
    assert!(without.iter().all(|seqs| seqs.is_sorted_by(|one, next| one > next)), "newest first, each once");
    while world.ledger.inner.index_next().expect("writable") {}
    assert_eq!(world.ledger.inner.indexed().expect("readable"), 1);
    let with: Vec<_> = ["u1", "u3", "u9"].map(|subject| everything(&world, &of(subject))).into();
    assert_eq!(with, without);
    let both = Query { tool: Some("pay_invoice".into()), outcome: Some("completed".into()), ..of("u3") };
    assert_eq!(everything(&world, &both), with[1]);
    assert_eq!(everything(&world, &Query { outcome: Some("interrupted".into()), ..both }).len(), 0);
    let oldest = world.ledger.records(*with[0].last().expect("some"), 1).expect("readable").remove(0);
    let exact = Query { call: oldest.head.call, ..Query::default() };
    assert_eq!(everything(&world, &exact), [oldest.head.seq]);
    let traced = Query { trace_id: Some(late.trace.trace_id()), ..Query::default() };
    let found = world.ledger.query(&traced, None, 10).expect("readable").calls.remove(0);
    assert_eq!(found.intent.expect("it ran").head.call, Some(late.id));
    let none = Query { until_ms: Some(1), ..Query::default() };
    assert_eq!(everything(&world, &none).len(), 0);
}

#[tokio::test]
async fn an_export_is_checked_with_nothing_but_the_public_key() {
    let world = World::new();
    for n in 0..20 {
        run(&world, &format!("u{n}"), Risk::High, &format!("key-{n}")).await;
    }
    let issuer = "https://issuer.example";
    world.ledger.erase(issuer, "u3", "ada", "asked").expect("writable");
    world.ledger.checkpoint().expect("writable");
    let export = |from: u64| {
        let mut lines = vec![serde_json::to_string(&world.ledger.export_header(from).expect("readable")).expect("JSON")];
        let records = world.ledger.export(from, usize::MAX).expect("readable");
        lines.extend(records.iter().map(|line| serde_json::to_string(line).expect("JSON")));
        lines
    };
    let key = world.ledger.public_key();
    let check = |lines: &[String]| verify_export((lines.join("\n") + "\n").as_bytes(), Some(key), None).expect("an export").0;
    let whole = export(1);
    let verified = check(&whole);
    assert_eq!((verified.broken, verified.records, verified.erased_bodies, verified.unsigned), (None, 42, 2, 1));
    // Any part of it as well, and calls that are open at its beginning.
    for from in [2, 3, 17, 40] {
        let verified = check(&export(from));
        assert_eq!((verified.broken, verified.records), (None, 43 - from), "from {from}");
    }
    let other = World::new();
    let foreign = verify_export((whole.join("\n") + "\n").as_bytes(), Some(other.ledger.public_key()), None);
    assert!(matches!(foreign, Err(export::ExportError::OtherLog { .. })));

    let seq = |lines: &[String]| check(lines).broken.expect("something is wrong").seq;
    let edit = |at: usize, from: &str, to: &str| {
        let mut lines = whole.clone();
        assert!(lines[at].contains(from), "{}", lines[at]);
        lines[at] = lines[at].replace(from, to);
        lines
    };
    assert_eq!(seq(&edit(5, "of u2", "of u9")), 5, "a body");
    assert_eq!(seq(&edit(5, "\"kind\":\"intent\"", "\"kind\":\"admin\"")), 5, "what the line says beside its head");
    let mut removed = whole.clone();
    removed.remove(9);
    assert_eq!(seq(&removed), 9);
    let mut swapped = whole.clone();
    swapped.swap(11, 12);
    assert_eq!(seq(&swapped), 11);
    let mut inserted = whole.clone();
    inserted.insert(20, whole[19].clone());
    assert_eq!(seq(&inserted), 20);
    let mut cut = whole.clone();
    cut.truncate(31);
    assert_eq!(seq(&cut), 7, "the record of the erasure was cut off as well");
    cut.truncate(7);
    let verified = check(&cut);
    assert_eq!((verified.broken, verified.unsigned), (None, 6), "what is cut off is not signed, and that is told");
    let erased = world.ledger.export(7, 1).expect("readable").remove(0);
    assert!(erased.body.is_none() && erased.erased.is_some());
}
