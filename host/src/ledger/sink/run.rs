//! The thread of one sink: reads the log, sends, remembers how far it got, and tries again what failed.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::{Inner, Ledger, LedgerError, audit, base};
use super::batch::{Batch, Shape};
use super::config::SinkConfig;
use super::cursor::{Cursor, Gap};

/// How often a sink that is through looks for more.
const INTERVAL: Duration = Duration::from_millis(250);

/// The first pause after a failure, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A sink that is too far behind skips a tenth of its backlog more than it has to: so that what is written down about that is one
/// record now and then.
const SPARE: u64 = 10;

/// Where records go.
pub(super) trait Target: Send {
    /// What records are sent as.
    fn shape(&self) -> Shape;

    /// The next record to be sent, after `after` was accepted and what lies below `lowest` can't be had any more.
    fn next(&mut self, ledger: &Ledger, after: u64, lowest: u64) -> Result<u64, Failure>;

    /// Sends a batch that begins with [`Target::next`]. Once this answers, it is where it belongs.
    fn send(&mut self, batch: &Batch) -> Result<(), Failure>;
}

/// Why a batch was not accepted.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may be, later.
    Later {
        /// What happened.
        why: String,
        /// Not before that time has passed.
        after: Option<Duration>,
    },
    /// It will never be, as it is.
    Refused(String),
}

impl Failure {
    pub fn later(why: String) -> Self {
        Self::Later { why, after: None }
    }
}

/// A sink at work.
pub(super) struct Runner {
    name: String,
    max_backlog: u64,
    target: Box<dyn Target>,
    cursor: Cursor,
    /// How far the log is known to be durable.
    durable: u64,
    /// The most records in a batch, and the most while the target refuses larger ones.
    batch: usize,
    limit: usize,
    /// Failures since the last success.
    failures: u32,
}

impl Runner {
    pub fn new(name: String, config: &SinkConfig, target: Box<dyn Target>, cursor: Cursor) -> Self {
        let (max_backlog, batch) = (config.max_backlog, config.batch);
        Self { name, max_backlog, target, cursor, durable: 0, batch, limit: batch, failures: 0 }
    }

    /// Sends until the ledger is gone; after `ended` was disconnected until everything is sent, or `stop` says that time is over.
    pub fn run(mut self, ledger: &Weak<Inner>, ended: &Receiver<()>, stop: &CancellationToken) {
        let (mut wait, mut resume) = (Duration::ZERO, Instant::now());
        loop {
            let is_last = ended.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected);
            let Some(inner) = ledger.upgrade() else { return };
            let ledger = Ledger { inner };
            let turn = match self.keep_up(&ledger.inner) {
                // Whoever waits after a failure still does not fall further behind than it may.
                Ok(()) if Instant::now() < resume && !is_last => Ok(false),
                Ok(()) => self.turn(&ledger),
                Err(error) => Err(error.into()),
            };
            wait = match turn {
                Ok(true) if is_last && stop.is_cancelled() => return,
                Ok(true) => Duration::ZERO,
                Ok(false) if is_last => return,
                Ok(false) => INTERVAL,
                Err(failure) if is_last => {
                    tracing::warn!(sink = %self.name, ?failure, "a sink ends with records left to send; the next start sends them");
                    return;
                }
                Err(failure) => {
                    resume = Instant::now() + self.failed(failure);
                    INTERVAL
                }
            };
        }
    }

    /// Skips what the sink can't or may not send any more, and says how far behind it is.
    fn keep_up(&mut self, inner: &Arc<Inner>) -> Result<(), LedgerError> {
        let dropped = base::start(&inner.store)?.tree.size();
        if dropped > self.cursor.reached() {
            self.skip(inner, dropped, "its time to be kept was over")?;
        }
        let tip = audit::tip(&inner.store)?.tip.seq;
        if tip - self.cursor.reached().min(tip) > self.max_backlog {
            let spare = self.max_backlog / SPARE;
            self.skip(inner, tip - (self.max_backlog - spare), "the sink was too far behind")?;
        }
        let backlog = tip.saturating_sub(self.cursor.reached());
        metrics::gauge!("tidegate_sink_backlog", "sink" => self.name.clone()).set(backlog as f64);
        Ok(())
    }

    /// Sends one batch; answers whether there was any.
    fn turn(&mut self, ledger: &Ledger) -> Result<bool, Failure> {
        let inner = &ledger.inner;
        let dropped = base::start(&inner.store)?.tree.size();
        let next = self.target.next(ledger, self.cursor.at, self.cursor.floor.max(dropped) + 1)?;
        if next > self.durable {
            if next > audit::tip(&inner.store)?.tip.seq {
                return Ok(false);
            }
            self.durable = inner.durable_tip()?.seq;
        }
        let batch = Batch::read(ledger, self.target.shape(), (next, self.durable), self.limit)?;
        match self.target.send(&batch) {
            Ok(()) => {
                self.failures = 0;
                self.limit = self.batch.min(self.limit * 2);
                metrics::counter!("tidegate_sink_sent_total", "sink" => self.name.clone()).increment(batch.items.len() as u64);
                self.cursor.at = batch.last;
                self.cursor.write(inner, &self.name);
            }
            Err(Failure::Refused(why)) if batch.items.len() == 1 => {
                self.limit = self.batch;
                self.skip(inner, next, &format!("it was refused: {}", clipped(&why)))?;
            }
            Err(Failure::Refused(why)) => {
                self.limit = batch.items.len() / 2;
                self.count_failure();
                tracing::warn!(sink = %self.name, why, records = self.limit, "a batch was refused, a smaller one is tried");
            }
            Err(later) => return Err(later),
        }
        Ok(true)
    }

    /// Gives up on all records up to `to`.
    fn skip(&mut self, inner: &Arc<Inner>, to: u64, reason: &str) -> Result<(), LedgerError> {
        let from = self.cursor.reached() + 1;
        self.cursor = self.cursor.skip(inner, &self.name, Gap { from, to, reason })?;
        metrics::counter!("tidegate_sink_skipped_total", "sink" => self.name.clone()).increment(to - from + 1);
        tracing::error!(sink = %self.name, from, to, reason, "records were skipped that a sink should have got; the log itself has them, or says why not");
        Ok(())
    }

    /// Notes a failure, and answers how long to wait.
    fn failed(&mut self, failure: Failure) -> Duration {
        self.count_failure();
        let pause = PAUSE_MAX.min(PAUSE * 2_u32.pow(self.failures.min(10)));
        self.failures = self.failures.saturating_add(1);
        let (why, after) = match failure {
            Failure::Later { why, after } => (why, after),
            Failure::Refused(why) => (why, None),
        };
        let wait = after.unwrap_or(pause);
        tracing::warn!(sink = %self.name, why, ?wait, "a sink took nothing; it is tried again");
        wait
    }

    fn count_failure(&self) {
        metrics::counter!("tidegate_sink_failures_total", "sink" => self.name.clone()).increment(1);
    }
}

/// What others say goes into the log only so far.
fn clipped(why: &str) -> &str {
    &why[..why.floor_char_boundary(256)]
}
