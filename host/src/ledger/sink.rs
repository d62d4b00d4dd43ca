//! Continuous export: every durable record goes to further places, `[ledger.sinks.<name>]`, each at its own pace.
//!
//! A sink is a thread of its own that reads the log behind the calls: it holds nothing but the batch it is sending, so one that is
//! slow or dead costs a call nothing and takes no memory. How far it got is a row in the store, written after its batch was
//! accepted: each record arrives at least once, and (log, seq) tells which came twice. Beyond `max_backlog` records behind, the
//! oldest are skipped, and a record in the log says which.
//!
//! | kind | where | accepted means |
//! |---|---|---|
//! | `file` | lines at the end of a file: of an export, of OCSF or of CloudEvents | written and synced |
//! | `otlp` | OpenTelemetry logs, posted as JSON to `<url>/v1/logs` | answered with success |
//!
//! **Files.** Lines are appended whole; what a crash left of one is cut off. With `format = "jsonl"` the file is an export like any
//! other and verifies as one; nothing stands in it twice. Whoever rotates it renames it: the next record begins a new file, with a
//! header of its own, so that each file verifies by itself. After skipped records the file is set aside as `<path>.until-<seq>`,
//! because no chain leads on from it.
//!
//! **Collectors.** Each log record's body is the line of an export. What a collector refuses for good (400, 413) is sent again in
//! smaller batches; a single record that it refuses is skipped. Any other failure is tried again, a collector's `Retry-After` is
//! kept.

mod batch;
mod config;
mod cursor;
mod file;
mod otlp;
mod run;
mod tail;

use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::config::Destination;
use self::cursor::Cursor;
use self::file::FileTarget;
use self::otlp::OtlpTarget;
use self::run::{Runner, Target};
use super::{Ledger, LedgerConfig, LedgerError};

pub use config::{SinkConfig, SinkError};

/// How long sinks get, once the last record is written, to bring it where it belongs.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// How long they get to notice that this time is over.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// The sinks of a ledger, running.
pub(super) struct Sinks {
    /// Dropped, it asks each sink to end once it has sent all there is.
    alive: Vec<mpsc::Sender<()>>,
    /// Says nothing; disconnected once all have ended.
    ended: mpsc::Receiver<()>,
    /// Cuts off what is on its way.
    stop: CancellationToken,
}

impl LedgerConfig {
    /// Whether it makes sense, as far as can be told without the ledger.
    ///
    /// # Errors
    /// What makes none.
    pub fn check(&self) -> Result<(), SinkError> {
        let refused = |problem| LedgerError::Refused { what: "the config".into(), problem };
        self.retention.check().map_err(refused)?;
        config::destinations(&self.sinks).map(drop)
    }
}

impl Ledger {
    /// Starts the configured sinks, each where it left off. They end when the ledger is closed or dropped.
    ///
    /// Blocks on the disk, a little. Called on the async runtime, which carries what is sent.
    ///
    /// # Errors
    /// A sink is not configured sensibly, its state can't be read, or the system has no room for a thread.
    pub fn start_sinks(&self) -> Result<(), SinkError> {
        let configs = &self.inner.config.sinks;
        let destinations = config::destinations(configs)?;
        let (end, ended) = mpsc::channel();
        let stop = CancellationToken::new();
        let mut alive = Vec::with_capacity(configs.len());
        for (name, destination) in destinations {
            let config = &configs[&name];
            let target: Box<dyn Target> = match destination {
                Destination::File { path, format } => Box::new(FileTarget::new(path, format)),
                Destination::Collector(collector) => Box::new(OtlpTarget::new(*collector, Handle::current(), stop.clone())),
            };
            let cursor = Cursor::read(&self.inner.store, &name)?;
            tracing::info!(sink = %name, after = cursor.reached(), "records go to a sink");
            let runner = Runner::new(name, config, target, cursor);
            let (sender, asked) = mpsc::channel();
            let (ledger, end, stop) = (Arc::downgrade(&self.inner), end.clone(), stop.clone());
            let run = move || {
                runner.run(&ledger, &asked, &stop);
                drop(end);
            };
            std::thread::Builder::new().name("ledger-sink".to_owned()).spawn(run)?;
            alive.push(sender);
        }
        *self.inner.sinks.lock().unwrap_or_else(PoisonError::into_inner) = Some(Sinks { alive, ended, stop });
        Ok(())
    }

    /// Lets the sinks send what there is, for a bounded time, and ends them. Blocks.
    pub(super) fn end_sinks(&self) {
        let sinks = self.inner.sinks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sinks) = sinks {
            sinks.end();
        }
    }
}

impl Sinks {
    fn end(self) {
        let Self { alive, ended, stop } = self;
        drop(alive);
        let begun = Instant::now();
        for patience in [LAST_WORDS, LAST_WORDS + LAST_BREATH] {
            match ended.recv_timeout(patience.saturating_sub(begun.elapsed())) {
                Err(mpsc::RecvTimeoutError::Disconnected) | Ok(()) => return,
                // What was on its way may arrive, and then comes again after the next start.
                Err(mpsc::RecvTimeoutError::Timeout) => stop.cancel(),
            }
        }
        tracing::warn!("a sink is stuck; it goes on where it left off after the next start");
    }
}
