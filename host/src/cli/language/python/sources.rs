//! The sources of a plugin in Python: all that may end up in its component.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What lies in the plugin's folder and is no part of its component. What begins with a dot is none either.
const ELSEWHERE: [&str; 8] = ["build", "dist", "node_modules", "plugin.toml", "sdk", "target", "tests", "venv"];

/// Where policies lie that `tidegate dev` serves the plugin under; they are the host's.
const POLICIES: &str = "policies";

/// What Python leaves in every folder.
const CACHE: &str = "__pycache__";

/// The most files a plugin may have.
const MAX_FILES: usize = 10_000;

/// The most bytes they may have together.
const MAX_BYTES: u64 = 64 << 20;

/// Files by their paths in the plugin's folder, in the order of these.
pub struct Sources(pub Vec<(PathBuf, Vec<u8>)>);

impl Sources {
    /// Reads them.
    ///
    /// # Errors
    /// One can't be read, or there are too many.
    pub fn read(dir: &Path) -> Result<Self> {
        let (mut files, mut bytes) = (Vec::new(), 0);
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let path = dir.join(&folder);
            let entries = fs::read_dir(&path).with_context(|| format!("can't read `{}`", path.display()))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("can't read `{}`", path.display()))?;
                let name = entry.file_name();
                let shown = name.to_string_lossy();
                let path = folder.join(&name);
                let kind = entry.file_type().with_context(|| format!("can't read `{}`", dir.join(&path).display()))?;
                // A link may lead anywhere, and in a circle.
                let is_elsewhere = folder.as_os_str().is_empty() && ELSEWHERE.contains(&shown.as_ref());
                if is_elsewhere && shown != "tests" && dir.join(&path).join("__init__.py").exists() {
                    bail!("`{}` is left out of components, so no package can be called `{shown}`", dir.join(&path).display());
                }
                if kind.is_symlink() && shown.ends_with(".py") {
                    bail!("`{}` is a link, which may lead anywhere; put the module itself there", dir.join(&path).display());
                }
                if is_elsewhere || shown.starts_with('.') || shown == CACHE || kind.is_symlink() {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file()
                    && !shown.ends_with(".wasm")
                    && !(folder == Path::new(POLICIES) && shown.ends_with(".cedar"))
                {
                    files.push(path);
                }
            }
        }
        files.sort();
        if files.len() > MAX_FILES {
            bail!("`{}` holds more than {MAX_FILES} files; a plugin's folder holds the plugin alone", dir.display());
        }
        let mut sources = Vec::with_capacity(files.len());
        for file in files {
            let path = dir.join(&file);
            bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if bytes > MAX_BYTES {
                bail!("`{}` holds more than {} MiB; a plugin's folder holds the plugin alone", dir.display(), MAX_BYTES >> 20);
            }
            let text = fs::read(&path).with_context(|| format!("can't read `{}`", path.display()))?;
            sources.push((file, text));
        }
        Ok(Self(sources))
    }

    /// Writes a copy into `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (file, text) in &self.0 {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap_or(folder))
                .and_then(|()| fs::write(&path, text))
                .with_context(|| format!("can't write `{}`", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_missing_in_the_component_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("build")).expect("it can be made");
        fs::write(folder.path().join("build/__init__.py"), "").expect("writable");
        let error = Sources::read(folder.path()).err().expect("it would be left out").to_string();
        assert!(error.contains("no package can be called `build`"), "{error}");
        fs::remove_dir_all(folder.path().join("build")).expect("removable");
        std::os::unix::fs::symlink("/etc/hosts", folder.path().join("linked.py")).expect("a link");
        let error = Sources::read(folder.path()).err().expect("it would be left out").to_string();
        assert!(error.contains("linked.py` is a link"), "{error}");
    }

    #[test]
    fn sources_are_what_the_author_wrote_for_the_component() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let put = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            fs::write(path, "x").expect("writable");
        };
        for path in ["app.py", "data/rates.json", "inner/tests/of_inner.py", "inner/__init__.py", "policies/rules.py"] {
            put(path);
        }
        for path in [
            "plugin.toml",
            "greet.wasm",
            ".git/config",
            ".env",
            "tests/test_app.py",
            "sdk/python/tidegate/tool.py",
            "inner/__pycache__/x",
            "policies/walls.cedar",
        ] {
            put(path);
        }
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).expect("a link");
        let found: Vec<_> = Sources::read(folder.path()).expect("readable").0.into_iter().map(|(path, _)| path).collect();
        let own = ["app.py", "data/rates.json", "inner/__init__.py", "inner/tests/of_inner.py", "policies/rules.py"];
        assert_eq!(found, own.map(PathBuf::from));
    }
}
