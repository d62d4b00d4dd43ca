//! What is asked of an installation, and what comes of it.

use serde::{Deserialize, Serialize};

use crate::ledger::LedgerError;
use crate::model::{Change, Digest, DocumentError, LoadRefusal};
use crate::registry::LoadError;
use crate::registry::artifact::{ArtifactError, Refusal, TrustError};
use crate::registry::installed::{History, InstallError, InstalledSet, Version};

/// What the operator approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approve {
    /// Whatever the answer shows.
    Shown,
    /// These contents and no others: what was shown before.
    Contents {
        /// Their digest.
        after: Digest,
        /// What was in force when it was shown what they widen; nothing was, if that is not said.
        #[serde(default)]
        before: Option<Digest>,
    },
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Whether it was done.
    pub state: State,
    /// The plugin.
    pub plugin: String,
    /// What was in force before.
    pub before: Option<Contents>,
    /// What is in force now, or would be.
    pub after: Option<Contents>,
    /// How the two differ, gravest first.
    pub changes: Vec<Change>,
    /// Those that still have to be approved.
    pub unapproved: Vec<Change>,
    /// Who signed it, if that was looked at.
    pub signed_by: Option<String>,
    /// Why others keep a stopped host from starting, until they are put right as well. The policies were not checked then: they may
    /// speak of those.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// Whether something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is in force.
    Done,
    /// It is in force already.
    Unchanged,
    /// Nothing was done: something has to be approved first.
    Unapproved,
}

/// One version by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// What its author calls it.
    pub version: String,
    /// The digest of all its files.
    pub sha256: Digest,
}

/// One version that is kept, as listings show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// The plugin's name.
    pub name: String,
    /// Whether this version is in force.
    pub active: bool,
    /// What is known of the version.
    #[serde(flatten)]
    pub version: Version,
}

impl Listed {
    /// Every version that is kept, by plugin and in the order in which they came.
    pub fn all(set: InstalledSet) -> Vec<Self> {
        set.plugins.into_iter().flat_map(|(name, history)| Self::of(&name, history)).collect()
    }

    /// Every version of the plugin `name` that is kept, in the order in which they came.
    pub fn of(name: &str, history: History) -> Vec<Self> {
        let active = history.active;
        let listed =
            history.versions.into_iter().map(|version| Self { name: name.to_owned(), active: version.digest == active, version });
        listed.collect()
    }
}

/// Why it was not done. What was in force stays so.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// The plugin, or what is installed, is not in order.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// With it, no host could serve.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The same, as a live host found out.
    #[error("{}", .0.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(LoadRefusal),
    /// It can't be had from there.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The trust file is broken.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Nobody vouches for it who is trusted.
    #[error("plugin `{plugin}`: {refusal}")]
    Untrusted {
        /// The plugin.
        plugin: String,
        /// Why nobody does.
        refusal: Refusal,
    },
    /// It can't be written down.
    #[error("it can't be written down, so it is not done: {0}")]
    Ledger(#[from] LedgerError),
    /// The standing approvals are broken.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// What was approved is something else.
    #[error("what was approved is sha256:{approved}, but what is there now is sha256:{found}; look at it again")]
    Other {
        /// The digest that was approved.
        approved: Digest,
        /// The digest found.
        found: Digest,
    },
    /// It was compared with something else than what is in force by now.
    #[error(
        "what was approved was {}, but by now {}; look at it again",
        .compared.map_or("to be new".to_owned(), |digest| format!("compared with sha256:{digest}")),
        .in_force.map_or("nothing of that name is in force".to_owned(), |digest| format!("sha256:{digest} is in force"))
    )]
    Moved {
        /// What was in force when it was shown; none if nothing was.
        compared: Option<Digest>,
        /// What is in force now.
        in_force: Option<Digest>,
    },
}
