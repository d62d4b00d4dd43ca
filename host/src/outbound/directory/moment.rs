//! The moment from which a request may have changed something: before it nothing has happened, and after its end nothing begins.

use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io::Errno;
use tokio::time::Instant;

/// Nothing was changed so far.
const BEFORE: u8 = 0;
/// Something is being changed, or was.
const COME: u8 = 1;
/// Nobody waits for it any more, and nothing will be changed.
const GIVEN_UP: u8 = 2;

/// The moment of one request.
pub(super) struct Moment {
    state: AtomicU8,
    until: Instant,
}

impl Moment {
    /// Nothing begins after `until`.
    pub(super) fn before(until: Instant) -> Self {
        Self { state: AtomicU8::new(BEFORE), until }
    }

    /// Takes a step that changes something, unless it is too late for that ([`Errno::CANCELED`]). A step that the system refuses has
    /// changed nothing.
    ///
    /// INVARIANT: after [`Moment::give_up`] said that nothing was changed, no step is taken.
    pub(super) fn step<T>(&self, change: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        if Instant::now() >= self.until {
            return Err(Errno::CANCELED);
        }
        let is_first = match self.state.compare_exchange(BEFORE, COME, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(COME) => false,
            Err(_) => return Err(Errno::CANCELED),
        };
        change().inspect_err(|error| {
            // A disk in trouble, or one elsewhere that is silent, may have done it all the same.
            if is_first && !matches!(*error, Errno::IO | Errno::TIMEDOUT | Errno::STALE | Errno::INTR) {
                self.state.store(BEFORE, Ordering::SeqCst);
            }
        })
    }

    /// Nobody waits any more. Answers whether nothing was changed, and so never will be.
    pub(super) fn give_up(&self) -> bool {
        self.state.compare_exchange(BEFORE, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Moment {
        Moment::before(Instant::now() + Duration::from_secs(60))
    }

    fn has_come(moment: &Moment) -> bool {
        moment.state.load(Ordering::SeqCst) == COME
    }

    #[test]
    fn nothing_begins_once_nobody_waits_or_the_time_is_over() {
        let moment = soon();
        assert!(moment.give_up());
        assert_eq!(moment.step(|| Ok(())), Err(Errno::CANCELED));
        assert_eq!(Moment::before(Instant::now()).step(|| Ok(())), Err(Errno::CANCELED));
    }

    #[test]
    fn what_was_changed_can_not_be_given_up_and_what_was_refused_can() {
        let moment = soon();
        assert_eq!((moment.step(|| Err::<(), _>(Errno::EXIST)), has_come(&moment)), (Err(Errno::EXIST), false));
        assert_eq!((moment.step(|| Ok(())), has_come(&moment), moment.give_up()), (Ok(()), true, false));
        // A second step that is refused takes nothing back.
        assert!(moment.step(|| Err::<(), _>(Errno::ACCESS)).is_err() && has_come(&moment));
        let broken = soon();
        assert!(broken.step(|| Err::<(), _>(Errno::IO)).is_err() && has_come(&broken), "nobody knows");
    }
}
