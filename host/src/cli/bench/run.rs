//! A run: callers at work from the first call to the last answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::life::Life;
use super::plan::Plan;
use super::schedule::Schedule;
use super::tally::Tally;
use super::tokens::{Mint, Principal};
use crate::app::StopSignals;

/// How often the progress line is written anew.
const PROGRESS: Duration = Duration::from_millis(250);

/// How long requests under way may still be answered when no call is waited for any more. To cut them off would make them look lost.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// How long calls may still end after Ctrl-C.
const SHORT_DRAIN: Duration = Duration::from_secs(5);

/// What all callers share.
pub struct Run {
    /// What to do.
    pub plan: Plan,
    /// What its keys begin with, so that no two runs share one.
    pub name: String,
    /// Who the callers are.
    pub principals: Vec<Arc<Principal>>,
    /// Where new tokens come from.
    pub mint: Option<Arc<Mint>>,
    /// Permits to open a connection.
    pub opening: Arc<Semaphore>,
    /// No request is sent any more.
    pub halt: CancellationToken,
    /// No answer is waited for any more.
    pub cut: CancellationToken,
    /// The number of the last call.
    pub numbers: AtomicU64,
    /// How many calls were repeated after they had succeeded.
    pub repeated: AtomicU64,
    schedule: OnceLock<Schedule>,
    tallies: Vec<Mutex<Tally>>,
}

/// How long a run took.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// For how long calls began.
    pub issued: Duration,
    /// Until the last call ended.
    pub whole: Duration,
}

impl Run {
    /// A run that has not begun.
    pub fn new(
        plan: Plan,
        name: String,
        principals: Vec<Arc<Principal>>,
        mint: Option<Arc<Mint>>,
        opening: Arc<Semaphore>,
    ) -> Self {
        let tallies = plan.tools.iter().map(|_| Mutex::new(Tally::new())).collect();
        let (numbers, repeated) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            plan,
            name,
            principals,
            mint,
            opening,
            halt: CancellationToken::new(),
            cut: CancellationToken::new(),
            numbers,
            repeated,
            schedule: OnceLock::new(),
            tallies,
        }
    }

    /// Lets `callers` callers work by the schedule that `begin` makes once all are connected.
    ///
    /// # Errors
    /// Signals can't be listened to.
    pub async fn drive(self: &Arc<Self>, callers: usize, begin: impl FnOnce() -> Schedule) -> Result<Spans> {
        let mut signals = StopSignals::listen()?;
        let ready = self.prepare(callers).await;
        let schedule = self.schedule.get_or_init(begin);
        let mut working = JoinSet::new();
        for caller in ready {
            working.spawn(caller.work());
        }
        let progress =
            ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{msg}").expect("a template that is right"));
        let mut ticks = time::interval(PROGRESS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_over, mut signalled) = (false, 0);
        loop {
            tokio::select! {
                ended = working.join_next() => match ended {
                    Some(ended) => ended.expect("a caller does not panic"),
                    None => break,
                },
                () = time::sleep_until(schedule.ends()), if !is_over => {
                    schedule.stop();
                    is_over = true;
                }
                () = time::sleep_until(schedule.gives_up()), if is_over && !self.halt.is_cancelled() => self.halt.cancel(),
                () = time::sleep_until(schedule.gives_up() + LAST_ANSWERS), if self.halt.is_cancelled() && !self.cut.is_cancelled() => {
                    self.cut.cancel();
                }
                () = signals.arrive() => {
                    schedule.stop();
                    is_over = true;
                    schedule.hurry(SHORT_DRAIN);
                    signalled += 1;
                    if signalled > 1 {
                        self.halt.cancel();
                        self.cut.cancel();
                    }
                }
                _ = ticks.tick(), if !progress.is_hidden() => progress.set_message(self.progress(schedule)),
            }
        }
        schedule.stop();
        progress.finish_and_clear();
        Ok(Spans { issued: schedule.ends() - schedule.began(), whole: schedule.began().elapsed() })
    }

    /// When calls begin.
    pub fn schedule(&self) -> &Schedule {
        self.schedule.get().expect("callers work after the clock was started")
    }

    /// Counts a call that ended.
    pub fn count(&self, life: &Life) {
        let is_in_time = Instant::now() <= self.schedule().ends();
        lock(&self.tallies[life.tool]).count(life, is_in_time);
    }

    /// What came of the calls of each tool.
    pub fn tallies(&self) -> Vec<Tally> {
        self.tallies.iter().map(|tally| lock(tally).clone()).collect()
    }

    async fn prepare(self: &Arc<Self>, callers: usize) -> Vec<Caller> {
        let mut preparing = JoinSet::new();
        for number in 0..callers {
            let mut caller = Caller::new(self.clone(), number);
            preparing.spawn(async move {
                caller.prepare().await;
                caller
            });
        }
        preparing.join_all().await
    }

    fn progress(&self, schedule: &Schedule) -> String {
        let mut all = Tally::new();
        for tally in &self.tallies {
            all.add(&lock(tally));
        }
        let elapsed = schedule.began().elapsed();
        let phase = if elapsed > schedule.ends() - schedule.began() { "draining" } else { "calling" };
        format!(
            "{phase} {:>4}s  {} calls ended  {:.0}/s  {} under way  {} pending  {} overloaded  {} errors  {} lost  p99 of first answers {:.0} ms",
            elapsed.as_secs(),
            all.ended,
            all.ended as f64 / elapsed.as_secs_f64().max(0.001),
            self.numbers.load(Ordering::Relaxed).saturating_sub(all.ended),
            all.pending,
            all.overloaded,
            all.errors.values().sum::<u64>(),
            all.lost.values().sum::<u64>(),
            all.first.value_at_quantile(0.99) as f64 / 1e3,
        )
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
