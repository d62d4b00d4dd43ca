//! Changing the policies of a running host: another set, compiled against the same tools, takes effect whole or not at all.
//!
//! What an admin can do to the folder, and what comes of it:
//!
//! - **A file is saved, added or deleted.** The folder's files as they are then are compiled together. Good: they take effect.
//!   Not good: what was in force stays in force, and the refusal is visible until the folder is good again.
//! - **The last file is deleted, or the folder vanishes.** Refused: that is also what a lost volume and a half-done `rm -r` look
//!   like, and walls must not fall by accident. To drop all policies on purpose, leave one file that holds only a comment.
//! - **A file that held something is emptied.** Refused: it looks like one that is being written. Whoever means it deletes it.
//! - **Files are missing, others are there.** It takes effect when the folder is still the same a moment later: whoever replaces all
//!   files one by one opens no window in which only some of the walls stand.
//! - **The folder is put back as it was.** What is in force is what is written; the refusal is over, nothing else happens.
//!
//! Calls that have started finish on the generation they started on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Generation, Registry, load};
use crate::model::{
    ChangeSource, Digest, PolicyChange, PolicyFileDigest, PolicyProblem, PolicyRefusal, PolicyVersion, Timestamp,
};
use crate::policy::{GeneratedPermits, PolicyError, PolicyFile};

/// Compiles the policy folder anew for a registry.
#[derive(Clone)]
pub struct Reloader {
    registry: Arc<Registry>,
    folder: PathBuf,
    permits: GeneratedPermits,
}

/// A set of policies that compiles, with all that belongs to it, not yet in force.
pub struct Candidate {
    generation: Generation,
    change: PolicyChange,
}

/// What a look at the folder came to.
pub enum Look {
    /// The folder holds what is in force.
    Unchanged,
    /// The folder holds another set, which compiles.
    Changed(Box<Candidate>),
    /// The folder holds nothing that could take effect.
    Refused(PolicyRefusal),
}

impl Reloader {
    /// A reloader of `folder`, with or without the permits that follow from the manifests.
    pub fn new(registry: Arc<Registry>, folder: PathBuf, permits: GeneratedPermits) -> Self {
        Self { registry, folder, permits }
    }

    /// The folder it reads.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads the folder and compiles what it holds, if that is not what is in force. Takes a moment of CPU and touches the disk.
    pub fn look(&self, source: ChangeSource) -> Look {
        let current = self.registry.current();
        match self.candidate(&current, source) {
            Ok(None) => Look::Unchanged,
            Ok(Some(candidate)) => Look::Changed(Box::new(candidate)),
            Err(problems) => Look::Refused(PolicyRefusal::new(Timestamp::now(), source, problems)),
        }
    }

    fn candidate(&self, current: &Generation, source: ChangeSource) -> Result<Option<Candidate>, Vec<PolicyProblem>> {
        let files = PolicyFile::read_folder(&self.folder).map_err(|error| problems(&error))?;
        let digests = digests(&files);
        if digests == current.policy_files {
            return Ok(None);
        }
        beware_of_accidents(&self.folder, &files, &current.policy_files)?;
        let policies = load::compile_policies(&current.tools, &files, self.permits).map_err(|error| problems(&error))?;
        let before = current.policy_version();
        let after = PolicyVersion { generation: before.generation + 1, policies: policies.hash() };
        let change = PolicyChange::new(source, (Some(before), &current.policy_files), (after, &digests));
        let generation = Generation {
            number: after.generation,
            plugins: current.plugins.clone(),
            tools: current.tools.clone(),
            policies: Arc::new(policies),
            policy_files: digests,
            policies_from: source,
            policies_since: Timestamp::now(),
        };
        Ok(Some(Candidate { generation, change }))
    }

    /// The folder holds what is in force; a refusal that stood is over.
    pub fn confirm(&self) {
        self.registry.update_status(|status| status.standing = false);
    }

    /// What was found can't take effect. Shows it to whoever asks for the status.
    pub fn refuse(&self, refusal: PolicyRefusal) {
        let refusal = Arc::new(refusal);
        self.registry.update_status(|status| {
            status.refusals += 1;
            status.standing = true;
            status.refusal = Some(refusal.clone());
        });
    }

    /// Puts the candidate in force, once `record` has written that down. One at a time: a candidate is a change of what was in
    /// force when it was made.
    ///
    /// # Errors
    /// What `record` answers with: no record, no change.
    pub async fn adopt<E>(
        &self,
        candidate: Candidate,
        record: impl AsyncFnOnce(&PolicyChange) -> Result<(), E>,
    ) -> Result<(), E> {
        record(&candidate.change).await?;
        self.registry.replace(candidate.generation);
        self.registry.update_status(|status| {
            status.reloads += 1;
            status.standing = false;
        });
        Ok(())
    }
}

impl Candidate {
    /// What would change.
    pub fn change(&self) -> &PolicyChange {
        &self.change
    }

    /// The files it was made of.
    pub fn files(&self) -> &[PolicyFileDigest] {
        &self.generation.policy_files
    }
}

/// What `error` tells, one by one.
pub fn problems(error: &PolicyError) -> Vec<PolicyProblem> {
    let problems = error.problems().iter().map(|problem| PolicyProblem {
        file: problem.place.as_ref().map(|place| place.file.clone()),
        line: problem.place.as_ref().map(|place| place.line),
        column: problem.place.as_ref().map(|place| place.column),
        excerpt: problem.place.as_ref().map(|place| place.excerpt.clone()),
        message: problem.message.clone(),
        help: problem.help.clone(),
    });
    problems.collect()
}

/// The files by their names in the folder, sorted, with the digests of their contents.
pub fn digests(files: &[PolicyFile]) -> Vec<PolicyFileDigest> {
    let digest = |file: &PolicyFile| PolicyFileDigest {
        file: file.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: Digest(Sha256::digest(file.text.as_bytes()).into()),
    };
    let mut digests: Vec<_> = files.iter().map(digest).collect();
    digests.sort();
    digests
}

/// Whether any of the files is one of policies, rather than of users and groups.
pub fn holds_policies(files: &[PolicyFileDigest]) -> bool {
    files.iter().any(|file| Path::new(&file.file).extension().is_some_and(|extension| extension == "cedar"))
}

/// Refuses what an admin is unlikely to have meant, and what an accident looks like.
fn beware_of_accidents(folder: &Path, files: &[PolicyFile], in_force: &[PolicyFileDigest]) -> Result<(), Vec<PolicyProblem>> {
    let problem = |file: Option<&Path>, message: String, help: &str| PolicyProblem {
        file: file.map(|file| file.display().to_string()),
        help: Some(help.to_owned()),
        ..PolicyProblem::new(message)
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
