//! Keeping the policies in force what the policy folder says: what makes the host look, and in which order a change happens.
//!
//! First the change is written down, durably, then it takes effect: no log, no change.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::model::{ChangeSource, PolicyChange, PolicyProblem, PolicyRefusal, Timestamp};
use crate::registry::{Generation, Look, Registry, Reloader, watch};

/// How long until a change that could not be written down is tried again.
const RETRY: Duration = Duration::from_secs(10);

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
    changes: tokio::sync::watch::Receiver<u64>,
    /// SIGHUP, for those verbs that do not end by it.
    hangup: Option<Signal>,
}

impl Reload {
    /// Watches what `reloader` reads.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub fn new(reloader: Reloader, registry: Arc<Registry>, ledger: Ledger, hangup: Option<Signal>) -> Result<Self> {
        let changes = watch::start(reloader.folder().to_owned()).context("can't watch the policy folder")?;
        Ok(Self { reloader, registry, ledger, changes, hangup })
    }

    /// Looks whenever there is a reason to, until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut settled = true;
        loop {
            let source = tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = self.changes.changed() => ChangeSource::FileWatch,
                () = hung_up(&mut self.hangup) => ChangeSource::Signal,
                () = tokio::time::sleep(RETRY), if !settled => ChangeSource::FileWatch,
            };
            settled = self.look(source).await;
        }
    }

    /// Looks at the folder and does what follows from it. Answers false if it has to be tried again.
    async fn look(&mut self, source: ChangeSource) -> bool {
        let reloader = self.reloader.clone();
        let look = tokio::task::spawn_blocking(move || reloader.look(source)).await;
        match look {
            Ok(Look::Unchanged) => {
                if source == ChangeSource::Signal {
                    tracing::info!("looked at the policies as asked: the folder holds what is in force");
                }
                self.reloader.confirm();
                true
            }
            Ok(Look::Refused(refusal)) => {
                self.refuse(refusal).await;
                true
            }
            Ok(Look::Changed(candidate)) => {
                let change = candidate.change().clone();
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
                        true
                    }
                    Err(error) => {
                        let message = format!("the change can't be written down, so it does not take effect: {error}");
                        self.show(unplaced(source, message));
                        false
                    }
                }
            }
            Err(panic) => {
                self.refuse(unplaced(source, format!("compiling the policies failed; this is a bug in tidegate: {panic}"))).await;
                true
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

fn names(files: &[crate::model::PolicyFileDigest]) -> Vec<&str> {
    files.iter().map(|file| file.file.as_str()).collect()
}
