//! Building again what was edited, and serving it: what was served before stays until something better is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use tokio::runtime::Handle;

use super::watch::Watch;
use super::workshop::Workshop;
use crate::pipeline::Pipeline;

/// Who asks for a reload, as records tell it.
const BY: &str = "tidegate dev";

/// Builds every plugin. One that does not compile is waited for: whoever starts with a broken source is about to mend it.
///
/// # Errors
/// Something is wrong that no edit of a source can mend.
pub fn build_first(workshop: &mut Workshop) -> Result<()> {
    let dirs: Vec<PathBuf> = workshop.plugins()?.into_iter().map(|(dir, _)| dir).collect();
    let (mut watch, mut due) = (Watch::of(dirs.clone()), dirs);
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
            return Ok(());
        }
        let edited = watch.edited().dirs;
        failed.retain(|dir| !edited.contains(dir));
        due = edited.into_iter().chain(failed).collect();
    }
}

/// Builds and serves again whatever is edited, on a thread of its own, until the process ends.
///
/// # Errors
/// There is no room for a thread.
pub fn keep_building(mut workshop: Workshop, pipeline: Arc<Pipeline>) -> Result<()> {
    let dirs: Vec<PathBuf> = workshop.plugins()?.into_iter().map(|(dir, _)| dir).collect();
    let (mut watch, runtime) = (Watch::of(dirs), Handle::current());
    let build = move || loop {
        let edit = watch.edited();
        let mut is_whole = true;
        for dir in &edit.dirs {
            if let Err(error) = workshop.stage(dir) {
                eprintln!("error: {error:#}\nnot served: `{}` stays as it was before this edit", dir.display());
                is_whole = false;
            }
        }
        match runtime.block_on(pipeline.reload(BY)) {
            Ok(Some(change)) => {
                let took = SystemTime::now().duration_since(edit.at).unwrap_or_default();
                for plugin in &change.plugin_changes {
                    match &plugin.after {
                        Some(now) => {
                            eprintln!("{} {} served, {:.1} s after the edit", now.plugin, now.version, took.as_secs_f64())
                        }
                        None => eprintln!("{} is no longer served", plugin.sign()),
                    }
                }
            }
            Ok(None) if is_whole => eprintln!("nothing that is served has changed"),
            Ok(None) => {}
            // What stands against it is in the host's log, just above.
            Err(_) => eprintln!("not served: everything stays as it was before this edit"),
        }
    };
    std::thread::Builder::new().name("dev-build".to_owned()).spawn(build).context("can't start the thread that builds")?;
    Ok(())
}
