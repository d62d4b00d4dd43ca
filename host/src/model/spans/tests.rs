//! Which operations are told, and how much of them.

use super::*;

fn watched(sample: f64) -> (Arc<Watcher>, Arc<Mutex<Vec<Told>>>) {
    let told = Arc::<Mutex<Vec<Told>>>::default();
    let heard = Arc::clone(&told);
    let watcher = Watcher {
        sample,
        has_room: Box::new(|| true),
        take: Box::new(move |operation| heard.lock().expect("whole").push(operation)),
        dropped: Box::new(|_| {}),
        recent: None,
        only_recorded: false,
    };
    (Arc::new(watcher), told)
}

fn names(told: &Mutex<Vec<Told>>) -> Vec<String> {
    let told = told.lock().expect("whole");
    told.iter().flat_map(|told| &told.spans).map(|span| span.name.to_string()).collect()
}

#[test]
fn an_operation_that_is_not_sampled_is_told_only_if_something_in_it_failed() {
    for fails in [false, true] {
        let (watcher, told) = watched(0.0);
        let root = watcher.begin(SpanKind::Server, None, None);
        let mut stage = root.spans().stage("stage");
        if fails {
            stage.fail();
        }
        drop(stage);
        drop(root);
        assert_eq!(names(&told), if fails { vec!["stage", ""] } else { vec![] });
    }
}

#[test]
fn a_sampled_operation_is_told_when_its_first_span_ends_and_again_when_the_rest_has() {
    let (watcher, told) = watched(1.0);
    let root = watcher.begin(SpanKind::Server, None, None);
    let late = root.spans().stage("late");
    drop(root);
    assert_eq!(names(&told), [""]);
    drop(late);
    assert_eq!(names(&told), ["", "late"]);
}

#[test]
fn whoever_calls_decides_whether_the_trace_is_sampled() {
    for sampled in [true, false] {
        let (watcher, told) = watched(if sampled { 0.0 } else { 1.0 });
        let parent = TraceContext::random();
        let parent = parent.at(parent.span_id_bytes(), sampled);
        drop(watcher.begin(SpanKind::Server, Some(&parent), None));
        assert_eq!(names(&told).len(), usize::from(sampled));
    }
}

#[test]
fn a_share_of_new_traces_is_sampled_and_each_host_would_choose_the_same() {
    let ids: Vec<_> = std::iter::repeat_with(|| TraceContext::random().trace_id_bytes()).take(4_000).collect();
    let count = |share| ids.iter().filter(|id| is_in(share, **id)).count();
    assert_eq!((count(0.0), count(1.0)), (0, 4_000));
    assert!((200..600).contains(&count(0.1)), "{}", count(0.1));
    assert!(ids.iter().all(|id| !is_in(0.1, *id) || is_in(0.5, *id)), "a larger share holds the smaller one");
}

#[test]
fn spans_nobody_notes_still_have_positions_of_their_own() {
    let root = OpenSpan::unwatched(None);
    let spans = root.spans();
    let stage = spans.stage("stage");
    assert_eq!(stage.below(&spans).position(), spans.position());
    let (one, other) = (stage.position_below(&spans), stage.position_below(&spans));
    assert_ne!(one, other);
    assert_eq!(one.trace_id(), spans.position().trace_id());
}

#[test]
fn one_operation_cannot_pile_up_spans_or_events() {
    let (watcher, told) = watched(1.0);
    let mut root = watcher.begin(SpanKind::Server, None, None);
    for _ in 0..2 * MAX_SPANS {
        drop(root.spans().stage("stage"));
    }
    for _ in 0..2 * MAX_EVENTS {
        root.say("log", "info", || "x".repeat(1 << 20).into());
    }
    drop(root);
    let told = told.lock().expect("whole");
    assert_eq!(told[0].spans.len(), MAX_SPANS + 1);
    let root = told[0].spans.last().expect("it ended last");
    assert_eq!((root.events.len(), root.dropped_events as usize), (MAX_EVENTS, MAX_EVENTS));
}

#[test]
fn what_nobody_records_is_not_said_to_be_recorded_unless_the_caller_does() {
    assert!(!OpenSpan::unwatched(None).spans().position().is_sampled());
    let caller = TraceContext::random();
    assert!(OpenSpan::unwatched(Some(&caller)).spans().position().is_sampled());
}
