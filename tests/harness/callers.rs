//! Callers who call without a pause while something else goes on, and what they were told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// How long all callers together may be without an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls that go on.
pub struct Calls {
    /// One for each answer.
    answers: Receiver<()>,
}

/// Has `callers` call without a pause while `beside` goes on: `call` makes one call, in the name of the caller of this number.
/// Answers what each was told, in order. Whoever is let down panics, and so does this.
pub fn while_calling<T: Send>(callers: usize, call: impl Fn(usize) -> T + Sync, beside: impl FnOnce(&Calls)) -> Vec<Vec<T>> {
    let is_over = AtomicBool::new(false);
    let (say, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        let running: Vec<_> = (0..callers)
            .map(|caller| {
                let (say, call, is_over) = (say.clone(), &call, &is_over);
                scope.spawn(move || {
                    let mut told = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        told.push(call(caller));
                        // Nobody listens any more once it is over.
                        let _ = say.send(());
                    }
                    told
                })
            })
            .collect();
        drop(say);
        beside(&Calls { answers });
        drop(over);
        running.into_iter().map(|caller| caller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

impl Calls {
    /// Waits until so many further calls are answered.
    pub fn wait_for(&self, more: usize) {
        while self.answers.try_recv().is_ok() {}
        for _ in 0..more {
            self.answers.recv_timeout(PATIENCE).expect("calls are answered");
        }
    }
}

/// Ends whoever asks it once it is dropped: also when the test fails.
pub struct Over<'f>(pub &'f AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
