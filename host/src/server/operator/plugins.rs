//! What the operator does to installed plugins: install one, go back, remove one; and what is installed.
//!
//! The same on a live host, and on the data folder of a stopped one.

mod installer;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ledger::LedgerError;
use crate::model::{Change, Digest, DocumentError};
use crate::registry::installed::{InstallError, InstalledSet, Version};
use crate::registry::load::LoadError;

pub use installer::Installer;

/// Installs a plugin, or another version of one: [`Install`] → [`Done`].
pub const INSTALL: &str = "tidegate/plugin/install";
/// Goes back to a version that is kept: [`Rollback`] → [`Done`].
pub const ROLLBACK: &str = "tidegate/plugin/rollback";
/// Removes a plugin with all its versions: [`Remove`] → [`Done`].
pub const REMOVE: &str = "tidegate/plugin/remove";
/// What is installed → [`Listed`].
pub const LIST: &str = "tidegate/plugin/list";

/// What to install.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// Where it is: an absolute path.
    pub source: String,
    /// What is approved of what has to be.
    #[serde(default)]
    pub approve: Option<Approve>,
}

/// What the operator approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approve {
    /// Whatever the answer shows.
    Shown,
    /// These contents and no others: what was shown before.
    Digest(Digest),
}

/// Where to go back to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The plugin.
    pub name: String,
    /// A version or a digest; what was in force before, if none is named.
    #[serde(default)]
    pub to: Option<String>,
}

/// What to remove.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The plugin.
    pub name: String,
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
        let listed = set.plugins.into_iter().flat_map(|(name, history)| {
            let active = history.active;
            history.versions.into_iter().map(move |version| Self {
                name: name.clone(),
                active: version.digest == active,
                version,
            })
        });
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
    /// It is not understood.
    #[error("`{method}` is not asked like that: {problem}")]
    Question {
        /// The method.
        method: String,
        /// What is wrong with its parameters.
        problem: String,
    },
}

/// Does what one method asks for, in the name of `by`.
///
/// # Errors
/// It is no such method, has other parameters, or can't be done; nothing has changed then.
pub async fn answer(installer: &Installer, by: &str, method: &str, params: Value) -> Result<Value, NotDone> {
    match method {
        INSTALL => Ok(json!(installer.install(by, read(method, params)?).await?)),
        ROLLBACK => Ok(json!(installer.roll_back(by, read(method, params)?).await?)),
        REMOVE => Ok(json!(installer.remove(by, read(method, params)?).await?)),
        LIST => Ok(json!(installer.list().await?)),
        _ => Err(NotDone::Question { method: method.to_owned(), problem: "there is no such method".to_owned() }),
    }
}

fn read<T: serde::de::DeserializeOwned>(method: &str, params: Value) -> Result<T, NotDone> {
    serde_json::from_value(params).map_err(|error| NotDone::Question { method: method.to_owned(), problem: error.to_string() })
}
