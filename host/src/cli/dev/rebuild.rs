//! Building again what was edited, and serving it: what was served before stays until something better is there.

use std::path::PathBuf;

use anyhow::Result;

use super::watch::Watch;
use super::workshop::Workshop;

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
