//! The SDK in a plugin's folder: written out by this program, since nothing of it is on a registry, and known by its digest.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use crate::model::Digest;

/// The file in the folder that says which SDK it is.
const STAMP: &str = "VERSION";

/// The longest stamp that is read, in bytes.
const MAX_STAMP: usize = 256;

/// The SDK of a language, as this program carries it.
pub struct Sdk {
    /// Paths in the SDK's folder, and what stands there.
    pub files: Vec<(&'static str, Cow<'static, str>)>,
}

/// How the SDK in a plugin's folder compares with this program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none that this program, or another version of it, has written.
    Absent,
    /// It is this program's.
    Current,
    /// It is that of another `tidegate`.
    Other {
        /// Of which version.
        version: String,
    },
}

impl Sdk {
    /// Writes the SDK into the plugin's folder, in the place of one that is there.
    ///
    /// # Errors
    /// Something can't be written; what was there is there still.
    pub fn write(&self, plugin: &Path) -> Result<()> {
        let (target, id) = (folder(plugin), std::process::id());
        let (begun, old) = (plugin.join(format!(".sdk.tmp{id}")), plugin.join(format!(".sdk.old{id}")));
        let written = self.write_into(&begun).and_then(|()| {
            let had = target.exists();
            if had {
                std::fs::rename(&target, &old)?;
            }
            std::fs::rename(&begun, &target).inspect_err(|_| {
                if had {
                    let _ = std::fs::rename(&old, &target);
                }
            })
        });
        let _ = std::fs::remove_dir_all(&begun);
        let _ = std::fs::remove_dir_all(&old);
        written.with_context(|| format!("can't write `{}`", target.display()))
    }

    fn write_into(&self, dir: &Path) -> std::io::Result<()> {
        let stamp = format!("{} {}\n", env!("CARGO_PKG_VERSION"), self.digest());
        let files = self.files.iter().map(|(path, text)| (*path, text.as_ref()));
        for (path, text) in files.chain([(STAMP, stamp.as_str())]) {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
            std::fs::write(path, text)?;
        }
        Ok(())
    }

    /// What this SDK is known by.
    fn digest(&self) -> Digest {
        let mut digest = Sha256::new();
        for (path, text) in &self.files {
            for part in [path.as_bytes(), text.as_bytes()] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        Digest(digest.finalize().into())
    }

    /// How the SDK in a plugin's folder compares with this one.
    pub fn state(&self, plugin: &Path) -> State {
        let stamp = std::fs::read_to_string(folder(plugin).join(STAMP)).ok().filter(|stamp| stamp.len() <= MAX_STAMP);
        let Some((version, digest)) = stamp.as_deref().and_then(|stamp| stamp.trim().split_once(' ')) else {
            return State::Absent;
        };
        match digest == self.digest().to_string() {
            true => State::Current,
            false => State::Other { version: version.to_owned() },
        }
    }

    /// What there is to say about the SDK in a plugin's folder before it is built with.
    pub fn advice(&self, plugin: &Path) -> Option<String> {
        let State::Other { version } = self.state(plugin) else { return None };
        let (folder, own) = (folder(plugin), env!("CARGO_PKG_VERSION"));
        let numbers = |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u64>>();
        Some(match numbers(&version) > numbers(own) {
            true => format!("the SDK in `{}` is of tidegate {version}, newer than this one, {own}", folder.display()),
            false => format!(
                "the SDK in `{}` is of an earlier tidegate ({version}; this is {own}); `tidegate new --update-sdk {}` brings it up \
                 to date",
                folder.display(),
                plugin.display()
            ),
        })
    }
}

/// Where the SDK lies in a plugin's folder.
pub fn folder(plugin: &Path) -> PathBuf {
    plugin.join("sdk")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdk(text: &'static str) -> Sdk {
        Sdk { files: vec![("rust/src/lib.rs", text.into())] }
    }

    #[test]
    fn an_sdk_of_another_program_is_told_and_replaced_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plugin = folder.path();
        assert_eq!((sdk("1").state(plugin), sdk("1").advice(plugin)), (State::Absent, None));
        let old = Sdk { files: vec![("rust/src/lib.rs", "0".into()), ("rust/src/gone.rs", "".into())] };
        old.write(plugin).expect("writable");
        assert_eq!(old.state(plugin), State::Current);
        assert_eq!(sdk("1").state(plugin), State::Other { version: env!("CARGO_PKG_VERSION").to_owned() });
        assert!(sdk("1").advice(plugin).expect("it is another").contains("tidegate new --update-sdk"));
        sdk("1").write(plugin).expect("writable");
        assert_eq!((sdk("1").state(plugin), sdk("1").advice(plugin)), (State::Current, None));
        assert_eq!(std::fs::read_to_string(plugin.join("sdk/rust/src/lib.rs")).expect("it is there"), "1");
        assert!(!plugin.join("sdk/rust/src/gone.rs").exists(), "what an earlier SDK had and this one has not is gone");
        assert_eq!(std::fs::read_dir(plugin).expect("readable").count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_newer_sdk_is_not_called_an_earlier_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        sdk("1").write(folder.path()).expect("writable");
        std::fs::write(folder.path().join("sdk/VERSION"), "999.0.0 sha256:00\n").expect("writable");
        assert!(sdk("1").advice(folder.path()).expect("it is another").contains("newer than this one"));
    }
}
