//! What one guest may allocate, and what it did allocate.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::meter::Meter;
use super::supply::MayGrow;

/// Core instances in one guest: the module itself and the small ones a component is glued together with.
pub(super) const CORE_INSTANCES: u32 = 16;
/// Tables in one guest.
pub(super) const TABLES: u32 = 8;
/// Entries in one table.
pub(super) const TABLE_ENTRIES: usize = 20_000;

/// The allocations of one guest.
pub(super) struct Limits {
    meter: Arc<Meter>,
    memory: usize,
    may_grow: MayGrow,
    in_use: usize,
    peak: usize,
    refused: bool,
}

impl Limits {
    /// Limits for a guest that may have `memory` bytes of linear memory, if there are as many.
    pub(super) fn new(memory: usize, may_grow: MayGrow, meter: Arc<Meter>) -> Self {
        Self { meter, memory, may_grow, in_use: 0, peak: 0, refused: false }
    }

    /// The most linear memory it had, in bytes.
    pub(super) fn peak(&self) -> u64 {
        self.peak as u64
    }

    /// Whether it ever asked for more than it may have.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.in_use.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory || !(self.may_grow)(wanted as u64) {
            // Refused, not trapped and never waited for: a guest that can live with less may go on.
            self.refused = true;
            return Ok(false);
        }
        // What a guest starts with costs nothing by itself: most of it is shared with all others, and never touched.
        if current > 0 {
            self.meter.charge_memory(desired.saturating_sub(current));
        }
        self.in_use = wanted;
        self.peak = self.peak.max(wanted);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= TABLE_ENTRIES;
        self.refused |= !fits;
        Ok(fits)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn growth_is_charged_and_beyond_the_cap_refused_and_remembered() {
        let meter = Meter::for_tests(Duration::from_millis(1));
        let mut limits = Limits::new(128 << 10, Box::new(|_| true), Arc::clone(&meter));
        assert!(limits.memory_growing(0, 64 << 10, None).expect("never fails"));
        assert!(!limits.memory_growing(64 << 10, 192 << 10, None).expect("never fails"));
        assert!(limits.memory_growing(64 << 10, 128 << 10, None).expect("never fails"));
        assert_eq!((limits.peak(), limits.refused()), (128 << 10, true));
        assert_eq!(meter.owed(), 32 << 10, "only the second 64 KiB are growth");
    }

    #[test]
    fn growth_that_the_host_has_no_memory_for_is_refused_like_growth_beyond_the_cap() {
        let may_grow = Box::new(|total| total <= 64 << 10);
        let mut limits = Limits::new(128 << 10, may_grow, Meter::for_tests(Duration::from_millis(1)));
        assert!(limits.memory_growing(0, 64 << 10, None).expect("never fails"));
        assert!(!limits.memory_growing(64 << 10, 128 << 10, None).expect("never fails"));
        assert!(limits.refused());
    }
}
