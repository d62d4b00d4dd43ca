//! Whether a call still has its caller: it ends either with an answer to the caller, or with one that is kept for whoever asks.

use tokio::sync::watch;

use super::PendingState;

/// The tie between a call and whoever wants its answer.
pub struct Attachment(watch::Sender<State>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    stage: Stage,
    /// Somebody was told the call's id, and may ask for its answer.
    handle_given: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing about the call is durable, so nobody can have a handle to it yet.
    Fleeting,
    /// It stands in the durable queue.
    Queued,
    /// Its intent is durable.
    Running,
    /// It has ended, and what becomes of its answer is settled.
    Answering,
}

impl Attachment {
    /// Of a call that is about to start for a caller who waits.
    pub fn of_caller() -> Self {
        Self(watch::Sender::new(State { stage: Stage::Fleeting, handle_given: false }))
    }

    /// Of a call in the durable queue.
    pub fn of_queued() -> Self {
        Self(watch::Sender::new(State { stage: Stage::Queued, handle_given: true }))
    }

    /// The call's intent is durable.
    pub fn begun(&self) {
        self.0.send_modify(|state| state.stage = Stage::Running);
    }

    /// Tries to give out a handle; answers what the call does, or `None` if it is not durable yet, or about to answer.
    ///
    /// INVARIANT: whoever gets a handle finds an answer. The call settles what becomes of its answer in [`Attachment::settle`],
    /// under the same lock.
    fn give_handle(&self) -> Option<PendingState> {
        let mut given = None;
        self.0.send_if_modified(|state| {
            given = match state.stage {
                Stage::Fleeting | Stage::Answering => None,
                Stage::Queued => Some(PendingState::Queued),
                Stage::Running => Some(PendingState::Running),
            };
            state.handle_given |= given.is_some();
            false
        });
        given
    }

    /// Gives out a handle as soon as the call is durable; `None` if it answers instead.
    pub async fn detach(&self) -> Option<PendingState> {
        let mut changes = self.0.subscribe();
        // The sender is here, so it cannot go away.
        let _ = changes.wait_for(|state| state.stage != Stage::Fleeting).await;
        self.give_handle()
    }

    /// The call has ended: from now on nobody is given a handle. Answers whether somebody was.
    pub fn settle(&self) -> bool {
        let mut handle_given = false;
        self.0.send_modify(|state| {
            state.stage = Stage::Answering;
            handle_given = state.handle_given;
        });
        handle_given
    }

    /// What the call does, as far as whoever has a handle may know.
    pub fn state(&self) -> Option<PendingState> {
        match self.0.borrow().stage {
            Stage::Queued => Some(PendingState::Queued),
            Stage::Running => Some(PendingState::Running),
            Stage::Fleeting | Stage::Answering => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_handle_is_given_before_the_call_is_durable_nor_after_it_settled() {
        let attachment = Attachment::of_caller();
        assert_eq!(attachment.give_handle(), None);
        {
            let detach = std::pin::pin!(attachment.detach());
            assert!(futures::poll!(detach).is_pending(), "it waits until there is something to point at");
        }
        attachment.begun();
        assert_eq!(attachment.detach().await, Some(PendingState::Running));
        assert!(attachment.settle(), "the answer is to be kept");
        assert_eq!((attachment.give_handle(), attachment.detach().await), (None, None));
    }

    #[test]
    fn a_call_that_answers_its_caller_keeps_nothing() {
        let attachment = Attachment::of_caller();
        attachment.begun();
        assert!(!attachment.settle());
        assert!(Attachment::of_queued().settle(), "whoever queued it was given a handle");
    }
}
