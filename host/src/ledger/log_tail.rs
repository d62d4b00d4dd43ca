//! What a record keeps of what a guest wrote: its end.

use std::borrow::Cow;

use serde::Serialize;

use super::redact::Scrubber;
use crate::model::GuestLog;

/// The last lines of a guest's log.
#[derive(Serialize)]
pub(super) struct LogTail<'a> {
    dropped_bytes: u64,
    lines: Vec<Cow<'a, str>>,
}

impl<'a> LogTail<'a> {
    /// The last lines that together are no longer than `max` bytes.
    pub fn of(log: &'a GuestLog, max: usize, fit: &Scrubber<'_>) -> Self {
        let mut room = max;
        let fits = |line: &&String| {
            let fits = line.len() <= room;
            room = room.saturating_sub(line.len());
            fits
        };
        let mut lines: Vec<_> = log.lines.iter().rev().take_while(fits).map(|line| fit.text(line)).collect();
        lines.reverse();
        let dropped = log.lines[..log.lines.len() - lines.len()].iter().map(|line| line.len() as u64).sum::<u64>();
        Self { dropped_bytes: log.dropped_bytes + dropped, lines }
    }

    /// How much there was, and nothing of it.
    pub fn forgotten(log: &GuestLog) -> Self {
        let bytes = log.lines.iter().map(|line| line.len() as u64).sum::<u64>();
        Self { dropped_bytes: log.dropped_bytes + bytes, lines: Vec::new() }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped_bytes == 0
    }
}
