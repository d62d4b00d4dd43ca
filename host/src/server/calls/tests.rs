//! Calls under way: their progress, and their end.

use rmcp::model::NumberOrString;
use tokio::sync::oneshot;

use super::*;
use crate::model::{CallId, Output, TraceContext};
use crate::pipeline::Answer;

fn reply() -> Reply {
    Reply { call_id: CallId::random(), trace: TraceContext::random(), replayed: None, answer: Answer::Output(Output::default()) }
}

fn step(done: u64) -> Progress {
    Progress { done, total: None, message: String::new() }
}

/// A call that reports through the sender it is given and ends as `call` does.
fn running(call: BoxFuture<'static, Reply>, cancelled: CancellationToken) -> (Running, mpsc::Sender<Progress>) {
    let (sender, steps) = mpsc::channel(PROGRESS_BACKLOG);
    let steps = Steps { token: ProgressToken(NumberOrString::Number(1)), steps, last: None };
    let recipient = Recipient {
        era: Era::Modern,
        had_token: false,
        takes_tasks: false,
        takes_questions: Default::default(),
        calls_at: "".into(),
    };
    (
        Running { call: Some(call), cancelled, steps: Some(steps), recipient, operation: Operation::unwatched("tools/call") },
        sender,
    )
}

#[tokio::test]
async fn progress_only_ever_grows() {
    let (mut running, steps) = running(Box::pin(std::future::pending()), CancellationToken::new());
    for done in [0, 5, 5, 3, 9] {
        steps.try_send(step(done)).expect("there is room");
    }
    for done in [0, 5, 9] {
        let Event::Step(step) = running.next().await else { panic!("not a step") };
        assert_eq!(step.done, done);
    }
}

#[tokio::test]
async fn steps_reported_just_before_the_end_come_before_it() {
    let (end, ended) = oneshot::channel();
    let call = Box::pin(async { ended.await.expect("it is told to end") });
    let (mut running, steps) = running(call, CancellationToken::new());
    steps.try_send(step(1)).expect("there is room");
    end.send(reply()).expect("the call runs");
    assert!(matches!(running.next().await, Event::Step(step) if step.done == 1));
    steps.try_send(step(2)).expect("there is room");
    assert!(matches!(running.next().await, Event::Step(step) if step.done == 2));
    assert!(matches!(running.next().await, Event::Ended(_)));
    steps.try_send(step(3)).expect("there is room");
    assert_eq!(running.remaining_steps().map(|step| step.done).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_its_call_which_still_ends_by_itself() {
    let (told, ended) = oneshot::channel();
    let cancelled = CancellationToken::new();
    let seen = cancelled.clone();
    let call = Box::pin(async move {
        seen.cancelled().await;
        tokio::task::yield_now().await;
        let _ = told.send(());
        reply()
    });
    let (mut running, _steps) = running(call, cancelled);
    assert!(futures::poll!(std::pin::pin!(running.next())).is_pending());
    drop(running);
    ended.await.expect("the call went on to its end");
}
