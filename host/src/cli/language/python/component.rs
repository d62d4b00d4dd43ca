//! From Python modules to a component: built once for each state of the sources, and kept for the next time.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::sources::Sources;
use super::tools;
use crate::model::Digest;

/// What the builder is pointed at: the plugin's module, whose decorators register the tools, and the SDK's half of the contract.
const ENTRY: &str = "import app\nfrom tidegate.component import Tools\n";

/// The name of that module.
const ENTRY_MODULE: &str = "tidegate_entry";

/// The world in the SDK's `wit` folder.
const WORLD: &str = "component";

/// Built components kept; of 18 MiB each.
const KEPT: usize = 16;

/// Puts the plugin in `dir` into a component; returns where that is.
///
/// # Errors
/// The plugin can't be imported, and Python has said why; or the tools are missing, and how to get them.
pub fn compile(dir: &Path) -> Result<PathBuf> {
    let dir = dir.canonicalize().with_context(|| format!("can't find `{}`", dir.display()))?;
    let (sources, sdk) = (Sources::read(&dir)?, Sources::read(&tools::sdk_of(&dir)?)?);
    let folder = tools::home()?.join("components");
    let component = folder.join(format!("{}.wasm", key(&sources, &sdk)));
    // One at a time: two would take twice the memory, and the second often finds what the first has built.
    let _alone = tools::lock("components")?;
    if is_component(&component) {
        // The last to be dropped is the one used last.
        let used = fs::File::options().append(true).open(&component).and_then(|file| file.set_modified(SystemTime::now()));
        used.with_context(|| format!("can't keep `{}`", component.display()))?;
        return Ok(component);
    }
    let work = folder.join("work");
    let _ = fs::remove_dir_all(&work);
    let built = build(&dir, &sources, &sdk, &work);
    let kept = built.and_then(|built| {
        // On the disk before it has its name: a name stands for a whole component, also after a loss of power.
        fs::File::open(&built)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&built, &component))
            .with_context(|| format!("can't write `{}`", component.display()))?;
        drop_oldest(&folder)
    });
    let _ = fs::remove_dir_all(&work);
    kept.map(|()| component)
}

/// Whether there is a component that begins like one.
fn is_component(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\0asm"
}

/// What a component is made of.
fn key(sources: &Sources, sdk: &Sources) -> Digest {
    let files = sources.0.iter().chain(&sdk.0);
    let files = files.flat_map(|(path, text)| [path.as_os_str().as_encoded_bytes(), text.as_slice()]);
    tools::digest(files.chain([tools::BUILDER.as_bytes(), ENTRY.as_bytes()]))
}

/// Runs the builder in the folder `work`; returns what it made there.
fn build(dir: &Path, sources: &Sources, sdk: &Sources, work: &Path) -> Result<PathBuf> {
    let [plugin, entry, library, built] = ["plugin", "entry", "sdk", "built.wasm"].map(|name| work.join(name));
    // Copies: what is built is what was read, and what the plugin writes into these folders, which is all it can reach while it is
    // imported, no other plugin ever reads.
    sources.write(&plugin)?;
    sdk.write(&library)?;
    let dependencies = match tools::dependencies(&plugin)? {
        Some(shared) => {
            let own = work.join("dependencies");
            copy(&shared, &own).with_context(|| format!("can't copy `{}`", shared.display()))?;
            Some(own)
        }
        None => None,
    };
    // An empty environment: what the builder's own holds is no part of the component.
    for folder in [&entry, &work.join("nothing/site-packages")] {
        fs::create_dir_all(folder).with_context(|| format!("can't create `{}`", folder.display()))?;
    }
    fs::write(entry.join(format!("{ENTRY_MODULE}.py")), ENTRY)
        .with_context(|| format!("can't write into `{}`", entry.display()))?;
    let mut command = Command::new(tools::builder()?);
    command.env_remove("PYTHONHOME").env_remove("PYTHONPATH");
    command.arg("--wit-path").arg(library.join("wit")).args(["--world", WORLD, "--quiet", "componentize", ENTRY_MODULE]);
    for path in [Some(plugin), Some(entry), Some(library.join("python")), dependencies].into_iter().flatten() {
        command.arg("--python-path").arg(path);
    }
    command.arg("--output").arg(&built).env("VIRTUAL_ENV", work.join("nothing")).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    let output = command.output().context("can't run `componentize-py`")?;
    if !output.status.success() {
        bail!("`{}` can't be put into a component:\n{}", dir.display(), in_the_authors_paths(&tools::said(&output), dir));
    }
    Ok(built)
}

/// Copies a folder that pip made.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// What the builder said, without its own stack, and with the plugin's files where the author knows them.
fn in_the_authors_paths(said: &str, dir: &Path) -> String {
    let said = said.split_once("AssertionError: ").map_or(said, |(_, said)| said);
    let said = said.split_once("\nCaused by:").map_or(said, |(said, _)| said).trim();
    // Inside, the folders are numbered in the order in which they were named; the plugin's is the first.
    said.replace("\"/0/", &format!("\"{}/", dir.display()))
}

fn drop_oldest(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("can't read `{}`", folder.display()))?;
    let files =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "wasm"));
    let mut files: Vec<_> = files.filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).collect();
    files.sort_by(|one, other| other.cmp(one));
    for (_, path) in files.iter().skip(KEPT) {
        fs::remove_file(path).with_context(|| format!("can't remove `{}`", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_builder_said_is_told_without_its_stack_and_in_the_authors_paths() {
        let said = "Traceback (most recent call last):\n  File \"/v/bin/componentize-py\", line 8, in <module>\nAssertionError: Traceback \
                    (most recent call last):\n  File \"/0/app.py\", line 2\nSyntaxError: invalid syntax\n\n\nCaused by:\n    it";
        let told = in_the_authors_paths(said, Path::new("/home/me/greet"));
        assert_eq!(
            told,
            "Traceback (most recent call last):\n  File \"/home/me/greet/app.py\", line 2\nSyntaxError: invalid syntax"
        );
        assert_eq!(in_the_authors_paths("no disk", Path::new("/x")), "no disk");
    }

    #[test]
    fn only_the_newest_components_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |n: usize| folder.path().join(format!("{n}.wasm"));
        for n in 0..KEPT + 3 {
            let made = fs::File::create(file(n)).expect("writable");
            made.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64)).expect("a time");
        }
        drop_oldest(folder.path()).expect("removable");
        assert!((0..KEPT + 3).all(|n| file(n).exists() == (n >= 3)));
    }
}
