//! The trust file: whose signatures count, for which plugins and until when, and whose count no longer.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::key::PublicKey;
use crate::model::{DocumentError, document};
use crate::registry::folder::read_at_rest;

/// The largest trust file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Whose signatures count. The default trusts nobody.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: BTreeMap<String, TrustedKey>,
    revoked: Vec<PublicKey>,
}

#[derive(Clone, Debug)]
struct TrustedKey {
    key: PublicKey,
    /// All plugins if absent.
    plugins: Option<Vec<String>>,
    /// The moment from which it counts no longer, and how the file says it.
    until: Option<(SystemTime, String)>,
}

/// What a trust file says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts, under this name.
    Trusted(String),
    /// It stands nowhere.
    Unknown,
    /// It counts no longer, whatever it signed and when; its name if it has one.
    Revoked(Option<String>),
    /// It stands there, but does not count for this plugin or at this time: why.
    Limited(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    revoked: Option<Vec<Spanned<String>>>,
    keys: Option<BTreeMap<String, WrittenKey>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    key: Spanned<PublicKey>,
    plugins: Option<Spanned<Vec<String>>>,
    until: Option<Spanned<Datetime>>,
}

impl Trust {
    /// Reads the trust file at `path`, once nobody writes it any more: half of it would revoke half of what it should. Blocks.
    ///
    /// # Errors
    /// It can't be read, or is broken; with the place.
    pub fn open(path: &Path) -> Result<Self, TrustError> {
        let unreadable = |source| TrustError::Unreadable { path: path.to_owned(), source };
        let bytes = read_at_rest(path, MAX_FILE).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => unreadable(std::io::Error::other(format!("it is larger than {MAX_FILE} bytes"))),
            _ => unreadable(error),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable(std::io::Error::other("it is not UTF-8 text")))?;
        Ok(Self::parse(path, &text)?)
    }

    /// Reads the text of the trust file at `path`.
    ///
    /// # Errors
    /// It is broken, with the place.
    pub fn parse(path: &Path, text: &str) -> Result<Self, DocumentError> {
        let broken = |at: Range<usize>, problem: String| {
            let (line, column) = document::position(text, at.start);
            Err(DocumentError { file: path.to_owned(), line, column, problem })
        };
        let written: Written = document::parse(path, text)?;
        if written.keys.is_none() && written.revoked.is_none() {
            // An accident, as a rule: what it revoked until now would count again.
            let problem = "it names neither `keys` nor `revoked`, as a file does that was emptied or is being written; to trust nobody \
                           and revoke nobody on purpose, write `revoked = []`";
            return broken(0..0, problem.to_owned());
        }
        let mut keys: BTreeMap<String, TrustedKey> = BTreeMap::new();
        for (name, WrittenKey { key, plugins, until }) in written.keys.unwrap_or_default() {
            if let Some((other, _)) = keys.iter().find(|(_, other)| other.key == *key.as_ref()) {
                return broken(key.span(), format!("`{name}` and `{other}` are the same key"));
            }
            if let Some(plugins) = plugins.as_ref().filter(|plugins| plugins.as_ref().is_empty()) {
                return broken(plugins.span(), format!("`{name}` would be trusted with no plugin; leave the whole key out"));
            }
            let until = match until.map(|until| (end(until.as_ref()), until)) {
                None => None,
                Some((Some(end), until)) => Some((end, until.as_ref().to_string())),
                Some((None, until)) => {
                    let problem = "write a date or a time with its offset, such as `2027-12-31` or `2027-12-31T12:00:00Z`";
                    return broken(until.span(), problem.to_owned());
                }
            };
            keys.insert(name, TrustedKey { key: key.into_inner(), plugins: plugins.map(Spanned::into_inner), until });
        }
        let mut revoked = Vec::new();
        for entry in written.revoked.unwrap_or_default() {
            let text = entry.as_ref();
            match (keys.get(text), text.parse()) {
                (Some(named), _) => revoked.push(named.key),
                (None, Ok(key)) => revoked.push(key),
                (None, Err(problem)) => {
                    let hint = document::nearest(text, keys.keys().map(String::as_str));
                    let hint = hint.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    return broken(entry.span(), format!("no key of this file has that name, and {problem}{hint}"));
                }
            }
        }
        Ok(Self { keys, revoked })
    }

    /// What this file says of `key`, as far as `plugin` is concerned, at the time `now`.
    pub fn standing(&self, key: &PublicKey, plugin: &str, now: SystemTime) -> Standing {
        let named = self.keys.iter().find(|(_, named)| named.key == *key);
        if self.revoked.contains(key) {
            return Standing::Revoked(named.map(|(name, _)| name.clone()));
        }
        let Some((name, TrustedKey { plugins, until, .. })) = named else { return Standing::Unknown };
        if let Some((_, said)) = until.as_ref().filter(|(end, _)| now >= *end) {
            return Standing::Limited(format!("the key `{name}` was to be trusted until {said}"));
        }
        match plugins {
            Some(plugins) if !plugins.iter().any(|trusted| trusted == plugin) => {
                let plugins = plugins.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                Standing::Limited(format!("the key `{name}` is trusted for {plugins} only"))
            }
            _ => Standing::Trusted(name.clone()),
        }
    }
}

/// Why there is no trust file.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It can't be read.
    #[error("can't read the trust file `{}`: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: std::path::PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// It is broken.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// When a date or time is over: a date at the end of its day in UTC. `None` for what is no moment.
fn end(until: &Datetime) -> Option<SystemTime> {
    let text = until.to_string();
    match (until.date, until.time, until.offset) {
        (Some(_), None, None) => {
            let midnight = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok()?;
            midnight.checked_add(Duration::from_secs(24 * 60 * 60))
        }
        (Some(date), Some(time), Some(offset)) => {
            let utc = humantime::parse_rfc3339(&format!("{date}T{time}Z")).ok()?;
            let minutes = match offset {
                toml::value::Offset::Z => 0,
                toml::value::Offset::Custom { minutes } => minutes,
            };
            let offset = Duration::from_secs(60 * u64::from(minutes.unsigned_abs()));
            if minutes > 0 { utc.checked_sub(offset) } else { utc.checked_add(offset) }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::PrivateKey;
    use super::*;

    fn keys<const N: usize>() -> [PublicKey; N] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::array::from_fn(|n| PrivateKey::create(&folder.path().join(n.to_string())).expect("a new key").public())
    }

    fn parse(text: &str) -> Result<Trust, DocumentError> {
        Trust::parse(Path::new("trust.toml"), text)
    }

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).expect("a time")
    }

    #[test]
    fn a_key_counts_for_its_plugins_until_its_day_is_over_and_never_once_revoked() {
        let [open, narrow, gone, foreign, other] = keys();
        let text = format!(
            "revoked = [\"gone\", \"{foreign}\"]\n[keys.open]\nkey = \"{open}\"\nuntil = 2027-03-31\n\
             [keys.narrow]\nkey = \"{narrow}\"\nplugins = [\"a\", \"b\"]\nuntil = 2027-03-31T12:00:00+02:00\n[keys.gone]\nkey = \"{gone}\"\n"
        );
        let trust = parse(&text).expect("a trust file");
        let noon = at("2027-03-31T09:59:59Z");
        let trusted = |name: &str| Standing::Trusted(name.to_owned());
        assert_eq!(trust.standing(&open, "any", at("2027-03-31T23:59:59Z")), trusted("open"));
        let over = trust.standing(&open, "any", at("2027-04-01T00:00:00Z"));
        assert_eq!(over, Standing::Limited("the key `open` was to be trusted until 2027-03-31".into()));
        assert_eq!(trust.standing(&narrow, "b", noon), trusted("narrow"));
        assert!(matches!(trust.standing(&narrow, "b", noon + Duration::from_secs(1)), Standing::Limited(_)));
        assert_eq!(trust.standing(&narrow, "c", noon), Standing::Limited("the key `narrow` is trusted for `a`, `b` only".into()));
        assert_eq!(trust.standing(&gone, "a", noon), Standing::Revoked(Some("gone".into())));
        assert_eq!(trust.standing(&foreign, "a", noon), Standing::Revoked(None));
        assert_eq!(trust.standing(&other, "a", noon), Standing::Unknown);
        assert_eq!(Trust::default().standing(&open, "a", noon), Standing::Unknown);
    }

    #[test]
    fn the_example_for_operators_is_a_trust_file() {
        let text = include_str!("../../../../docs/plugins.md");
        let example = text.split("`trust.toml`:\n\n```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let trust = parse(example.expect("there is one")).expect("it is one");
        assert_eq!((trust.keys.len(), trust.revoked.len()), (3, 1));
    }

    #[test]
    fn a_file_that_was_emptied_revokes_nothing_by_accident_and_nobody_is_trusted_on_purpose() {
        for emptied in ["", "\n", "# Whom we trust.\n"] {
            let refused = parse(emptied).expect_err("an accident").to_string();
            assert!(
                refused.starts_with("trust.toml:1:1: it names neither") && refused.ends_with("write `revoked = []`"),
                "{refused}"
            );
        }
        for nobody in ["revoked = []\n", "[keys]\n"] {
            assert!(parse(nobody).expect("on purpose").keys.is_empty());
        }
    }

    #[test]
    fn a_file_that_is_being_written_is_read_once_it_has_come_to_rest() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("trust.toml");
        let [gone] = keys();
        std::fs::write(&path, "revoked = []\n").expect("writable");
        let trust = std::thread::scope(|scope| {
            let reading = scope.spawn(|| Trust::open(&path).expect("a trust file"));
            std::thread::sleep(Duration::from_millis(20));
            std::fs::write(&path, format!("revoked = [\"{gone}\"]\n")).expect("writable");
            reading.join().expect("it was read")
        });
        assert_eq!(trust.standing(&gone, "a", SystemTime::now()), Standing::Revoked(None));
    }

    #[test]
    fn what_a_trust_file_gets_wrong_is_told_with_its_place() {
        let [key] = keys();
        let problem = |text: &str| parse(text).expect_err("broken").to_string();
        let named = format!("[keys.acme]\nkey = \"{key}\"\n");
        assert!(problem(&named.replace("key =", "kye =")).contains("trust.toml:2:1: unknown field `kye`"));
        assert!(problem(&format!("revokd = []\n{named}")).contains("did you mean `revoked`?"));
        let typo = problem(&format!("revoked = [\"acm\"]\n{named}"));
        assert!(typo.starts_with("trust.toml:1:12: no key") && typo.ends_with("did you mean `acme`?"), "{typo}");
        assert!(problem(&format!("{named}plugins = []\n")).contains("trust.toml:3:11: `acme` would be trusted with no plugin"));
        assert!(problem(&format!("{named}until = 12:00:00\n")).contains("trust.toml:3:9: write a date"));
        assert!(problem(&format!("{named}until = 2027-01-01T00:00:00\n")).contains("with its offset"));
        assert!(problem(&format!("{named}[keys.again]\nkey = \"{key}\"\n")).contains("are the same key"));
        let cut = &key.to_string()[..40];
        assert!(problem(&format!("[keys.acme]\nkey = \"{cut}\"\n")).contains("trust.toml:2:7: "));
    }
}
