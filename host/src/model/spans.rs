//! What happens in one operation and when: noted as it goes, and told as spans once it is known whether anybody wants them.
//!
//! Whether a trace is kept is decided at its end, because failed ones always are. Until then an operation's spans are a short list
//! of names and numbers; without anybody who wants them there is not even that.

pub mod recent;
mod told;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::TraceContext;
pub use recent::Recent;
pub use told::{EndedSpan, SpanEvent, SpanKind, SpanValue, Told};

/// The most spans kept of one operation. A call makes at most a few hundred requests.
const MAX_SPANS: usize = 1_024;
/// The most events kept of one span.
const MAX_EVENTS: usize = 128;
/// The most text of one event, in bytes.
const MAX_EVENT: usize = 1_024;

/// Who wants to be told of which operations.
pub struct Watcher {
    /// The share of the traces that begin here that is kept, 0 to 1. Of others their callers decide.
    pub sample: f64,
    /// Whether there is room for more; asked before anything is put together.
    pub has_room: Box<dyn Fn() -> bool + Send + Sync>,
    /// Takes the spans of an operation, or as many as have ended.
    pub take: Box<dyn Fn(Told) + Send + Sync>,
    /// Hears how many spans were dropped because there was no room.
    pub dropped: Box<dyn Fn(u64) + Send + Sync>,
    /// Keeps the last operations, if anybody may ask for them.
    pub recent: Option<Recent>,
    /// Whether nobody wants any but those of callers who record their trace.
    pub only_recorded: bool,
}

impl Watcher {
    /// Whether anybody may want an operation below `parent`; of others nothing need be noted.
    pub fn wants(&self, parent: Option<&TraceContext>) -> bool {
        !self.only_recorded || parent.is_some_and(TraceContext::is_sampled)
    }

    /// The first span of an operation, at `parent` or at the start of a new trace. `link` is another trace that led here.
    pub fn begin(self: &Arc<Self>, kind: SpanKind, parent: Option<&TraceContext>, link: Option<TraceContext>) -> OpenSpan {
        let (above, own) = match parent {
            Some(parent) => (parent.span_id_bytes(), parent.child()),
            None => {
                let own = TraceContext::random();
                let sampled = is_in(self.sample, own.trace_id_bytes());
                ([0; 8], own.at(own.span_id_bytes(), sampled))
            }
        };
        let operation = Operation {
            watcher: Arc::clone(self),
            root: own.clone(),
            began: (SystemTime::now(), Instant::now()),
            failed: AtomicBool::new(false),
            count: AtomicU64::new(0),
            ended: Mutex::default(),
        };
        let mut span = OpenSpan::new(Some(Arc::new(operation)), own, above, kind, Cow::Borrowed(""));
        if let Some(live) = &mut span.live {
            (live.span.parent_is_remote, live.span.link) = (parent.is_some(), link);
        }
        span
    }
}

/// Whether a trace is one of this share of all (OpenTelemetry, TraceIdRatioBased): the same on every host, as the id decides.
fn is_in(share: f64, trace_id: [u8; 16]) -> bool {
    let mut low = [0; 8];
    low.copy_from_slice(&trace_id[8..]);
    ((u64::from_be_bytes(low) >> 11) as f64) < share * (1_u64 << 53) as f64
}

/// What is known of a running operation.
struct Operation {
    watcher: Arc<Watcher>,
    root: TraceContext,
    began: (SystemTime, Instant),
    failed: AtomicBool,
    count: AtomicU64,
    ended: Mutex<Vec<EndedSpan>>,
}

impl Operation {
    fn now(&self) -> SystemTime {
        // One reading of the wall clock: spans of one operation stay in order even if somebody sets it.
        self.began.0 + self.began.1.elapsed()
    }

    fn next_id(&self) -> [u8; 8] {
        let nth = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        // The finalizer of SplitMix64: a bijection, so no two spans of an operation have one id.
        let mut mixed = u64::from_be_bytes(self.root.span_id_bytes()).wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1).to_be_bytes()
    }

    fn end(&self, span: EndedSpan) {
        let is_root = span.id == self.root.span_id_bytes();
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() < MAX_SPANS || is_root {
            ended.push(span);
        } else {
            (self.watcher.dropped)(1);
        }
        drop(ended);
        // What is wanted anyway does not wait for calls that go on without their callers.
        if is_root && self.root.is_sampled() {
            self.tell();
        }
    }

    fn tell(&self) {
        let spans = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        if spans.is_empty() {
            return;
        }
        let told = Told { trace: self.root.clone(), spans };
        if let Some(recent) = &self.watcher.recent {
            recent.keep(&told);
        }
        if (self.watcher.has_room)() {
            (self.watcher.take)(told);
        } else {
            (self.watcher.dropped)(told.spans.len() as u64);
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.root.is_sampled() || *self.failed.get_mut() {
            self.tell();
        }
    }
}

/// A position in a trace, and where spans below it are noted, if anywhere. Cheap to clone.
#[derive(Clone)]
pub struct Spans {
    position: TraceContext,
    operation: Option<Arc<Operation>>,
}

impl Spans {
    /// A position below which nobody notes anything.
    pub fn unwatched(position: TraceContext) -> Self {
        Self { position, operation: None }
    }

    /// The position.
    pub fn position(&self) -> &TraceContext {
        &self.position
    }

    /// What stands here failed, and so the whole trace is kept, also if whoever asked has long been answered.
    pub fn fail(&self) {
        if let Some(operation) = &self.operation {
            operation.failed.store(true, Ordering::Relaxed);
        }
    }

    /// A span of the host's own work.
    pub fn stage(&self, name: &'static str) -> OpenSpan {
        self.child(SpanKind::Internal, name)
    }

    /// A span below this position.
    pub fn child(&self, kind: SpanKind, name: &'static str) -> OpenSpan {
        match &self.operation {
            None => OpenSpan { position: None, live: None },
            Some(operation) => {
                let position = self.position.at(operation.next_id(), self.position.is_sampled());
                let above = self.position.span_id_bytes();
                OpenSpan::new(Some(Arc::clone(operation)), position, above, kind, Cow::Borrowed(name))
            }
        }
    }
}

/// The notes stay out of logs.
impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spans({})", self.position)
    }
}

/// A span under way; dropping it ends it.
pub struct OpenSpan {
    /// None for a span nobody notes and nobody needs the position of.
    position: Option<TraceContext>,
    live: Option<Box<Live>>,
}

struct Live {
    operation: Arc<Operation>,
    span: EndedSpan,
}

impl OpenSpan {
    fn new(
        operation: Option<Arc<Operation>>,
        position: TraceContext,
        above: [u8; 8],
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> Self {
        let live = operation.map(|operation| {
            let now = operation.now();
            let span = EndedSpan {
                id: position.span_id_bytes(),
                parent: above,
                parent_is_remote: false,
                kind,
                name,
                began: now,
                ended: now,
                attributes: Vec::new(),
                events: Vec::new(),
                dropped_events: 0,
                link: None,
                failed: false,
            };
            Box::new(Live { operation, span })
        });
        Self { position: Some(position), live }
    }

    /// The first span of an operation that nobody watches: nothing but a position, a new one below `parent`. Whether others record
    /// the trace their callers say; one that begins here nobody records.
    pub fn unwatched(parent: Option<&TraceContext>) -> Self {
        let own = || {
            let own = TraceContext::random();
            own.at(own.span_id_bytes(), false)
        };
        Self { position: Some(parent.map_or_else(own, TraceContext::child)), live: None }
    }

    /// The position of this span, for what is below it; `above` where nobody notes spans.
    pub fn below(&self, above: &Spans) -> Spans {
        match (&self.position, &self.live) {
            (Some(position), live) => {
                Spans { position: position.clone(), operation: live.as_ref().map(|live| Arc::clone(&live.operation)) }
            }
            (None, _) => above.clone(),
        }
    }

    /// The position of this span, for another process; a random one below `above` where nobody notes spans.
    pub fn position_below(&self, above: &Spans) -> TraceContext {
        self.position.clone().unwrap_or_else(|| above.position.child())
    }

    /// The position of the first span of an operation.
    pub fn spans(&self) -> Spans {
        let operation = self.live.as_ref().map(|live| Arc::clone(&live.operation));
        Spans { position: self.position.clone().unwrap_or_else(TraceContext::random), operation }
    }

    /// Whether anybody notes it: what is costly to say need not be said otherwise.
    pub fn is_noted(&self) -> bool {
        self.live.is_some()
    }

    /// Says something about it.
    pub fn set(&mut self, key: &'static str, value: impl Into<SpanValue>) {
        if let Some(live) = &mut self.live {
            live.span.attributes.push((key, value.into()));
        }
    }

    /// Names it.
    pub fn rename(&mut self, name: impl FnOnce() -> Cow<'static, str>) {
        if let Some(live) = &mut self.live {
            live.span.name = name();
        }
    }

    /// It failed, and so the whole trace is kept.
    pub fn fail(&mut self) {
        self.fail_quietly();
        if let Some(live) = &self.live {
            live.operation.failed.store(true, Ordering::Relaxed);
        }
    }

    /// It failed, as is to be expected now and then: nobody needs the trace for that alone.
    pub fn fail_quietly(&mut self) {
        if let Some(live) = &mut self.live {
            live.span.failed = true;
        }
    }

    /// Notes a line of text that was said meanwhile, if there is room for it.
    pub fn say<'t>(&mut self, name: &'static str, severity: &'static str, text: impl FnOnce() -> Cow<'t, str>) {
        let Some(live) = &mut self.live else { return };
        if live.span.events.len() == MAX_EVENTS {
            live.span.dropped_events += 1;
            return;
        }
        let text = text();
        let text = text[..text.floor_char_boundary(MAX_EVENT)].to_owned();
        let attributes = vec![("tidegate.log.severity", severity.into()), ("tidegate.log.message", text.into())];
        live.span.events.push(SpanEvent { at: live.operation.now(), name, attributes });
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            let Live { operation, mut span } = *live;
            span.ended = operation.now();
            operation.end(span);
        }
    }
}

#[cfg(test)]
mod tests;
