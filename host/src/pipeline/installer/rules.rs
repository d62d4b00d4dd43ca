//! What may be installed: from whom, how far it may widen unasked, and how much of it is kept.

use std::path::PathBuf;
use std::time::SystemTime;

use super::NotDone;
use crate::model::{Standing, document};
use crate::registry::artifact::{self, Artifact, FetchLimits, Trust, Unsigned, Vouched};
use crate::registry::installed::InstallError;

/// The operator's rules.
#[derive(Clone, Debug)]
pub struct InstallRules {
    /// The file of standing approvals.
    pub approvals: Option<PathBuf>,
    /// How many versions of a plugin are kept.
    pub keep: usize,
    /// The trust file.
    pub trust: Option<PathBuf>,
    /// Whether a plugin may be installed that nobody vouches for.
    pub unsigned: Unsigned,
    /// What fetching a plugin may take.
    pub limits: FetchLimits,
}

impl InstallRules {
    /// What stands approved, as the file says at this moment. Touches the disk.
    ///
    /// # Errors
    /// It can't be read, or makes no sense.
    pub fn standing(&self) -> Result<Standing, NotDone> {
        let Some(path) = &self.approvals else { return Ok(Standing::default()) };
        let unreadable = |source| InstallError::Unreadable { path: path.clone(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Ok(document::parse(path, &text)?)
    }

    /// Who vouches for the files of `artifact`, as the trust file says at this moment; nobody, if strangers are let in. Touches the disk.
    ///
    /// # Errors
    /// Nobody does who would have to, or something in it contradicts who signed it; or the trust file makes no sense.
    pub fn vouched(&self, artifact: &Artifact, now: SystemTime) -> Result<Option<Vouched>, NotDone> {
        let trust = match &self.trust {
            Some(path) => Trust::open(path)?,
            None => Trust::default(),
        };
        match artifact::verify(artifact, &trust, now) {
            Ok(vouched) => Ok(Some(vouched)),
            Err(refusal) if refusal.is_of_a_stranger() && self.unsigned == Unsigned::Allow => Ok(None),
            Err(refusal) => Err(NotDone::Untrusted { plugin: artifact.manifest.name.clone(), refusal }),
        }
    }
}
