//! What a guest lives on while it runs: fuel for its next slice, memory to grow into, and in whose name it takes turns.

use std::sync::Arc;

use futures::future::BoxFuture;

/// Draws fuel, until the guest may burn so much in all.
pub type DrawFuel = Arc<dyn Fn(u64) -> Fuel + Send + Sync>;

/// Whether a guest may have so much memory in all, in bytes. Asked when it grows beyond what it had.
pub type MayGrow = Box<dyn Fn(u64) -> bool + Send + Sync>;

/// The answer to a guest that wants to burn more.
pub enum Fuel {
    /// It may burn so much in all: at least what was asked for.
    Now(u64),
    /// It is parked, and may burn so much in all once this is ready. Dropped if the guest is ended meanwhile.
    Later(BoxFuture<'static, u64>),
}

/// Where a guest's fuel and memory come from.
pub struct Supply {
    /// Guests with the same number take turns among themselves, and together get no more of the processor than any other.
    pub share: u64,
    /// What it may burn before it has to draw.
    pub drawn: u64,
    /// Draws more.
    pub draw: DrawFuel,
    /// Asks for memory.
    pub may_grow: MayGrow,
}

impl Supply {
    /// All that its own limits allow, asking nobody: for guests that only describe themselves.
    pub(super) fn own() -> Self {
        Self { share: u64::MAX, drawn: u64::MAX, draw: Arc::new(Fuel::Now), may_grow: Box::new(|_| true) }
    }
}
