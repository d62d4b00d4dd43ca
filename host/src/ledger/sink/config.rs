//! What an operator says of sinks, and whether it makes sense.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::super::LedgerError;
use super::batch::Format;
use crate::outbound::{Collector, Credential, OutboundError};

/// `[ledger.sinks.<name>]`: one more place that all records go to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// `file` or `otlp`.
    pub kind: SinkKind,
    /// The file, of `file`. Its folder has to exist.
    pub path: Option<PathBuf>,
    /// What the lines of a `file` are: `jsonl`, `ocsf` or `cloudevents`. `jsonl` by default.
    pub format: Option<Format>,
    /// The collector, of `otlp`, such as `http://127.0.0.1:4318`.
    pub url: Option<String>,
    /// What lets the host in at a collector.
    pub credential: Option<Credential>,
    /// How many records the sink may be behind before the oldest are skipped. Default 1,000,000.
    #[serde(default = "defaults::max_backlog")]
    pub max_backlog: u64,
    /// The most records sent at once. Default 1024; 4 MiB are never exceeded by more than a few records.
    #[serde(default = "defaults::batch")]
    pub batch: usize,
}

mod defaults {
    pub(super) fn max_backlog() -> u64 {
        1_000_000
    }
    pub(super) fn batch() -> usize {
        1024
    }
}

/// Where a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A file.
    File,
    /// A collector of OpenTelemetry logs.
    Otlp,
}

/// Why there is no sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The configuration makes no sense.
    #[error("`[ledger.sinks.{sink}]`: {problem}")]
    Config {
        /// The sink.
        sink: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The collector can't be one.
    #[error("`[ledger.sinks.{sink}]`: {problem}")]
    Collector {
        /// The sink.
        sink: String,
        /// What is wrong with it.
        problem: OutboundError,
    },
    /// The state of the sink can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The system refuses.
    #[error("can't start the thread of a sink: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where the records of a sink go.
pub(super) enum Destination {
    File { path: PathBuf, format: Format },
    Collector(Box<Collector>),
}

/// The destinations of all sinks.
///
/// # Errors
/// What is wrong with the first one that makes no sense.
pub(super) fn destinations(configs: &BTreeMap<String, SinkConfig>) -> Result<Vec<(String, Destination)>, SinkError> {
    let mut files: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let mut found = Vec::with_capacity(configs.len());
    for (name, config) in configs {
        let wrong = |problem: String| SinkError::Config { sink: name.clone(), problem };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return Err(wrong("it cannot be the name of a sink; use lower-case letters, digits, `-` and `_`".to_owned()));
        }
        if config.batch == 0 || config.max_backlog == 0 {
            return Err(wrong("`batch` and `max_backlog` have to be 1 at least".to_owned()));
        }
        let destination = config.destination(name, &wrong)?;
        if let Destination::File { path, .. } = &destination
            && let Some(other) = files.insert(path.clone(), name)
        {
            return Err(wrong(format!("the sink `{other}` writes to `{}` already; give each a file of its own", path.display())));
        }
        found.push((name.clone(), destination));
    }
    Ok(found)
}

impl SinkConfig {
    fn destination(&self, name: &str, wrong: &dyn Fn(String) -> SinkError) -> Result<Destination, SinkError> {
        let unwanted = |is_set: bool, key: &str, kind: &str| match is_set {
            true => Err(wrong(format!("`{key}` says nothing to a sink of kind `{kind}`; remove it"))),
            false => Ok(()),
        };
        match self.kind {
            SinkKind::File => {
                unwanted(self.url.is_some(), "url", "file")?;
                unwanted(self.credential.is_some(), "credential", "file")?;
                let path = self.path.as_ref().ok_or_else(|| {
                    wrong("a sink of kind `file` needs a `path`, such as \"/var/log/tidegate/audit.jsonl\"".to_owned())
                })?;
                let path = real(path).map_err(|problem| wrong(format!("`{}` can't be written to: {problem}", path.display())))?;
                Ok(Destination::File { path, format: self.format.unwrap_or(Format::Jsonl) })
            }
            SinkKind::Otlp => {
                unwanted(self.path.is_some(), "path", "otlp")?;
                unwanted(self.format.is_some(), "format", "otlp")?;
                let url = self.url.as_ref();
                let url =
                    url.ok_or_else(|| wrong("a sink of kind `otlp` needs a `url`, such as \"http://127.0.0.1:4318\"".into()))?;
                let collector = Collector::new(name, url, "/v1/logs", self.credential.as_ref());
                collector
                    .map(Box::new)
                    .map(Destination::Collector)
                    .map_err(|problem| SinkError::Collector { sink: name.to_owned(), problem })
            }
        }
    }
}

/// The path without links and `..`, so that one file has one name. The file itself need not exist.
fn real(path: &std::path::Path) -> Result<PathBuf, String> {
    if path.is_dir() {
        return Err("it is a folder".to_owned());
    }
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let file = path.file_name().ok_or("it names no file")?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let folder = folder.canonicalize().map_err(|error| format!("its folder: {error}"))?;
    Ok(folder.join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(toml: &str) -> String {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let toml = toml.replace("DIR", dir.path().to_str().expect("UTF-8"));
        match toml::from_str::<BTreeMap<String, SinkConfig>>(&toml) {
            Ok(configs) => destinations(&configs).err().map_or_else(String::new, |error| error.to_string()),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_in_words() {
        for (toml, said) in [
            ("[a]\nkind = \"pipe\"", "unknown variant `pipe`, expected `file` or `otlp`"),
            ("[a]\npath = \"DIR/a\"", "missing field `kind`"),
            ("[a]\nkind = \"file\"", "`[ledger.sinks.a]`: a sink of kind `file` needs a `path`"),
            ("[a]\nkind = \"file\"\npath = \"DIR/no/a\"", "its folder: No such file"),
            ("[a]\nkind = \"file\"\npath = \"DIR\"", "it is a folder"),
            ("[a]\nkind = \"file\"\npath = \"DIR/a\"\nurl = \"http://x\"", "`url` says nothing to a sink of kind `file`"),
            ("[a]\nkind = \"file\"\npath = \"DIR/a\"\nformat = \"cef\"", "unknown variant `cef`"),
            ("[a]\nkind = \"otlp\"", "needs a `url`"),
            ("[a]\nkind = \"otlp\"\nurl = \"grpc://x\"", "`[ledger.sinks.a]`: `grpc://x` cannot be the url of a collector"),
            ("[a]\nkind = \"otlp\"\nurl = \"http://x\"\nformat = \"ocsf\"", "`format` says nothing to a sink of kind `otlp`"),
            ("[a]\nkind = \"otlp\"\nurl = \"http://x\"\nmax_backlog = 0", "1 at least"),
            ("[\"a b\"]\nkind = \"otlp\"\nurl = \"http://x\"", "cannot be the name of a sink"),
            ("[a]\nkind = \"file\"\npath = \"DIR/a\"\n[b]\nkind = \"file\"\npath = \"DIR/./a\"", "the sink `a` writes to `"),
        ] {
            let problem = problem(toml);
            assert!(problem.contains(said), "{toml}: {problem}");
        }
        assert_eq!(
            problem("[a]\nkind = \"file\"\npath = \"DIR/a\"\n[b]\nkind = \"file\"\npath = \"DIR/b\"\nformat = \"ocsf\""),
            ""
        );
    }
}
