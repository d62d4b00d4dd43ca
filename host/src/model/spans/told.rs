//! Spans as they are told: names, times, and what is known.

use std::borrow::Cow;
use std::time::SystemTime;

use super::super::TraceContext;

/// Spans of one operation.
#[derive(Clone)]
pub struct Told {
    /// The trace they belong to, and whether it is sampled.
    pub trace: TraceContext,
    /// The spans, in the order they ended.
    pub spans: Vec<EndedSpan>,
}

/// What a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that came.
    Server,
    /// A part of the work.
    Internal,
    /// A request that went out.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanValue {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Int(i64),
    /// A yes or no.
    Bool(bool),
}

impl From<&'static str> for SpanValue {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for SpanValue {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct EndedSpan {
    /// Its id.
    pub id: [u8; 8],
    /// The span above it; all zero for the first of a trace.
    pub parent: [u8; 8],
    /// Whether the span above it is another process's.
    pub parent_is_remote: bool,
    /// What it stands for.
    pub kind: SpanKind,
    /// Its name: one of few, so that traces can be told apart by it.
    pub name: Cow<'static, str>,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What is known of it.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// What was said meanwhile.
    pub events: Vec<SpanEvent>,
    /// Events beyond the most that are kept.
    pub dropped_events: u32,
    /// Another trace that led here.
    pub link: Option<TraceContext>,
    /// Whether it failed.
    pub failed: bool,
}

/// Something said in the course of a span.
#[derive(Clone, Debug)]
pub struct SpanEvent {
    /// When.
    pub at: SystemTime,
    /// What kind of thing.
    pub name: &'static str,
    /// The details.
    pub attributes: Vec<(&'static str, SpanValue)>,
}
