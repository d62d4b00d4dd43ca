//! The policy folder: which files count, and reading them whole or not at all.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::problem::{PolicyError, Problem};
use crate::model::document::nearest;

/// The file that tells about users and groups.
const ENTITIES: &str = "entities.json";
/// The most policy files of one folder.
const FILES: usize = 1000;
/// The most entries of one folder that are looked at.
pub const ENTRIES: usize = 10_000;
/// The largest policy file, in bytes.
const POLICY_BYTES: u64 = 1 << 20;
/// The largest entities file, in bytes.
const ENTITIES_BYTES: u64 = 8 << 20;

/// One text that an admin wrote: policies, or, if it is called `entities.json`, users and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Where it is from; errors name it as written here.
    pub path: PathBuf,
    /// The text, in Cedar's syntax or in JSON.
    pub text: String,
}

impl PolicyFile {
    /// Every `*.cedar` of `folder` and its `entities.json`, sorted by name. Names with a leading dot (an editor's) are skipped.
    ///
    /// Links are followed, wherever they lead: mounted configuration is made of them.
    ///
    /// # Errors
    /// One problem for each file that cannot be read whole, or that looks as if it were meant to count and does not: then none is
    /// used.
    pub fn read_folder(folder: &Path) -> Result<Vec<Self>, PolicyError> {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for path in paths(folder, &mut problems)? {
            match read(&path) {
                Ok(text) => files.push(Self { path, text }),
                Err(reason) => problems.push(Problem::new(format!("`{}` {reason}", path.display()))),
            }
        }
        PolicyError::of(problems).map_or(Ok(files), Err)
    }

    /// Whether it tells about users and groups.
    pub(super) fn is_entities(&self) -> bool {
        is_entities(&self.path)
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }
}

fn is_entities(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == ENTITIES)
}

fn is_policy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cedar")
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn paths(folder: &Path, problems: &mut Vec<Problem>) -> Result<Vec<PathBuf>, PolicyError> {
    let mut paths = Vec::new();
    for path in entries(folder)? {
        if is_hidden(&path) {
            continue;
        }
        if is_policy(&path) || is_entities(&path) {
            paths.push(path);
        } else if path.is_dir() {
            // What stands there would look as if it were in force.
            if entries(&path).is_ok_and(|inner| inner.iter().any(|path| is_policy(path) && !is_hidden(path))) {
                problems.push(
                    Problem::new(format!(
                        "`{}` holds policies, but folders within the policy folder are not read",
                        path.display()
                    ))
                    .help("move its files up, next to the others"),
                );
            }
        } else if let Some(meant) = meant(&path) {
            problems.push(
                Problem::new(format!("`{}` is neither a policy file nor the entities file", path.display()))
                    .help(format!("did you mean `{meant}`?")),
            );
        }
    }
    if paths.len() > FILES {
        let problem = format!("the policy folder `{}` holds more than {FILES} policy files", folder.display());
        return Err(Problem::new(problem).into());
    }
    paths.sort();
    Ok(paths)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let unreadable = |error: std::io::Error| -> PolicyError {
        let problem = Problem::new(format!("the policy folder `{}` cannot be read: {error}", folder.display()));
        problem.help("create it, or name another; an empty folder is fine").into()
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
        if paths.len() > ENTRIES {
            let problem = format!("the policy folder `{}` holds more than {ENTRIES} entries", folder.display());
            return Err(Problem::new(problem).help("keep policies in a folder of their own").into());
        }
    }
    Ok(paths)
}

/// The name that was likely meant, if the file's own is close to one that counts.
fn meant(path: &Path) -> Option<String> {
    let (name, stem) = (path.file_name()?.to_str()?, path.file_stem()?.to_str()?);
    if nearest(&name.to_ascii_lowercase(), [ENTITIES]).is_some() {
        return Some(ENTITIES.to_owned());
    }
    let extension = path.extension()?.to_str()?;
    let is_close = !name.ends_with('~') && nearest(&extension.to_ascii_lowercase(), ["cedar"]).is_some();
    is_close.then(|| format!("{stem}.cedar"))
}

fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // A pipe would block the host, a device may do anything: known before it is opened, and, as it may change, after.
    let is_file = |kind: fs::Metadata| if kind.is_file() { Ok(()) } else { Err("is not a file".to_owned()) };
    fs::metadata(path).map_err(unreadable).and_then(is_file)?;
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    file.metadata().map_err(unreadable).and_then(is_file)?;
    let most = if is_entities(path) { ENTITIES_BYTES } else { POLICY_BYTES };
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > most {
        return Err(format!("is larger than {} KiB", most >> 10));
    }
    Ok(text)
}
