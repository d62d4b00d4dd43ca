//! What the operator does to installed plugins: install one, go back, remove one; and what is installed.
//!
//! The same on a live host, and on the data folder of a stopped one.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pipeline::installer::{Approve, Installer, NotDone};

/// Installs a plugin, or another version of one: [`Install`] → what was done.
pub const INSTALL: &str = "tidegate/plugin/install";
/// Goes back to a version that is kept: [`Rollback`] → what was done.
pub const ROLLBACK: &str = "tidegate/plugin/rollback";
/// Removes a plugin with all its versions: [`Remove`] → what was done.
pub const REMOVE: &str = "tidegate/plugin/remove";
/// What is installed → the list of it.
pub const LIST: &str = "tidegate/plugin/list";

/// What a plugin that is served is, who vouches for it, and how it came: [`Inspect`] → an
/// [`Inspected`](crate::pipeline::installer::Inspected). Of a live host.
pub const INSPECT: &str = "tidegate/plugin/inspect";

/// What to look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspect {
    /// The plugin.
    pub name: String,
}

/// What to install.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// Where it is: an absolute path, a URL, or a place in a registry.
    pub source: String,
    /// What is approved of what has to be.
    #[serde(default)]
    pub approve: Option<Approve>,
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

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It was not done.
    #[error(transparent)]
    NotDone(#[from] NotDone),
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
pub async fn answer(installer: &Installer<'_>, by: &str, method: &str, params: Value) -> Result<Value, Unanswered> {
    match method {
        INSTALL => {
            let Install { source, approve } = read(method, params)?;
            Ok(json!(installer.install(by, &source, approve).await?))
        }
        ROLLBACK => {
            let Rollback { name, to } = read(method, params)?;
            Ok(json!(installer.roll_back(by, &name, to.as_deref()).await?))
        }
        REMOVE => {
            let Remove { name } = read(method, params)?;
            Ok(json!(installer.remove(by, &name).await?))
        }
        LIST => Ok(json!(installer.list().await?)),
        _ => Err(Unanswered::Question { method: method.to_owned(), problem: "there is no such method".to_owned() }),
    }
}

fn read<T: serde::de::DeserializeOwned>(method: &str, params: Value) -> Result<T, Unanswered> {
    serde_json::from_value(params).map_err(|error| Unanswered::Question { method: method.to_owned(), problem: error.to_string() })
}
