//! Directories that plugins are granted must not hold what the host itself stands on.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::config::Config;

/// Whether what is granted leaves the host's own files alone: nobody reads its store and keys as files, and nobody rewrites plugins
/// or policies through a tool.
///
/// # Errors
/// The first directory that holds some of them.
pub fn check(config: &Config, data: &Path) -> Result<()> {
    let read = [("the data folder", Some(data.to_owned()))];
    let written = [("the plugins", Some(config.plugins.path.clone())), ("the policies", config.policy_folder())];
    for (backend, settings) in &config.backends {
        for (name, directory) in settings.directories() {
            let granted = real(&directory.path);
            let held = |own: &[(&'static str, Option<PathBuf>)]| {
                own.iter().find_map(|(what, path)| real(path.as_deref()?).starts_with(&granted).then_some(*what))
            };
            let found = held(&read).or_else(|| if directory.write { held(&written) } else { None });
            ensure!(
                found.is_none(),
                "`[backends.{backend}.directories.{name}]`: `{}` holds {} of this host, which no plugin may {}; grant a folder in it instead",
                directory.path.display(),
                found.unwrap_or_default(),
                if directory.write { "change" } else { "read" },
            );
        }
    }
    Ok(())
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    there.map_or(absolute.clone(), |(above, real)| real.join(absolute.strip_prefix(above).unwrap_or(Path::new(""))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_what_the_host_stands_on_is_not_granted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["host/data", "host/plugins", "host/policies", "docs"] {
            std::fs::create_dir_all(at(name)).expect("it can be made");
        }
        std::os::unix::fs::symlink(at("host"), at("link")).expect("it can be made");
        let said = |granted: &Path, write: bool| {
            let text = format!(
                "[backends.files.directories.d]\npath = {granted:?}\nwrite = {write}\n[plugins]\npath = {:?}\n",
                at("host/plugins")
            );
            let config: Config = toml::from_str(&text).expect("well formed");
            check(&config, &at("host/data")).err().map(|error| error.to_string()).unwrap_or_default()
        };
        for (granted, write, reason) in [
            ("docs", true, ""),
            ("host/data", false, "the data folder"),
            ("host", false, "the data folder"),
            ("link", true, "the data folder"),
            ("host/plugins", false, ""),
            ("host/plugins", true, "the plugins"),
            ("host/policies", true, "the policies"),
            ("host/data/files", true, ""),
        ] {
            let said = said(&at(granted), write);
            assert!(if reason.is_empty() { said.is_empty() } else { said.contains(reason) }, "{granted} {write}: {said}");
        }
        assert!(said(folder.path(), true).contains("grant a folder in it instead"));
    }
}
