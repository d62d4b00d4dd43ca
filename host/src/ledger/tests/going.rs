//! What goes, goes in the open: whatever is missing that no record accounts for is found, and what is accounted for is no alarm.

use super::doomed::{impatient, timed_out};
use super::keeping::{DAY, ORDER, hold, is_readable, long_log, run, who_did};
use super::*;
use crate::ledger::{base, keys, prefix::Prefix};
use crate::model::{ChangeSource, Contents, GenerationChange, PluginVersion, PolicyFileDigest, PolicyVersion};
use crate::store::tests::stop::Stop;

#[tokio::test]
async fn a_log_that_is_made_to_begin_later_is_found() {
    let world = World::new();
    for n in 0..30 {
        run(&world, "u1", Risk::High, &format!("key-{n}")).await;
    }
    world.ledger.checkpoint().expect("writable");
    world.verified();
    // All that an insider without the key that signs can do, and does well: the rest still leads to the same signed root.
    let pages = world.ledger.store().scan(keys::LOG_START, keys::LOG_END, 1000).expect("readable");
    let first = keys::log_seq(&pages[5].key).expect("a page");
    let Prefix { tip, tree, open } = world.ledger.prefix(first).expect("readable");
    let row = base::encode(tip, &tree, &open.into_iter().collect::<Vec<_>>());
    let hide = move |tx: &mut Tx<'_>| {
        pages.into_iter().take(5).for_each(|page| tx.delete(page.key));
        tx.put(keys::BASE.to_vec(), row)
    };
    world.ledger.store().commit(hide).await.expect("writable");
    let broken = world.ledger.verify(None, |_| {}).expect("readable").broken.expect("the start is gone");
    assert_eq!(broken.seq, first);
    assert!(broken.problem.contains("no truncation accounts"), "{broken:?}");
    let mut export = serde_json::to_string(&world.ledger.export_header(0).expect("readable")).expect("JSON");
    for line in world.ledger.export(1, usize::MAX).expect("readable") {
        export += &format!("\n{}", serde_json::to_string(&line).expect("JSON"));
    }
    let (whole, _) = verify_whole(export.as_bytes(), None, None).expect("an export");
    assert_eq!(whole.broken.expect("the start is gone").seq, first, "a live host is asked for all of its log");
    let (part, _) = verify_export(export.as_bytes(), None, None).expect("an export");
    assert_eq!(part.broken, None, "an export may begin anywhere");
}

#[tokio::test]
async fn what_is_in_force_outlives_the_record_that_said_so() {
    let world = World::new();
    let files: Vec<_> =
        (0..60).map(|n| PolicyFileDigest { file: format!("rules-of-department-{n}.cedar"), sha256: Digest([n; 32]) }).collect();
    let version = PolicyVersion { generation: 3, policies: Digest([7; 32]) };
    let plugin = |n| PluginVersion {
        plugin: format!("p{n}"),
        version: "1.0.0".into(),
        component: Digest([n; 32]),
        manifest: Digest([0; 32]),
    };
    let plugins: Vec<_> = (0..60).map(plugin).collect();
    let (nothing, now) = (Contents { files: &[], plugins: &[] }, Contents { files: &files, plugins: &plugins });
    let change = GenerationChange::new(ChangeSource::Start, (None, nothing), (version, now));
    world.ledger.record_change(&change).await.expect("writable");
    let world = long_log(world).await;
    world.pass(31 * DAY);
    assert!(world.ledger.prune(false, "ada").expect("writable").records > 0);
    assert_eq!(who_did(&world, "truncate"), ["ada"]);
    let world = world.reopen().await;
    let last = world.ledger.last_generation().expect("readable").expect("the log still says so");
    assert_eq!((last.version, last.files, last.plugins), (version, files, plugins));
    world.verified();
}

#[tokio::test]
async fn what_is_pruned_while_the_log_is_checked_is_no_alarm() {
    for keep_the_start in [false, true] {
        let world = World::new();
        if keep_the_start {
            run(&world, "u1", Risk::High, "key-1").await;
        }
        let world = long_log(world).await;
        world.pass(31 * DAY);
        let mut pruned = None;
        let checked = world.ledger.verify(None, |seq| {
            if seq > 0 && pruned.is_none() {
                pruned = Some(world.ledger.prune(false, "ada").expect("writable"));
            }
        });
        let pruned = pruned.expect("the log is longer than what is read at once");
        assert_eq!((pruned.low > 4000, pruned.records == 0), (true, keep_the_start));
        assert_eq!(checked.expect("readable").broken, None, "keep the start: {keep_the_start}");
    }
}

#[tokio::test]
async fn what_is_pruned_between_a_look_at_its_page_and_one_at_its_file_is_told_as_pruned() {
    let world = World::new();
    let mut call = write("key-1").with(json!({ "text": "x".repeat(20_000) }));
    call.risk = Risk::Low;
    world.run(&call, &answer("paid")).await;
    let inner = &world.ledger.inner;
    let page = inner.store.scan(keys::LOG_START, keys::LOG_END, 1).expect("readable").remove(0).payload;
    let (head, stored) = page::pairs(&page).next().flatten().expect("the intent");
    let committed = Head::decode(head).expect("a head").body;
    world.pass(31 * DAY);
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").low, 2);
    let found = inner.body(1, stored, &committed).expect("readable");
    assert!(matches!(found, body::Found::Pruned(_)), "{found:?}");
}

#[tokio::test]
async fn who_is_erased_late_is_pruned_with_the_rest() {
    let world = World::new();
    run(&world, "u1", Risk::High, "key-1").await;
    let medium = run(&world, "u2", Risk::Medium, "key-2").await;
    world.pass(60 * DAY);
    world.ledger.prune(false, "ada").expect("writable");
    for subject in ["u1", "u2"] {
        assert_eq!(world.ledger.erase(&medium.principal.issuer, subject, "ada", "asked").expect("writable"), 1);
    }
    assert_eq!(world.verified().erased_bodies, 4);
    world.pass(401 * DAY);
    world.ledger.prune(false, "ada").expect("writable");
    assert_eq!((world.verified().erased_bodies, world.verified().pruned_bodies), (0, 4));
}

#[tokio::test]
async fn a_key_that_nobody_erased_is_missed_for_as_long_as_anything_is_kept() {
    let world = World::new();
    let call = run(&world, "u1", Risk::Low, "key-1").await;
    let inner = &world.ledger.inner;
    let tag = inner.secret.subject(&call.principal.issuer, "u1");
    let ids = inner.subjects.ids(&tag).expect("readable");
    inner.subjects.destroy(&ids[0]).expect("writable");
    world.pass(31 * DAY);
    world.ledger.prune(false, "ada").expect("writable");
    let broken = world.ledger.verify(None, |_| {}).expect("readable").broken.expect("what it said is lost");
    assert!(broken.problem.contains("no erasure accounts"), "{broken:?}");
}

#[tokio::test]
async fn what_goes_is_accounted_for_once_however_often_it_was_chosen() {
    let world = World::new();
    run(&world, "u1", Risk::Low, "key-1").await;
    let inner = &world.ledger.inner;
    let holds = Arc::new(inner.holds().expect("readable"));
    let tip = world.ledger.tip().expect("readable").seq;
    // As a pruning whose commit came to stand after it had given up, and the next one.
    assert!(inner.drop_bodies(ORDER, vec![1, 2], (1, 3), &holds).expect("writable"));
    assert!(!inner.drop_bodies(ORDER, vec![1, 2], (1, 3), &holds).expect("readable"));
    assert_eq!(world.ledger.tip().expect("readable").seq, tip + 1);
    assert_eq!(world.verified().pruned_bodies, 2);
    world.pass(31 * DAY);
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").low, 0);
}

#[tokio::test]
async fn a_hold_that_comes_while_the_log_is_pruned_keeps_what_it_speaks_of() {
    let world = World::new();
    let call = run(&world, "u1", Risk::Low, "key-1").await;
    let inner = &world.ledger.inner;
    // A pruning has chosen what goes, and then somebody holds it.
    let chosen = Arc::new(inner.holds().expect("readable"));
    hold(&world, &call);
    assert!(!inner.drop_bodies(ORDER, vec![1, 2], (1, 3), &chosen).expect("readable"));
    assert!(is_readable(&world, &call));
    world.pass(31 * DAY);
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").held, 2);
    world.ledger.release("case-7", "ada").expect("writable");
    assert_eq!(world.ledger.prune(false, "ada").expect("writable").low, 2, "nothing was passed over");
    world.verified();
}

#[tokio::test]
async fn whoever_begins_to_read_waits_for_what_is_going_and_not_for_ever() {
    let world = impatient();
    let call = run(&world, "u1", Risk::Low, "key-1").await;
    let inner = &world.ledger.inner;
    let stop = Stop::applied(&inner.store).await;
    let (ledger, holds) = (Arc::clone(inner), Arc::new(inner.holds().expect("readable")));
    let pruning = std::thread::spawn(move || ledger.drop_bodies(ORDER, vec![1, 2], (1, 3), &holds));
    stop.reached();
    let refused = world.ledger.keep_still().expect_err("it does not come to its end").to_string();
    assert!(refused.contains("try again"), "{refused}");
    let (ledger, (tell, told)) = (world.ledger.clone(), std::sync::mpsc::channel());
    std::thread::spawn(move || tell.send(ledger.keep_still()));
    assert!(told.recv_timeout(Duration::from_millis(300)).is_err(), "what it would read is half there and half gone");
    drop(stop);
    told.recv().expect("no panic").expect("it is gone");
    assert_eq!((inner.stillness.is_kept(), is_readable(&world, &call)), (true, false));
    // It had no patience either, and what it did stands.
    timed_out(pruning.join().expect("no panic").map(drop));
    assert_eq!(world.verified().pruned_bodies, 2);
}
