//! What operators did to installed plugins: which contents took the place of which, what of that widens, and who approved it.

use serde::Serialize;

use super::body::Body;
use super::facts::Generation;
use super::{Ledger, LedgerError};
use crate::model::{Change, Digest, PolicyVersion};

/// The most changes that are written down one by one. The digests say which contents they follow from.
const CHANGES: usize = 64;

/// The longest text of a change that is written down, in bytes.
const LONGEST: usize = 256;

/// What was done to one plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PluginAct<'a> {
    /// `plugin_install`, `plugin_rollback`, `plugin_remove`, or `plugin_undone`.
    pub action: &'static str,
    /// Who did it.
    pub by: &'a str,
    /// The plugin.
    pub plugin: &'a str,
    /// What was in force; none if it is new.
    pub before: Option<PluginContents<'a>>,
    /// What is in force from now on; none if it is gone.
    pub after: Option<PluginContents<'a>>,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    /// Who signed it, if that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<&'a str>,
    /// How it came to be approved.
    pub approved: &'a str,
    /// What had to be approved.
    #[serde(skip_serializing_if = "<[Change]>::is_empty")]
    pub widened: &'a [Change],
}

/// Contents of a plugin, as records name them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PluginContents<'a> {
    /// What its author calls it.
    pub version: &'a str,
    /// The digest of all its files.
    pub sha256: Digest,
    /// The digest of its component, by which calls name it.
    pub component: Digest,
}

impl Ledger {
    /// Writes down what an operator does to a plugin, with which `version` of the policies is in force then: none is if no host is live.
    /// Durable on return: only then may it take effect.
    ///
    /// # Errors
    /// If the store fails or refuses. Everything must stay as it is.
    pub async fn record_plugin_act(&self, act: &PluginAct<'_>, version: Option<PolicyVersion>) -> Result<(), LedgerError> {
        #[derive(Serialize)]
        struct Recorded<'a> {
            #[serde(flatten)]
            act: PluginAct<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            more: Option<usize>,
        }
        let widened: Vec<Change> = act.widened.iter().take(CHANGES).map(clipped).collect();
        let more = act.widened.len().checked_sub(CHANGES).filter(|more| *more > 0);
        let recorded = Recorded { act: PluginAct { widened: &widened, ..act.clone() }, more };
        let Generation { number: generation, policies } = Generation::NONE;
        let version = version.unwrap_or(PolicyVersion { generation, policies });
        self.record_admin(version, Body::plain(&recorded), |_, _| Ok(())).await
    }
}

fn clipped(change: &Change) -> Change {
    let clip = |text: &Option<String>| {
        text.as_ref().map(|text| match text.floor_char_boundary(LONGEST) {
            at if at < text.len() => format!("{}…", &text[..at]),
            _ => text.clone(),
        })
    };
    Change { before: clip(&change.before), after: clip(&change.after), ..change.clone() }
}
