//! Keeping in force what lies in the folders of plugins and policies: what makes the host look, and how long it waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::model::{ChangeSource, Contents, GenerationChange, LoadProblem, LoadRefusal, Part, PluginVersion, PolicyFileDigest};
use crate::pipeline::Pipeline;
use crate::registry::{Generation, Look, Sources, holds_policies, watch};

/// How long until a watch that ended is started again.
const RESTART: Duration = Duration::from_secs(1);

/// How long until a change that could not be written down is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// How long a folder that lacks files has to stay as it is: `rm policies/*; scp new/* policies/` must open no window without walls.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Writes down what is in force from the start, if the log does not say so already.
///
/// # Errors
/// It can't be written down, so the host must not start.
pub async fn record_start(ledger: &Ledger, generation: &Generation) -> Result<()> {
    let known = ledger.last_generation().context("can't tell which plugins and policies were in force last")?;
    let before = known.as_ref().map(|known| known.version);
    let nothing = Contents { files: &[], plugins: &[] };
    let earlier = known.as_ref().map_or(nothing, |known| known.contents());
    let plugins = generation.plugin_versions();
    let is_known = before.is_some_and(|before| before.policies == generation.policies.hash());
    if is_known && earlier.files == generation.policy_files && earlier.plugins == plugins {
        return Ok(());
    }
    if holds_policies(earlier.files) && !holds_policies(&generation.policy_files) {
        let names = names(earlier.files).join("`, `");
        bail!(
            "`{names}` held policies when this data folder was last in use, and now there are none; name their folder with \
             `--policies DIR`, or, to drop all policies on purpose, leave one file in it, such as `none.cedar`, that holds only a comment"
        );
    }
    let now = Contents { files: &generation.policy_files, plugins: &plugins };
    let change = GenerationChange::new(ChangeSource::Start, (before, earlier), (generation.policy_version(), now));
    if !change.removed.is_empty() {
        tracing::warn!(removed = ?names(&change.removed), "policy files that were in force before this start are gone");
    }
    ledger.record_change(&change).await.context("can't write down which plugins and policies are in force")
}

/// What makes the host look at its plugins and policies.
pub struct Reload {
    pipeline: Arc<Pipeline>,
    plugins: Option<Changes>,
    policies: Option<Changes>,
    /// SIGHUP, for those verbs that do not end by it.
    hangup: Option<Signal>,
    /// Looks to come, whatever happens until then.
    again: Again<(Instant, ChangeSource)>,
    /// What a look found that lacked something in force, and since when it is that way.
    lacking: Again<(Found, Instant)>,
}

/// Something for each part.
struct Again<T> {
    plugins: Option<T>,
    policies: Option<T>,
}

impl<T> Again<T> {
    fn of(&mut self, part: Part) -> &mut Option<T> {
        match part {
            Part::Plugins => &mut self.plugins,
            Part::Policies => &mut self.policies,
        }
    }
}

/// What a candidate is made of.
type Found = (Vec<PolicyFileDigest>, Vec<PluginVersion>);

impl Reload {
    /// Watches `sources`: the policies always, the plugins and whom to trust with them if `watch_plugins`.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub fn new(pipeline: Arc<Pipeline>, sources: &Sources, watch_plugins: bool, hangup: Option<Signal>) -> Result<Self> {
        let plugins = || Changes::of(Part::Plugins, sources.plugins.clone(), sources.trust.clone());
        let plugins = watch_plugins.then(plugins).transpose();
        let policies = sources.policies.clone().map(|folder| Changes::of(Part::Policies, folder, None)).transpose();
        Ok(Self {
            pipeline,
            plugins: plugins.context("can't watch the plugin folder")?,
            policies: policies.context("can't watch the policy folder")?,
            hangup,
            again: Again { plugins: None, policies: None },
            lacking: Again { plugins: None, policies: None },
        })
    }

    /// Looks whenever there is a reason to, until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let (part, source) = tokio::select! {
                () = shutdown.cancelled() => return,
                changed = next(&mut self.plugins) => match changed {
                    Ok(()) => (Part::Plugins, ChangeSource::FileWatch),
                    Err(reason) => {
                        self.show(Part::Plugins, reason).await;
                        continue;
                    }
                },
                changed = next(&mut self.policies) => match changed {
                    Ok(()) => (Part::Policies, ChangeSource::FileWatch),
                    Err(reason) => {
                        self.show(Part::Policies, reason).await;
                        continue;
                    }
                },
                () = hung_up(&mut self.hangup) => (Part::Plugins, ChangeSource::Signal),
                source = due(&self.again.plugins) => (Part::Plugins, source),
                source = due(&self.again.policies) => (Part::Policies, source),
            };
            let again = self.look(part, source).await;
            *self.again.of(part) = again.map(|at| (at, source));
        }
    }

    /// Looks and does what follows from it. Answers when to look again, whatever happens until then.
    async fn look(&mut self, part: Part, source: ChangeSource) -> Option<Instant> {
        let pipeline = self.pipeline.clone();
        let turn = pipeline.reloader().turn().await;
        let look = match part {
            Part::Plugins => turn.look(source).await,
            Part::Policies => turn.look_at_policies(source).await,
        };
        let lacking = self.lacking.of(part).take();
        match look {
            Look::Unchanged(_) => {
                if source == ChangeSource::Signal {
                    tracing::info!("looked at plugins and policies as asked: the folders hold what is in force");
                }
                turn.confirm(part);
                None
            }
            Look::Refused(refusal) => {
                // A folder that was written in several steps is looked at more than once.
                if source != ChangeSource::FileWatch || !turn.is_told(&refusal) {
                    pipeline.refuse(&turn, refusal).await;
                }
                None
            }
            Look::Changed(candidate) => {
                let change = candidate.change();
                if change.removes() {
                    let found = (change.files.clone(), change.plugins.clone());
                    let (found, since) = lacking.filter(|(last, _)| *last == found).unwrap_or((found, Instant::now()));
                    if since.elapsed() < SECOND_LOOK {
                        let gone = change.plugin_changes.iter().filter(|change| change.after.is_none());
                        let plugins: Vec<_> = gone.filter_map(|change| change.before.as_ref()).map(|gone| &gone.plugin).collect();
                        let policies = names(&change.removed);
                        tracing::info!(
                            ?plugins,
                            ?policies,
                            "something is gone; that takes effect if it stays so for {SECOND_LOOK:?}"
                        );
                        *self.lacking.of(part) = Some((found, since));
                        return Some(since + SECOND_LOOK);
                    }
                }
                pipeline.adopt(&turn, *candidate).await.is_err().then(|| Instant::now() + RETRY)
            }
        }
    }

    /// Tells the operator that a folder is not watched.
    async fn show(&self, part: Part, reason: String) {
        let refusal = LoadRefusal::new(part, ChangeSource::FileWatch, vec![LoadProblem::new(reason)]);
        let turn = self.pipeline.reloader().turn().await;
        self.pipeline.refuse(&turn, refusal).await;
    }
}

/// Notices of changes to a folder and to a file, from a watch that is started again should it ever end.
struct Changes {
    part: Part,
    folder: PathBuf,
    /// A file elsewhere whose changes are told as well.
    beside: Option<PathBuf>,
    news: tokio::sync::watch::Receiver<u64>,
    /// Whether the watch has ended, and not been started again yet.
    has_ended: bool,
}

impl Changes {
    fn of(part: Part, folder: PathBuf, beside: Option<PathBuf>) -> std::io::Result<Self> {
        Ok(Self { part, news: watch::start(part, folder.clone(), beside.clone())?, folder, beside, has_ended: false })
    }

    /// Completes when the folder may have changed. Cancel safe.
    ///
    /// # Errors
    /// Nobody watches the folder now, and why; the next call starts another watch, after a while.
    async fn next(&mut self) -> Result<(), String> {
        let part = self.part.as_str();
        if self.has_ended {
            // However it ended, it must not end a hundred times a second.
            tokio::time::sleep(RESTART).await;
            self.news = watch::start(self.part, self.folder.clone(), self.beside.clone())
                .map_err(|error| format!("the folder of the {part} is not watched, there is no room for a thread: {error}"))?;
            self.has_ended = false;
        }
        self.news.changed().await.map_err(|_| {
            self.has_ended = true;
            format!(
                "the watch of the folder of the {part} ended; this is a bug in tidegate. It is started again, until then changes go \
                 unnoticed"
            )
        })
    }
}

/// [`Changes::next`], never if nothing is watched.
async fn next(changes: &mut Option<Changes>) -> Result<(), String> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

async fn due(again: &Option<(Instant, ChangeSource)>) -> ChangeSource {
    match again {
        Some((at, source)) => {
            tokio::time::sleep_until(*at).await;
            *source
        }
        None => std::future::pending().await,
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

fn names(files: &[PolicyFileDigest]) -> Vec<&str> {
    files.iter().map(|file| file.file.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_that_ended_is_told_and_started_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut changes = Changes::of(Part::Policies, folder.path().to_owned(), None).expect("there is room for a thread");
        changes.news = tokio::sync::watch::channel(0).1;
        assert!(changes.next().await.expect_err("nobody watches").contains("ended"));
        let told = tokio::time::timeout(Duration::from_secs(20), changes.next()).await;
        assert_eq!(told.expect("it looks at once"), Ok(()));
    }
}
