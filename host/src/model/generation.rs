//! How one generation of plugins and policies differs from the one before, and what brought that about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Digest, PolicyFileDigest, PolicyVersion};

/// What made the host look at its plugins and policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ChangeSource {
    /// The host started.
    #[serde(rename = "start")]
    Start,
    /// A folder changed.
    #[serde(rename = "file watch")]
    FileWatch,
    /// The process was sent SIGHUP.
    #[serde(rename = "signal")]
    Signal,
    /// An operator asked for it.
    #[serde(rename = "verb")]
    Verb,
}

impl ChangeSource {
    /// The source as records and people spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::FileWatch => "file watch",
            Self::Signal => "signal",
            Self::Verb => "verb",
        }
    }
}

/// The two parts of a generation, each of which can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The plugins, and how the policies fit them.
    Plugins,
    /// The policies, over the plugins in force.
    Policies,
}

impl Part {
    /// The part as records and metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plugins => "plugins",
            Self::Policies => "policies",
        }
    }
}

/// One version of one plugin, by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PluginVersion {
    /// The plugin's name.
    pub plugin: String,
    /// What its manifest calls this version; two contents may bear the same.
    pub version: String,
    /// SHA-256 of the component's bytes.
    pub component: Digest,
    /// SHA-256 of the manifest's bytes.
    pub manifest: Digest,
}

/// What became of one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginChange {
    /// Its version so far; none if it is new.
    pub before: Option<PluginVersion>,
    /// Its version from now on; none if it is gone.
    pub after: Option<PluginVersion>,
}

/// That a generation takes effect, and what of it is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GenerationChange {
    /// What made the host look.
    pub source: ChangeSource,
    /// Who asked for it, if somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What was in force; none if nothing is known of that.
    pub before: Option<PolicyVersion>,
    /// What is in force from now on.
    pub after: PolicyVersion,
    /// All policy files it is made of.
    pub files: Vec<PolicyFileDigest>,
    /// Which of them were not there before.
    pub added: Vec<PolicyFileDigest>,
    /// Which of them had another content.
    pub changed: Vec<PolicyFileDigest>,
    /// Those that were there and are no longer.
    pub removed: Vec<PolicyFileDigest>,
    /// All plugins it is made of.
    pub plugins: Vec<PluginVersion>,
    /// Those that are new, other or gone, in name order.
    pub plugin_changes: Vec<PluginChange>,
}

/// What a generation is made of.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The policy files.
    pub files: &'a [PolicyFileDigest],
    /// The plugins.
    pub plugins: &'a [PluginVersion],
}

impl GenerationChange {
    /// The change from `before`, made of `earlier`, to `after`, made of `now`.
    pub fn new(
        source: ChangeSource,
        (before, earlier): (Option<PolicyVersion>, Contents<'_>),
        (after, now): (PolicyVersion, Contents<'_>),
    ) -> Self {
        let by_name = |files: &[PolicyFileDigest]| -> BTreeMap<String, Digest> {
            files.iter().map(|file| (file.file.clone(), file.sha256)).collect()
        };
        let (old, new) = (by_name(earlier.files), by_name(now.files));
        let only = |files: &[PolicyFileDigest], keep: &dyn Fn(&PolicyFileDigest) -> bool| -> Vec<PolicyFileDigest> {
            files.iter().filter(|file| keep(file)).cloned().collect()
        };
        Self {
            source,
            by: None,
            before,
            after,
            files: now.files.to_vec(),
            added: only(now.files, &|file| !old.contains_key(&file.file)),
            changed: only(now.files, &|file| old.get(&file.file).is_some_and(|digest| *digest != file.sha256)),
            removed: only(earlier.files, &|file| !new.contains_key(&file.file)),
            plugins: now.plugins.to_vec(),
            plugin_changes: changes(earlier.plugins, now.plugins),
        }
    }

    /// What changed: the plugins, and the policies with them; or the policies alone.
    pub fn part(&self) -> Part {
        if self.plugin_changes.is_empty() { Part::Policies } else { Part::Plugins }
    }

    /// Whether something that was in force is gone: a whole plugin, or a policy file.
    pub fn removes(&self) -> bool {
        !self.removed.is_empty() || self.plugin_changes.iter().any(|change| change.after.is_none())
    }
}

fn changes(earlier: &[PluginVersion], now: &[PluginVersion]) -> Vec<PluginChange> {
    let mut by_name: BTreeMap<&str, PluginChange> = BTreeMap::new();
    let nothing = || PluginChange { before: None, after: None };
    for version in earlier {
        by_name.entry(&version.plugin).or_insert_with(nothing).before = Some(version.clone());
    }
    for version in now {
        by_name.entry(&version.plugin).or_insert_with(nothing).after = Some(version.clone());
    }
    by_name.into_values().filter(|change| change.before != change.after).collect()
}

impl PluginChange {
    /// The change in a few characters, as a sign and a name: `+new`, `~changed`, `-gone`.
    pub fn sign(&self) -> String {
        match (&self.before, &self.after) {
            (None, Some(after)) => format!("+{}", after.plugin),
            (Some(before), None) => format!("-{}", before.plugin),
            (Some(version), Some(_)) => format!("~{}", version.plugin),
            (None, None) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: u8) -> PolicyFileDigest {
        PolicyFileDigest { file: name.into(), sha256: Digest([content; 32]) }
    }

    fn plugin(name: &str, component: u8) -> PluginVersion {
        let (component, manifest) = (Digest([component; 32]), Digest([0; 32]));
        PluginVersion { plugin: name.into(), version: "0.1.0".into(), component, manifest }
    }

    #[test]
    fn a_change_names_each_file_and_each_plugin_that_is_new_other_or_gone() {
        let before = [file("a.cedar", 1), file("b.cedar", 2), file("c.cedar", 3)];
        let now = [file("a.cedar", 1), file("b.cedar", 9), file("d.cedar", 4)];
        let plugins = [plugin("a", 1), plugin("b", 2), plugin("c", 3)];
        let others = [plugin("a", 1), plugin("c", 4), plugin("d", 5)];
        let version = PolicyVersion { generation: 2, policies: Digest([0; 32]) };
        let earlier = Contents { files: &before, plugins: &plugins };
        let change = GenerationChange::new(
            ChangeSource::FileWatch,
            (None, earlier),
            (version, Contents { files: &now, plugins: &others }),
        );
        assert_eq!(change.added, [file("d.cedar", 4)]);
        assert_eq!(change.changed, [file("b.cedar", 9)]);
        assert_eq!(change.removed, [file("c.cedar", 3)]);
        assert_eq!(change.files, now);
        let signs: Vec<_> = change.plugin_changes.iter().map(PluginChange::sign).collect();
        assert_eq!(signs, ["-b", "~c", "+d"]);
        assert!(change.removes());
    }
}
