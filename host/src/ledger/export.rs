//! Taking the log elsewhere: lines of JSON that anybody who has the public key can check, and the check.
//!
//! The first line says which log it is and where it begins. Then each record is a line: its head as it was hashed, and its salt
//! and body as they were committed to. An export ends with a checkpoint, so that its whole length is signed.

use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::audit::Record;
use super::body::{Found, SALT, Salted};
use super::chain::{self, Head, Tip};
use super::signer::PublicKey;
use super::tree::Frontier;
use super::verify::{Broken, Verification};
use super::walk::{Start, Walk};
use super::{Ledger, LedgerError, audit};
use crate::model::{CallId, Digest};

/// The version of the export format.
const VERSION: u32 = 1;

/// The longest line that is read: the longest body, and as much again for its framing.
const LINE_MAX: u64 = 32 << 20;

/// A page of lines with so many bytes of bodies gets no further ones.
const PAGE_BYTES: usize = 4 << 20;

/// The first line of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHeader {
    /// The format's version.
    tidegate_export: u32,
    /// The public key of the log.
    key: String,
    /// The first record.
    from: u64,
    /// The hash of the record before it.
    prev: Digest,
    /// The tree over the records before it.
    peaks: Vec<Digest>,
    /// The calls that were open there.
    open: Vec<CallId>,
}

impl ExportHeader {
    /// The sequence and the hash of the record before the first one; `None` if the header makes no sense.
    pub(super) fn before(&self) -> Option<(u64, Digest)> {
        Some((self.from.checked_sub(1)?, self.prev))
    }
}

/// One record, as a line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportLine {
    /// Its sequence.
    pub seq: u64,
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it tells of.
    pub kind: String,
    /// The call it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// Its hash.
    pub hash: Digest,
    /// The bytes that are hashed, base64.
    pub head: String,
    /// What is committed to before the body, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The body, byte for byte; absent if it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<RawValue>>,
    /// The id of the destroyed key that the body was sealed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<String>,
    /// The record of the pruning that took the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<u64>,
}

/// What is wrong with an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It can't be read.
    #[error("the export can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is none.
    #[error("line {line} is no part of an export: {problem}")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// It was not made from the log with this key.
    #[error("the export is of the log `{found}`, not of `{wanted}`")]
    OtherLog {
        /// The log it says it is of.
        found: String,
        /// The one asked for.
        wanted: String,
    },
    /// The checkpoint that it must lead through is none of this log.
    #[error("the checkpoint can't be held against the log: {0}")]
    Checkpoint(String),
}

impl ExportHeader {
    /// The public key of the log, as the export has it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The first record.
    pub fn from(&self) -> u64 {
        self.from
    }
}

impl Ledger {
    /// The first line of an export that begins with record `from`, or with the first one there is. Blocks on the disk.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn export_header(&self, from: u64) -> Result<ExportHeader, LedgerError> {
        // To begin in the middle is to know what was open there.
        let prefix = self.prefix(from)?;
        Ok(ExportHeader {
            tidegate_export: VERSION,
            key: self.public_key().to_string(),
            from: prefix.tip.seq + 1,
            prev: prefix.tip.hash,
            peaks: prefix.tree.peaks().to_vec(),
            open: prefix.open.into_iter().collect(),
        })
    }

    /// Up to `limit` records from `from` on as lines of an export, ascending; fewer if they are long, but one at least if there
    /// is one. Blocks on the disk.
    ///
    /// # Errors
    /// If the store can't be read, or a record is not what was written.
    pub fn export(&self, from: u64, limit: usize) -> Result<Vec<ExportLine>, LedgerError> {
        let inner = &self.inner;
        let (mut lines, mut size) = (Vec::new(), 0);
        audit::each(&inner.store, from, limit, |seq, item| {
            if size >= PAGE_BYTES {
                return Ok(());
            }
            let damaged = |problem: &str| LedgerError::damaged(format!("record {seq}"))(problem);
            let (bytes, stored) = item.ok_or_else(|| damaged("its page is cut short"))?;
            let head = Head::decode(bytes).map_err(LedgerError::damaged(format!("record {seq}")))?;
            let mut line = ExportLine {
                seq,
                at_ms: head.at.as_millis(),
                kind: head.kind.as_str().to_owned(),
                call: head.call,
                hash: chain::hash(bytes),
                head: STANDARD.encode(bytes),
                salt: None,
                body: None,
                erased: None,
                pruned: None,
            };
            match inner.body(seq, stored, &head.body)? {
                Found::Whole(salted) => {
                    line.salt = Some(STANDARD.encode(salted.salt()));
                    let json = String::from_utf8(salted.json().to_vec()).map_err(|_| damaged("its body is no text"))?;
                    size += json.len();
                    line.body = Some(RawValue::from_string(json).map_err(|_| damaged("its body is no JSON"))?);
                }
                Found::Erased(key) => line.erased = Some(format!("{:032x}", u128::from_be_bytes(key))),
                Found::Pruned(run) => line.pruned = Some(run),
                Found::Forged(problem) => return Err(damaged(&format!("its body: {problem}"))),
            }
            lines.push(line);
            Ok(())
        })?;
        Ok(lines)
    }
}

impl ExportLine {
    /// The record that the line holds, if its body is what its head committed to.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn record(&self) -> Result<Record, String> {
        let (bytes, found) = self.parts()?;
        let head = Head::decode(&bytes).map_err(|error| format!("its head makes no sense: {error}"))?;
        let body = match found {
            Found::Whole(salted) => Some(salted.json().to_vec()),
            Found::Erased(_) | Found::Pruned(_) => None,
            Found::Forged(problem) => return Err(format!("its body was changed: {problem}")),
        };
        Ok(Record { head, hash: chain::hash(&bytes), body })
    }

    /// Why the body is not there; `None` if it is.
    pub fn gone(&self) -> Option<&'static str> {
        match (&self.erased, self.pruned) {
            (Some(_), _) => Some("erased"),
            (None, Some(_)) => Some("pruned"),
            (None, None) => None,
        }
    }

    /// The head's bytes, and the body as far as the line has it.
    fn parts(&self) -> Result<(Vec<u8>, Found), String> {
        let head = STANDARD.decode(&self.head).map_err(|error| format!("its head is no base64: {error}"))?;
        let found = match (&self.salt, &self.body, &self.erased, self.pruned) {
            (Some(salt), Some(json), None, None) => {
                let mut salted = STANDARD.decode(salt).map_err(|error| format!("its salt is no base64: {error}"))?;
                if salted.len() != SALT {
                    return Err("its salt is of another length".to_owned());
                }
                salted.extend_from_slice(json.get().as_bytes());
                let committed = Head::decode(&head).map(|head| head.body);
                let checked = committed.ok().and_then(|committed| Salted::checked(salted, &committed));
                checked.map_or_else(|| Found::Forged("it is not what the head committed to".to_owned()), Found::Whole)
            }
            (None, None, Some(key), None) => {
                let key = u128::from_str_radix(key, 16).map_err(|_| "it names no key".to_owned())?;
                Found::Erased(key.to_be_bytes())
            }
            (None, None, None, Some(run)) => Found::Pruned(run),
            _ => Found::Forged("it is neither there nor said to be gone".to_owned()),
        };
        Ok((head, found))
    }
}

/// Checks an export. `key` is the public key of the log, from somewhere else than the export; without it the export's own word
/// is taken for that, and the answer tells which key it is. `through` is a checkpoint that was kept elsewhere, which the log must
/// lead through.
///
/// # Errors
/// It can't be read, is no export, or is one of another log. What is wrong with its records is in the answer.
pub fn verify_export(
    input: impl BufRead,
    key: Option<&PublicKey>,
    through: Option<&str>,
) -> Result<(Verification, PublicKey), ExportError> {
    verify_lines(input, key, through, false)
}

/// Like [`verify_export`], of all records that there are: what is missing before the first one must be accounted for.
///
/// # Errors
/// As [`verify_export`].
pub fn verify_whole(
    input: impl BufRead,
    key: Option<&PublicKey>,
    through: Option<&str>,
) -> Result<(Verification, PublicKey), ExportError> {
    verify_lines(input, key, through, true)
}

fn verify_lines(
    input: impl BufRead,
    key: Option<&PublicKey>,
    through: Option<&str>,
    is_whole: bool,
) -> Result<(Verification, PublicKey), ExportError> {
    let mut lines = Lines { input, number: 0 };
    let malformed = |line: u64| move |problem: String| ExportError::Malformed { line, problem };
    let first = lines.next()?.ok_or_else(|| malformed(1)("it is empty".to_owned()))?;
    let header: ExportHeader = serde_json::from_str(&first).map_err(|error| malformed(1)(error.to_string()))?;
    if header.tidegate_export != VERSION {
        return Err(malformed(1)(format!("its format is {}, this version reads {VERSION}", header.tidegate_export)));
    }
    let own: PublicKey = header.key.parse().map_err(malformed(1))?;
    let key = match key {
        Some(key) if *key != own => {
            return Err(ExportError::OtherLog { found: own.name().to_owned(), wanted: key.name().to_owned() });
        }
        Some(key) => key.clone(),
        None => own,
    };
    let before = header.from.checked_sub(1).ok_or_else(|| malformed(1)("records are counted from 1".to_owned()))?;
    let tree = Frontier::of(before, header.peaks).ok_or_else(|| malformed(1)("its tree is of another size".to_owned()))?;
    let tip = (before > 0).then_some(Tip { seq: before, hash: header.prev });
    let through = through.map(|note| key.check(note)).transpose().map_err(ExportError::Checkpoint)?;
    let mut walk = Walk::new(&key, Start { tip, tree, open: header.open });
    if is_whole {
        walk.demand_whole();
    }
    let broken = match walk.lead_through(through.as_ref()) {
        Ok(()) => along(&mut walk, &mut lines)?,
        Err(broken) => Some(broken),
    };
    let verification = Verification::of(&walk, before, broken);
    drop(walk);
    Ok((verification, key))
}

/// Walks along the lines of an export; answers the first thing that is wrong.
fn along(walk: &mut Walk<'_>, lines: &mut Lines<impl BufRead>) -> Result<Option<Broken>, ExportError> {
    let mut next = lines.record()?;
    while let Some(read) = next.take() {
        let seq = walk.tip().seq + 1;
        let malformed = |problem: String| Ok(Some(Broken::at(seq, problem)));
        let line = match read {
            Ok(line) => line,
            Err(problem) => return malformed(problem),
        };
        next = lines.record()?;
        let (head, found) = match line.parts() {
            Ok(parts) => parts,
            Err(problem) => return malformed(problem),
        };
        let following = next.as_ref().and_then(|line| STANDARD.decode(&line.as_ref().ok()?.head).ok());
        let remembered = || following.and_then(|head| Head::decode(&head).ok()).map(|head| head.prev);
        let stepped = walk.step(&head, found, remembered, |_, _, _| {});
        // What a line says beside the head is for readers, who must not be told otherwise.
        let told = stepped.and_then(|()| {
            let head = Head::decode(&head).expect("the walk has read it");
            let same = (line.seq, line.at_ms, &*line.kind, line.call, line.hash)
                == (head.seq, head.at.as_millis(), head.kind.as_str(), head.call, walk.tip().hash);
            if same { Ok(()) } else { Err(Broken::at(seq, "what its line says is not what its head says")) }
        });
        if let Err(broken) = told {
            return Ok(Some(broken));
        }
    }
    Ok(walk.end().and_then(|()| walk.arrived()).err())
}

/// The lines of an export.
struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<String>, ExportError> {
        let mut line = String::new();
        self.number += 1;
        let read = std::io::Read::take(&mut self.input, LINE_MAX).read_line(&mut line)?;
        if read as u64 == LINE_MAX && !line.ends_with('\n') {
            return Err(ExportError::Malformed { line: self.number, problem: "it is too long".to_owned() });
        }
        Ok((read > 0).then_some(line))
    }

    /// The next record, or why its line is none.
    fn record(&mut self) -> Result<Option<Result<ExportLine, String>>, ExportError> {
        let line = match self.next() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(None),
            Err(ExportError::Malformed { line, problem }) => return Ok(Some(Err(format!("line {line}: {problem}")))),
            Err(ExportError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Ok(Some(Err(format!("line {}: it is no text", self.number))));
            }
            Err(error) => return Err(error),
        };
        let number = self.number;
        Ok(Some(serde_json::from_str(&line).map_err(|error| format!("line {number} is no record: {error}"))))
    }
}
