//! Directories that plugins are granted keep clear of what the host itself stands on, and of each other.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::config::Config;

/// The folder in the data folder with the copies of what plugins ship to be tried. It is for them, and the host needs nothing in it.
pub const DEMO: &str = "demo";

/// Whether what is granted leaves the host's own files alone: nobody reads its store and keys as files, and nobody rewrites through a
/// tool what it loads or believes. And whether what one grant keeps from being changed, no other opens.
///
/// # Errors
/// The first directory that overlaps with some of them.
pub fn check(config: &Config, data: &Path) -> Result<()> {
    let own: Vec<_> = own(config, data).into_iter().map(|(what, path)| (what, real(&path))).collect();
    let demo = real(&data.join(DEMO));
    let mut granted: Vec<(String, PathBuf, bool)> = Vec::new();
    for (backend, settings) in &config.backends {
        for (name, directory) in settings.directories() {
            let (here, path) = (format!("backends.{backend}.directories.{name}"), real(&directory.path));
            let shown = directory.path.display();
            let is_demo = path.starts_with(&demo) && path != demo;
            if let Some((what, its)) = own.iter().find(|(_, its)| overlap(&path, its)).filter(|_| !is_demo) {
                let how = if its.starts_with(&path) { "holds" } else { "lies in" };
                anyhow::bail!(
                    "`[{here}]`: `{shown}` {how} {what} of this host, which no plugin may read or change; grant another folder"
                );
            }
            // Their changes would not wait for each other, and what is for reading here could be written there.
            let other = granted.iter().find(|(_, other, is_written)| (*is_written || directory.write) && overlap(&path, other));
            ensure!(
                other.is_none(),
                "`[{here}]`: `{shown}` overlaps with that of `[{}]`, and what is written to is granted once; give one of them up, or \
                 grant folders that lie apart",
                other.map(|(other, ..)| other.as_str()).unwrap_or_default()
            );
            granted.push((here, path, directory.write));
        }
    }
    Ok(())
}

/// What the host stands on.
fn own(config: &Config, data: &Path) -> Vec<(&'static str, PathBuf)> {
    let paths = [
        ("the data folder", Some(data.to_owned())),
        ("the plugins", Some(config.plugins.path.clone())),
        ("the policies", config.policy_folder()),
        ("the configuration", config.file.clone()),
        ("the trusted keys", config.plugins.trust.clone()),
        ("the approvals", config.plugins.approvals.clone()),
        ("the admin token", config.admin.token_file.clone()),
        ("the checkpoints", config.ledger.checkpoint_copy.clone()),
    ];
    let secrets = config.backends.values().flat_map(|backend| backend.files());
    let paths = paths.into_iter().filter_map(|(what, path)| Some((what, path?)));
    paths.chain(secrets.map(|path| ("a secret or certificate", path.to_owned()))).collect()
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
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

    /// What is said of these grants in a host that lies in the folder.
    fn said(folder: &Path, grants: &[(&str, bool)]) -> String {
        let at = |name: &str| folder.join(name);
        let grants: String = grants
            .iter()
            .enumerate()
            .map(|(n, (path, write))| format!("[backends.b{n}.directories.d]\npath = {:?}\nwrite = {write}\n", at(path)))
            .collect();
        let text = format!(
            "{grants}[plugins]\npath = {:?}\n[backends.pay]\nurl = \"https://pay\"\ncredential.file = {:?}\n",
            at("host/plugins"),
            at("secrets/key"),
        );
        let mut config: Config = toml::from_str(&text).expect("well formed");
        config.file = Some(at("etc/tidegate.toml"));
        check(&config, &at("host/data")).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_directory_that_overlaps_with_what_the_host_stands_on_is_not_granted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["host/data/store", "host/plugins", "host/policies", "docs", "etc"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("it can be made");
        }
        std::os::unix::fs::symlink(folder.path().join("host"), folder.path().join("link")).expect("it can be made");
        for (granted, reason) in [
            ("docs", ""),
            ("etc/sub", ""),
            ("host/data/demo/files/files", ""),
            ("host/data/demo", "lies in the data folder"),
            ("host/data", "the data folder"),
            ("host/data/store", "lies in the data folder"),
            ("host/data/keys/none-yet", "lies in the data folder"),
            ("host", "holds the data folder"),
            ("link", "holds the data folder"),
            ("link/plugins/invoices", "lies in the plugins"),
            ("host/policies", "the policies"),
            ("host/data/compiled", "lies in the data folder"),
            ("etc", "holds the configuration"),
            ("secrets", "holds a secret"),
            ("", "holds the data folder"),
        ] {
            for write in [false, true] {
                let said = said(folder.path(), &[(granted, write)]);
                assert!(if reason.is_empty() { said.is_empty() } else { said.contains(reason) }, "{granted} {write}: {said}");
            }
        }
    }

    #[test]
    fn what_is_written_to_is_granted_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (grants, is_refused) in [
            ([("docs", false), ("docs/a", false)], false),
            ([("docs", false), ("docs/a", true)], true),
            ([("docs", true), ("docs/a", false)], true),
            ([("docs", true), ("docs", true)], true),
            ([("docs", true), ("docs-of-others", true)], false),
        ] {
            let said = said(folder.path(), &grants);
            assert_eq!(said.contains("overlaps with that of `[backends.b0.directories.d]`"), is_refused, "{grants:?}: {said}");
        }
    }
}
