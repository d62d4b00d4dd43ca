//! Which version of each installed plugin is in force, and which ones it can go back to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::InstallError;
use crate::model::{Digest, Timestamp, document};

/// The format this version writes and reads.
const FORMAT: u32 = 1;

/// The fewest digits by which a digest can be named.
const FEWEST_DIGITS: usize = 6;

/// All installed plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstalledSet {
    format: u32,
    /// The plugins by name.
    pub plugins: BTreeMap<String, History>,
}

/// One plugin: every version of it that is kept, each of which was approved when it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// The digest in force.
    pub active: Digest,
    /// The versions, in the order in which they came.
    pub versions: Vec<Version>,
}

/// One version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// The digest of its contents.
    pub digest: Digest,
    /// What its author calls it.
    pub version: String,
    /// The digest of its component, as audit records name it.
    pub component: Digest,
    /// Where it came from.
    pub source: String,
    /// Who signed it, if that was looked at.
    pub signed_by: Option<String>,
    /// Who installed it.
    pub by: String,
    /// When it came.
    pub installed_ms: Timestamp,
    /// Since when it is in force, or was last.
    pub active_ms: Timestamp,
    /// What was in force before it: where a rollback goes.
    pub replaced: Option<Digest>,
}

impl Default for InstalledSet {
    fn default() -> Self {
        Self { format: FORMAT, plugins: BTreeMap::new() }
    }
}

impl InstalledSet {
    /// Reads what [`InstalledSet::to_bytes`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!("it has format {format}, this version of tidegate reads {FORMAT}"));
        }
        let set: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match set.plugins.iter().find(|(_, history)| history.version(history.active).is_none()) {
            Some((name, _)) => Err(format!("the version of `{name}` that is in force is not among those it lists")),
            None => Ok(set),
        }
    }

    /// The set as text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a set holds only texts and numbers");
        bytes.push(b'\n');
        bytes
    }

    /// The digests in force, by plugin name.
    pub fn active(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.plugins.iter().map(|(name, history)| (name.as_str(), history.active))
    }

    /// Every digest that is kept.
    pub fn kept(&self) -> BTreeSet<Digest> {
        self.plugins.values().flat_map(|history| &history.versions).map(|version| version.digest).collect()
    }

    /// The plugin of this name.
    ///
    /// # Errors
    /// None is installed; the error names the one that may have been meant.
    pub fn history(&self, name: &str) -> Result<&History, InstallError> {
        self.plugins.get(name).ok_or_else(|| {
            let hint = document::nearest(name, self.plugins.keys().map(String::as_str));
            let hint = hint.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            InstallError::Unknown(format!("no plugin `{name}` is installed{hint}"))
        })
    }

    /// Puts `version` of the plugin `name` in force, and keeps it.
    pub fn install(&mut self, name: &str, version: Version) {
        let now = version.active_ms;
        let digest = version.digest;
        match self.plugins.get_mut(name) {
            Some(history) => {
                match history.versions.iter_mut().find(|kept| kept.digest == digest) {
                    // Others may vouch for it now. When it came, and from where, stays as it was.
                    Some(kept) => kept.signed_by = version.signed_by.or(kept.signed_by.take()),
                    None => history.versions.push(version),
                }
                history.put_in_force(digest, now);
            }
            None => {
                self.plugins.insert(name.to_owned(), History { active: digest, versions: vec![version] });
            }
        }
    }

    /// Drops the oldest versions of each plugin, so that at most `keep` are left: never the one in force, nor where a rollback goes.
    pub fn prune(&mut self, keep: usize) {
        for history in self.plugins.values_mut() {
            let back = history.version(history.active).and_then(|version| version.replaced);
            let mut by_age: Vec<_> = history.versions.iter().map(|version| (version.active_ms, version.digest)).collect();
            by_age.sort();
            let spare = by_age.len().saturating_sub(keep.max(1));
            let droppable =
                by_age.into_iter().map(|(_, digest)| digest).filter(|digest| *digest != history.active && Some(*digest) != back);
            let dropped: BTreeSet<Digest> = droppable.take(spare).collect();
            history.versions.retain(|version| !dropped.contains(&version.digest));
        }
    }
}

impl Version {
    /// When it was installed for the first time.
    pub fn came(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.installed_ms.as_millis())
    }
}

impl History {
    /// The version with this digest.
    pub fn version(&self, digest: Digest) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == digest)
    }

    /// The version in force.
    pub fn current(&self) -> &Version {
        self.version(self.active).expect("a set whose active version is missing is not read")
    }

    /// The version that `spec` names: by version, or by a digest or its first digits.
    ///
    /// # Errors
    /// None is kept, or several answer to that.
    pub fn find(&self, name: &str, spec: &str) -> Result<&Version, InstallError> {
        let digits = spec.strip_prefix("sha256:").unwrap_or(spec).to_ascii_lowercase();
        let by_digest = |version: &&Version| match read_digest(spec) {
            Ok(digest) => version.digest == digest,
            Err(_) => digits.len() >= FEWEST_DIGITS && version.digest.to_string().starts_with(&digits),
        };
        // What is written as a digest is one, whatever some author calls a version.
        let is_version = |version: &&Version| version.version == spec && !spec.starts_with("sha256:");
        let named: Vec<_> = self.versions.iter().filter(is_version).collect();
        let named = if named.is_empty() { self.versions.iter().filter(by_digest).collect() } else { named };
        let list = |versions: &[&Version]| {
            let told: Vec<_> = versions.iter().map(|version| format!("{} sha256:{}", version.version, version.digest)).collect();
            told.join(", ")
        };
        match &named[..] {
            [version] => Ok(version),
            [] => {
                let all: Vec<_> = self.versions.iter().collect();
                Err(InstallError::Unknown(format!("of `{name}` no `{spec}` is kept; there are {}", list(&all))))
            }
            several => {
                let several = list(several);
                Err(InstallError::Unknown(format!("of `{name}` several answer to `{spec}`; name one by its digest: {several}")))
            }
        }
    }

    /// Where a rollback goes: what was in force before what is now.
    ///
    /// # Errors
    /// Nothing was, or it is kept no longer.
    pub fn previous(&self, name: &str) -> Result<&Version, InstallError> {
        let current = self.current();
        let unknown = |why: String| InstallError::Unknown(why);
        let Some(replaced) = current.replaced else {
            return Err(unknown(format!(
                "{} of `{name}` is the first that was installed; there is nothing to go back to",
                current.version
            )));
        };
        self.version(replaced).ok_or_else(|| {
            unknown(format!(
                "what was in force before {} of `{name}` (sha256:{replaced}) is kept no longer; name another with `--to`",
                current.version
            ))
        })
    }

    /// Goes back to a version that is kept: what came after it is left, and no further going back leads there.
    pub fn go_back_to(&mut self, digest: Digest, now: Timestamp) {
        let before_of = |version: &Digest| self.version(*version).and_then(|version| version.replaced);
        // No longer than there are versions, whatever was installed again in between.
        let mut way_back = std::iter::successors(Some(self.active), before_of).take(self.versions.len());
        if !way_back.any(|passed| passed == digest) {
            return self.put_in_force(digest, now);
        }
        self.active = digest;
        if let Some(version) = self.versions.iter_mut().find(|version| version.digest == digest) {
            version.active_ms = now;
        }
    }

    /// Puts a version that is kept in force.
    pub fn put_in_force(&mut self, digest: Digest, now: Timestamp) {
        let before = std::mem::replace(&mut self.active, digest);
        if before == digest {
            return;
        }
        let goes_back = self.version(before).and_then(|version| version.replaced) == Some(digest);
        if let Some(version) = self.versions.iter_mut().find(|version| version.digest == digest) {
            version.active_ms = now;
            // Going back again and again leads further back, not to and fro.
            if !goes_back {
                version.replaced = Some(before);
            }
        }
    }
}

/// Reads a digest as people write it: `sha256:` and 64 hex digits; the digits alone will do.
///
/// # Errors
/// It is none.
pub fn read_digest(text: &str) -> Result<Digest, String> {
    let problem = |_| format!("`{text}` is not a digest; write `sha256:` and 64 hex digits");
    text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase().parse().map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u8, at: u64) -> Version {
        Version {
            digest: Digest([number; 32]),
            version: format!("{number}.0.0"),
            component: Digest([0; 32]),
            source: "somewhere".into(),
            signed_by: None,
            by: "root (uid 0)".into(),
            installed_ms: Timestamp(at),
            active_ms: Timestamp(at),
            replaced: None,
        }
    }

    fn with(numbers: &[u8]) -> InstalledSet {
        let mut set = InstalledSet::default();
        for (at, number) in numbers.iter().enumerate() {
            set.install("demo", version(*number, at as u64));
        }
        set
    }

    fn back(set: &mut InstalledSet, at: u64) -> Result<String, String> {
        let previous =
            set.history("demo").and_then(|history| history.previous("demo").cloned()).map_err(|error| error.to_string())?;
        set.plugins.get_mut("demo").expect("installed").go_back_to(previous.digest, Timestamp(at));
        Ok(previous.version)
    }

    #[test]
    fn going_back_leads_further_back_each_time_and_never_to_what_was_left() {
        let mut set = with(&[1, 2, 3]);
        assert_eq!(back(&mut set, 10), Ok("2.0.0".into()));
        set.install("demo", version(4, 11));
        assert_eq!(back(&mut set, 12), Ok("2.0.0".into()), "not to the bad one that was left");
        assert_eq!(back(&mut set, 13), Ok("1.0.0".into()));
        assert!(back(&mut set, 14).expect_err("there is nothing before").contains("nothing to go back to"));
    }

    #[test]
    fn going_back_past_several_leads_to_none_of_them_afterwards() {
        let mut set = with(&[1, 2, 3, 4]);
        set.plugins.get_mut("demo").expect("installed").go_back_to(Digest([2; 32]), Timestamp(10));
        assert_eq!(back(&mut set, 11), Ok("1.0.0".into()));
        assert!(back(&mut set, 12).expect_err("there is nothing before").contains("nothing to go back to"));
        // Forward again is no way back: from there it leads to where it came from.
        set.plugins.get_mut("demo").expect("installed").go_back_to(Digest([4; 32]), Timestamp(13));
        assert_eq!(back(&mut set, 14), Ok("1.0.0".into()));
    }

    #[test]
    fn what_is_written_as_a_digest_is_never_taken_for_a_version() {
        let mut set = with(&[1]);
        let shadow = format!("sha256:{}", Digest([1; 32]));
        set.install("demo", Version { version: shadow.clone(), ..version(2, 5) });
        let history = set.history("demo").expect("installed");
        assert_eq!(history.find("demo", &shadow).map(|version| version.digest).ok(), Some(Digest([1; 32])));
        assert_eq!(history.find("demo", "sha256:010101").map(|version| version.digest).ok(), Some(Digest([1; 32])));
    }

    #[test]
    fn a_version_that_is_kept_can_be_installed_again() {
        let mut set = with(&[1, 2]);
        set.install("demo", version(1, 9));
        assert_eq!(set.plugins["demo"].versions.len(), 2);
        assert_eq!(set.plugins["demo"].current().version, "1.0.0");
    }

    #[test]
    fn pruning_keeps_what_is_in_force_and_what_a_rollback_needs() {
        let mut set = with(&[1, 2, 3, 4, 5]);
        set.plugins.get_mut("demo").expect("installed").put_in_force(Digest([1; 32]), Timestamp(20));
        set.prune(2);
        let left: Vec<_> = set.plugins["demo"].versions.iter().map(|version| version.version.as_str()).collect();
        assert_eq!(left, ["1.0.0", "5.0.0"]);
        assert_eq!(back(&mut set, 21), Ok("5.0.0".into()));
        set.prune(0);
        assert!(set.plugins["demo"].version(Digest([5; 32])).is_some());
    }

    #[test]
    fn a_version_is_found_by_name_and_by_digits_and_doubt_is_told() {
        let set = with(&[1, 2]);
        let history = set.history("demo").expect("installed");
        let found =
            |spec: &str| history.find("demo", spec).map(|version| version.version.clone()).map_err(|error| error.to_string());
        assert_eq!(found("2.0.0"), Ok("2.0.0".into()));
        assert_eq!(found("sha256:010101"), Ok("1.0.0".into()));
        assert_eq!(found(&format!("sha256:{}", Digest([2; 32]))), Ok("2.0.0".into()));
        assert!(found("0101").expect_err("too few digits").contains("there are 1.0.0 sha256:0101"));
        let mut twins = with(&[1]);
        twins.install("demo", Version { version: "1.0.0".into(), ..version(7, 5) });
        let doubt =
            twins.history("demo").and_then(|history| history.find("demo", "1.0.0").cloned()).expect_err("two").to_string();
        assert!(doubt.contains("several answer to `1.0.0`"), "{doubt}");
        assert!(set.history("dem").expect_err("unknown").to_string().ends_with("did you mean `demo`?"));
    }

    #[test]
    fn what_is_written_reads_back_and_nonsense_does_not() {
        let set = with(&[1, 2]);
        assert_eq!(InstalledSet::from_bytes(&set.to_bytes()), Ok(set.clone()));
        let text = String::from_utf8(set.to_bytes()).expect("text");
        assert!(
            InstalledSet::from_bytes(text.replace("\"format\": 1", "\"format\": 2").as_bytes())
                .expect_err("newer")
                .contains("format 2")
        );
        assert!(InstalledSet::from_bytes(&set.to_bytes()[..40]).is_err());
        let lost = text.replace(&format!("\"active\": \"{}\"", Digest([2; 32])), &format!("\"active\": \"{}\"", Digest([9; 32])));
        assert!(InstalledSet::from_bytes(lost.as_bytes()).expect_err("dangling").contains("not among those"));
    }
}
