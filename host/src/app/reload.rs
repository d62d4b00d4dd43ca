//! Keeping the policies in force what the policy folder says: what makes the host look, and in which order a change happens.
//!
//! First the change is written down, durably, then it takes effect: no log, no change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::model::{ChangeSource, PolicyChange, PolicyFileDigest, PolicyProblem, PolicyRefusal, Timestamp};
use crate::registry::{Generation, Look, Registry, Reloader, holds_policies, watch};

/// How long until a watch that ended is started again.
const RESTART: Duration = Duration::from_secs(1);

/// How long until a change that could not be written down is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// How long a folder that lacks files has to stay as it is: `rm policies/*; scp new/* policies/` must open no window without walls.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Writes down which policies are in force from the start, if the log does not say so already.
///
/// # Errors
/// It can't be written down, so the host must not start.
pub async fn record_start(ledger: &Ledger, generation: &Generation) -> Result<()> {
    let known = ledger.last_policies().context("can't tell which policies were in force last")?;
    let (before, files) = known.map_or((None, Vec::new()), |known| (Some(known.version), known.files));
    if before.is_some_and(|before| before.policies == generation.policies.hash()) && files == generation.policy_files {
        return Ok(());
    }
    if holds_policies(&files) && !holds_policies(&generation.policy_files) {
        let names = names(&files).join("`, `");
        bail!(
            "`{names}` held policies when this data folder was last in use, and now there are none; name their folder with \
             `--policies DIR`, or, to drop all policies on purpose, leave one file in it, such as `none.cedar`, that holds only a comment"
        );
    }
    let now = (generation.policy_version(), &generation.policy_files[..]);
    let change = PolicyChange::new(ChangeSource::Start, (before, &files), now);
    if !change.removed.is_empty() {
        tracing::warn!(removed = ?names(&change.removed), "policy files that were in force before this start are gone");
    }
    ledger.record_policy_change(&change).await.context("can't write down which policies are in force")
}

/// What makes the host look at its policies.
pub struct Reload {
    reloader: Reloader,
    registry: Arc<Registry>,
    ledger: Ledger,
    changes: Changes,
    /// The files that a look found when some of those in force were gone, and since when they are that way.
    waiting: Option<(Vec<PolicyFileDigest>, Instant)>,
    /// SIGHUP, for those verbs that do not end by it.
    hangup: Option<Signal>,
}

impl Reload {
    /// Watches what `reloader` reads.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub fn new(reloader: Reloader, registry: Arc<Registry>, ledger: Ledger, hangup: Option<Signal>) -> Result<Self> {
        let changes = Changes::of(reloader.folder()).context("can't watch the policy folder")?;
        Ok(Self { reloader, registry, ledger, changes, waiting: None, hangup })
    }

    /// Looks whenever there is a reason to, until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let (mut again, mut last) = (None, ChangeSource::FileWatch);
        loop {
            let source = tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.changes.next() => match changed {
                    Ok(()) => ChangeSource::FileWatch,
                    Err(reason) => {
                        self.show(unplaced(ChangeSource::FileWatch, reason));
                        continue;
                    }
                },
                () = hung_up(&mut self.hangup) => ChangeSource::Signal,
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => last,
            };
            again = self.look(source).await;
            last = source;
        }
    }

    /// Looks at the folder and does what follows from it. Answers when to look again, whatever happens until then.
    async fn look(&mut self, source: ChangeSource) -> Option<Instant> {
        let reloader = self.reloader.clone();
        let begun = Instant::now();
        let look = tokio::task::spawn_blocking(move || reloader.look(source)).await;
        if !matches!(look, Ok(Look::Unchanged)) {
            metrics::histogram!("tidegate_policy_reload_seconds").record(begun.elapsed());
        }
        let waiting = self.waiting.take();
        match look {
            Ok(Look::Unchanged) => {
                if source == ChangeSource::Signal {
                    tracing::info!("looked at the policies as asked: the folder holds what is in force");
                }
                self.reloader.confirm();
                None
            }
            Ok(Look::Refused(refusal)) => {
                self.refuse(refusal).await;
                None
            }
            Ok(Look::Changed(candidate)) => {
                let change = candidate.change().clone();
                if !change.removed.is_empty() {
                    let (files, since) = waiting
                        .filter(|(files, _)| files == candidate.files())
                        .unwrap_or_else(|| (candidate.files().to_vec(), Instant::now()));
                    if since.elapsed() < SECOND_LOOK {
                        let removed = names(&change.removed);
                        tracing::info!(?removed, "policy files are gone; that takes effect if it stays so for {SECOND_LOOK:?}");
                        self.waiting = Some((files, since));
                        return Some(since + SECOND_LOOK);
                    }
                }
                let recorded =
                    self.reloader.adopt(*candidate, async |change| self.ledger.record_policy_change(change).await).await;
                match recorded {
                    Ok(()) => {
                        metrics::counter!("tidegate_policy_reloads_total", "result" => "loaded").increment(1);
                        tracing::info!(
                            generation = change.after.generation, policies = %change.after.policies, source = source.as_str(),
                            added = ?names(&change.added), changed = ?names(&change.changed), removed = ?names(&change.removed),
                            "other policies are in force"
                        );
                        None
                    }
                    Err(error) => {
                        let message = format!("the change can't be written down, so it does not take effect: {error}");
                        self.show(unplaced(source, message));
                        Some(Instant::now() + RETRY)
                    }
                }
            }
            Err(panic) => {
                self.refuse(unplaced(source, format!("compiling the policies failed; this is a bug in tidegate: {panic}"))).await;
                None
            }
        }
    }

    async fn refuse(&self, refusal: PolicyRefusal) {
        let in_force = self.registry.current().policy_version();
        if let Err(error) = self.ledger.record_policy_refusal(&refusal, in_force).await {
            tracing::error!(%error, "a refusal of policies could not be written down");
        }
        self.show(refusal);
    }

    /// Tells the operator, and whoever asks for the status.
    fn show(&self, refusal: PolicyRefusal) {
        metrics::counter!("tidegate_policy_reloads_total", "result" => "refused").increment(1);
        let problems: Vec<_> = refusal.problems.iter().map(ToString::to_string).collect();
        let (source, more) = (refusal.source.as_str(), refusal.more);
        tracing::error!(source, more, "the policies were refused, those in force stay in force\n{}", problems.join("\n"));
        self.reloader.refuse(refusal);
    }
}

/// Notices of changes to a folder, from a watch that is started again should it ever end.
struct Changes {
    folder: PathBuf,
    news: tokio::sync::watch::Receiver<u64>,
    /// Whether the watch has ended, and not been started again yet.
    has_ended: bool,
}

impl Changes {
    fn of(folder: &Path) -> std::io::Result<Self> {
        Ok(Self { folder: folder.to_owned(), news: watch::start(folder.to_owned())?, has_ended: false })
    }

    /// Completes when the folder may have changed. Cancel safe.
    ///
    /// # Errors
    /// Nobody watches the folder now, and why; the next call starts another watch, after a while.
    async fn next(&mut self) -> Result<(), String> {
        if self.has_ended {
            // However it ended, it must not end a hundred times a second.
            tokio::time::sleep(RESTART).await;
            self.news = watch::start(self.folder.clone())
                .map_err(|error| format!("the policy folder is not watched, there is no room for a thread: {error}"))?;
            self.has_ended = false;
        }
        self.news.changed().await.map_err(|_| {
            self.has_ended = true;
            "the watch of the policy folder ended; this is a bug in tidegate. It is started again, until then changes go unnoticed".to_owned()
        })
    }
}

/// Answers hangups of a host that has no policy folder, until `shutdown`.
pub async fn without_folder(hangup: Signal, shutdown: CancellationToken) {
    let mut hangup = Some(hangup);
    while shutdown.run_until_cancelled(hung_up(&mut hangup)).await.is_some() {
        tracing::info!(
            "asked to look at the policies, but there is no policy folder; name one with `--policies DIR` at the start"
        );
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    if let Some(hangup) = hangup
        && hangup.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

fn unplaced(source: ChangeSource, message: String) -> PolicyRefusal {
    PolicyRefusal::new(Timestamp::now(), source, vec![PolicyProblem::new(message)])
}

fn names(files: &[PolicyFileDigest]) -> Vec<&str> {
    files.iter().map(|file| file.file.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_that_ended_is_told_and_started_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut changes = Changes::of(folder.path()).expect("there is room for a thread");
        changes.news = tokio::sync::watch::channel(0).1;
        assert!(changes.next().await.expect_err("nobody watches").contains("ended"));
        let told = tokio::time::timeout(Duration::from_secs(20), changes.next()).await;
        assert_eq!(told.expect("it looks at once"), Ok(()));
    }
}
