//! Building again what was edited, and serving it: what was served before stays until something better is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Error, Result};
use tokio::runtime::Handle;

use super::watch::{Edit, Watch};
use super::workshop::Workshop;
use crate::cli::language::NotCompiled;
use crate::model::{ChangeSource, GenerationChange, LoadProblem, LoadRefusal, Part};
use crate::pipeline::Pipeline;

/// Who asks for a reload, as records tell it.
const BY: &str = "tidegate dev";

/// Builds every plugin. One that does not compile is waited for: whoever starts with a broken source is about to mend it. Answers a
/// watch that tells of whatever was edited since it was built.
///
/// # Errors
/// Something is wrong that no edit of a source can mend.
pub fn build_first(workshop: &mut Workshop) -> Result<Watch> {
    let mut watch = workshop.watch();
    let mut due: Vec<PathBuf> = workshop.plugins()?.into_iter().map(|(dir, _)| dir).collect();
    loop {
        let mut failed = Vec::new();
        for dir in due {
            if let Err(error) = workshop.stage(&dir) {
                if !Workshop::has_source(&dir) {
                    return Err(error);
                }
                eprintln!("error: {error:#}\nwaiting for an edit of `{}`", dir.display());
                failed.push(dir);
            }
        }
        if failed.is_empty() {
            return Ok(watch);
        }
        let edited = watch.edited().dirs;
        failed.retain(|dir| !edited.contains(dir));
        due = edited.into_iter().chain(failed).collect();
    }
}

/// Builds and serves again whatever is edited, and whatever comes, on a thread of its own, until the process ends.
///
/// # Errors
/// There is no room for a thread.
pub fn keep_building(mut watch: Watch, workshop: Workshop, pipeline: Arc<Pipeline>) -> Result<()> {
    let runtime = Handle::current();
    let mut builder = Builder { workshop, pipeline, broken: BTreeMap::new() };
    let build = move || loop {
        let edit = watch.edited();
        runtime.block_on(builder.follow(&edit));
    };
    std::thread::Builder::new().name("dev-build".to_owned()).spawn(build).context("can't start the thread that builds")?;
    Ok(())
}

/// Keeps what a host serves in line with the sources.
struct Builder {
    workshop: Workshop,
    pipeline: Arc<Pipeline>,
    /// What stands against the plugins whose sources don't build, by their folders.
    broken: BTreeMap<PathBuf, Vec<LoadProblem>>,
}

impl Builder {
    /// Builds what was edited, serves it, and says so; or says why not.
    async fn follow(&mut self, edit: &Edit) {
        let mut failed = Vec::new();
        for dir in &edit.dirs {
            self.broken.remove(dir);
            if let Err(error) = self.workshop.stage(dir) {
                eprintln!("error: {error:#}");
                self.broken.insert(dir.clone(), problems(dir, &error));
                failed.push(dir);
            }
        }
        let reloaded = self.pipeline.reload(BY).await;
        if reloaded.is_ok() {
            self.tell_what_is_broken().await;
        }
        for dir in &failed {
            eprintln!("not served: `{}` stays as it was before this edit", dir.display());
        }
        match reloaded {
            Ok(Some(change)) => tell(&change, edit.at),
            Ok(None) if failed.is_empty() => eprintln!("nothing that is served has changed"),
            Ok(None) => {}
            // What stands against it is in the host's log, just above.
            Err(_) => eprintln!("not served: everything stays as it was before this edit"),
        }
    }

    /// Tells whoever asks how the plugins stand, and does not see this terminal. After a reload, which says that what was built is in
    /// force, so that nothing stands against that.
    async fn tell_what_is_broken(&self) {
        let problems: Vec<LoadProblem> = self.broken.values().flatten().cloned().collect();
        if !problems.is_empty() {
            let refusal = LoadRefusal::new(Part::Plugins, ChangeSource::FileWatch, problems);
            self.pipeline.reloader().turn().await.refuse(refusal);
        }
    }
}

/// What stands against the plugin in `dir`, which can't be built.
fn problems(dir: &Path, error: &Error) -> Vec<LoadProblem> {
    match error.downcast_ref::<NotCompiled>() {
        Some(NotCompiled { problems, .. }) if !problems.is_empty() => problems.clone(),
        _ => vec![LoadProblem::new(format!("`{}` can't be built: {error:#}", dir.display()))],
    }
}

/// Says what is served now.
fn tell(change: &GenerationChange, edited: SystemTime) {
    let took = SystemTime::now().duration_since(edited).unwrap_or_default();
    for plugin in &change.plugin_changes {
        match (&plugin.after, &plugin.before) {
            (Some(now), _) => eprintln!("{} {} served, {:.1} s after the edit", now.plugin, now.version, took.as_secs_f64()),
            (None, Some(gone)) => eprintln!("{} is no longer served", gone.plugin),
            (None, None) => {}
        }
    }
}
