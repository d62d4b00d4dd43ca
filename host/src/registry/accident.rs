//! What nobody is likely to have meant: folders that vanish, files that are emptied.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::digests;
use crate::model::{Digest, LoadProblem, PolicyFileDigest};
use crate::policy::PolicyFile;

/// Whether any of the files is one of policies, rather than of users and groups.
pub fn holds_policies(files: &[PolicyFileDigest]) -> bool {
    files.iter().any(|file| Path::new(&file.file).extension().is_some_and(|extension| extension == "cedar"))
}

/// Refuses what an admin is unlikely to have meant, and what an accident looks like.
pub fn beware(folder: &Path, files: &[PolicyFile], in_force: &[PolicyFileDigest]) -> Result<(), Vec<LoadProblem>> {
    let problem = |file: Option<&Path>, message: String, help: &str| LoadProblem {
        file: file.map(|file| file.display().to_string()),
        help: Some(help.to_owned()),
        ..LoadProblem::new(message)
    };
    if holds_policies(in_force) && !holds_policies(&digests(files)) {
        let message = format!("the policy folder `{}` is empty; what was in force stays in force", folder.display());
        let help = "to drop all policies on purpose, leave one file, such as `none.cedar`, that holds only a comment";
        return Err(vec![problem(None, message, help)]);
    }
    let known: BTreeMap<&str, &Digest> = in_force.iter().map(|file| (file.file.as_str(), &file.sha256)).collect();
    let nothing = Digest(Sha256::digest(b"").into());
    let emptied = files.iter().filter(|file| {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        file.text.is_empty() && known.get(&*name).is_some_and(|digest| **digest != nothing)
    });
    let emptied: Vec<_> = emptied
        .map(|file| {
            let message = format!("`{}` held policies and is empty now, as a file is that is being written", file.path.display());
            problem(Some(&file.path), message, "to drop its policies on purpose, delete it, or leave a comment in it")
        })
        .collect();
    if emptied.is_empty() { Ok(()) } else { Err(emptied) }
}
