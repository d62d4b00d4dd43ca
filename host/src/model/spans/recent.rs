//! The last operations, kept in memory for whoever asks what one of their calls took.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::CallId;
use super::{EndedSpan, SpanValue, Told, Watcher};

/// How many operations are kept.
const KEPT: usize = 64;

/// The attribute by which the first span of an operation names its call.
pub const CALL: &str = "tidegate.call.id";

/// The spans of the last operations that were told.
#[derive(Default)]
pub struct Recent(Mutex<VecDeque<Told>>);

impl Recent {
    /// Keeps what is told of an operation, with what was told of it before.
    pub(super) fn keep(&self, told: &Told) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let root = told.trace.span_id_bytes();
        match kept.iter_mut().find(|kept| kept.trace.span_id_bytes() == root) {
            Some(kept) => kept.spans.extend(told.spans.iter().cloned()),
            None => {
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                kept.push_back(told.clone());
            }
        }
    }

    /// The spans of the operations that were about this call, in the order they began.
    pub fn of_call(&self, call: CallId) -> Vec<EndedSpan> {
        let named = SpanValue::from(call.to_string());
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_about = |told: &&Told| {
            told.spans.iter().any(|span| span.attributes.iter().any(|(key, value)| *key == CALL && *value == named))
        };
        let mut spans: Vec<EndedSpan> = kept.iter().filter(is_about).flat_map(|told| told.spans.iter().cloned()).collect();
        spans.sort_by_key(|span| span.began);
        spans
    }
}

impl Watcher {
    /// Somebody who keeps the last operations, and passes what it is told on to `further`. Alone, it costs those callers nothing who
    /// do not ask for it.
    pub fn remembering(further: Option<Arc<Watcher>>) -> Arc<Self> {
        let (asked, told, dropped) = (further.clone(), further.clone(), further.clone());
        Arc::new(Self {
            only_recorded: further.is_none(),
            sample: further.map_or(1.0, |further| further.sample),
            has_room: Box::new(move || asked.as_ref().is_none_or(|further| (further.has_room)())),
            take: Box::new(move |operation| {
                if let Some(further) = &told {
                    (further.take)(operation);
                }
            }),
            dropped: Box::new(move |count| {
                if let Some(further) = &dropped {
                    (further.dropped)(count);
                }
            }),
            recent: Some(Recent::default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::SpanKind;
    use super::*;

    fn names(watcher: &Watcher, call: CallId) -> Vec<String> {
        let spans = watcher.recent.as_ref().expect("it remembers").of_call(call);
        spans.iter().map(|span| span.name.to_string()).collect()
    }

    #[test]
    fn the_parts_of_a_call_are_kept_also_those_that_end_after_its_caller_was_answered() {
        let watcher = Watcher::remembering(None);
        let (call, other) = (CallId::random(), CallId::random());
        for id in [call, other] {
            let mut root = watcher.begin(SpanKind::Server, None, None);
            root.set(CALL, id.to_string());
            let (early, late) = (root.spans().stage("early"), root.spans().stage("late"));
            drop(early);
            drop(root);
            drop(late);
        }
        assert_eq!(names(&watcher, call), ["", "early", "late"]);
        assert!(names(&watcher, CallId::random()).is_empty());
    }

    #[test]
    fn the_oldest_operation_goes_when_there_is_no_more_room() {
        let watcher = Watcher::remembering(None);
        let calls: Vec<_> = (0..=KEPT).map(|_| CallId::random()).collect();
        for call in &calls {
            watcher.begin(SpanKind::Server, None, None).set(CALL, call.to_string());
        }
        assert!(names(&watcher, calls[0]).is_empty());
        assert_eq!((names(&watcher, calls[1]).len(), names(&watcher, calls[KEPT]).len()), (1, 1));
    }
}
