//! Where a verb finds the log: with a live host, or in the store of a stopped one.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app;
use crate::cli::live::Live;
use crate::cli::{AuditArgs, serve};
use crate::ledger::{ExportLine, Ledger, Record};
use crate::server::operator::audit::{self, Extent, Place};
use crate::server::operator::{self, keeping};
use crate::store::Store;

/// How long a live host may take for an answer: an export that begins in the middle has to read all that comes before.
const PATIENCE: Duration = Duration::from_secs(300);

/// A log that answers questions.
pub enum Source<'l> {
    /// That of a live host.
    Live(Live),
    /// That of a stopped one.
    Stopped(&'l Ledger),
}

/// A record as it was read, and checked against its head.
pub struct Read {
    /// Its line.
    pub line: ExportLine,
    /// The same, decoded.
    pub record: Record,
}

impl Source<'_> {
    /// Asks one question.
    ///
    /// # Errors
    /// The log can't be read, does not answer, or has no answer.
    pub fn ask<T: DeserializeOwned>(&mut self, method: &str, params: &impl Serialize) -> Result<T> {
        let params = serde_json::to_value(params).context("the question can't be put into words")?;
        let answer = match self {
            Self::Live(live) => live.ask(method, &params)?,
            Self::Stopped(ledger) if method.starts_with(keeping::PREFIX) => {
                let by = operator::user(rustix::process::geteuid().as_raw());
                keeping::answer(ledger, &by, method, params)?
            }
            Self::Stopped(ledger) => audit::answer(ledger, method, params)?,
        };
        serde_json::from_value(answer).context("the host's answer makes no sense; is it of another version?")
    }

    /// Which log it is, and how far it goes.
    ///
    /// # Errors
    /// As [`Source::ask`].
    pub fn extent(&mut self) -> Result<Extent> {
        self.ask(audit::EXTENT, &())
    }

    /// Some of the records from `from` on, as lines; none behind the end.
    ///
    /// # Errors
    /// As [`Source::ask`].
    pub fn lines(&mut self, from: u64) -> Result<Vec<String>> {
        self.ask(audit::LINES, &Place { from })
    }

    /// The same records, decoded.
    ///
    /// # Errors
    /// As [`Source::ask`]; or a record is not what was written.
    pub fn records(&mut self, from: u64) -> Result<Vec<Read>> {
        self.lines(from)?.iter().map(|line| read(line)).collect()
    }
}

/// Decodes a record's line.
///
/// # Errors
/// It is none, or not what was written.
pub fn read(line: &str) -> Result<Read> {
    let line: ExportLine = serde_json::from_str(line).context("a record's line makes no sense")?;
    let record = line.record().map_err(|problem| anyhow::anyhow!("record {} is damaged: {problem}", line.seq))?;
    Ok(Read { line, record })
}

/// Asks the live host, or else the store that a stopped one left on the data folder.
///
/// # Errors
/// There is neither; or what `read` answers with.
pub fn with_source<T>(args: &AuditArgs, read: impl FnOnce(&mut Source<'_>) -> Result<T>) -> Result<T> {
    match args.host.live()? {
        Some(mut live) => {
            live.wait_at_most(PATIENCE)?;
            read(&mut Source::Live(live))
        }
        None => with_ledger(args, |ledger| read(&mut Source::Stopped(ledger))),
    }
}

/// Opens the ledger of a stopped host for `read`.
///
/// # Errors
/// There is none, it is in use or damaged; or what `read` answers with.
pub fn with_ledger<T>(args: &AuditArgs, read: impl FnOnce(&Ledger) -> Result<T>) -> Result<T> {
    let config = args.host.configure()?;
    let data = serve::data_dir(&config);
    // A mistyped folder must not pass for an unbroken log.
    if !data.join(app::KEYS).is_dir() {
        bail!("`{}` is no host's data folder; name it with `--data DIR`", data.display());
    }
    let store = Store::open(&data, &config.store).context("can't read the log of a host that runs; stop it first")?;
    let (ledger, _) = Ledger::open(store, &data.join(app::KEYS), &config.ledger)?;
    let result = read(&ledger);
    let closed = serve::runtime()?.block_on(ledger.close());
    let result = result?;
    closed?;
    Ok(result)
}
