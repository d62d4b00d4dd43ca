//! The file that an export goes to: new, or one that an earlier export was cut off in.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::export::Format;
use crate::ledger::{ExportHeader, ExportLine, PublicKey};
use crate::model::Digest;

/// How much of a file is read at a time, from its end.
const BLOCK: u64 = 64 << 10;

/// The longest line, in bytes.
const LONGEST: u64 = 64 << 20;

/// A file that an export goes on in.
pub struct Out {
    /// The file, at its end.
    pub file: File,
    /// The first record of what it holds, if it says that.
    pub begun: Option<u64>,
    /// The last record that it holds, if it holds any.
    pub ends: Option<End>,
}

/// A record at the end of a file.
pub struct End {
    /// Which.
    pub seq: u64,
    /// Its hash, if the format says it.
    pub hash: Option<Digest>,
}

/// Opens the file, cuts off a last line that was never finished, and tells what it holds.
///
/// # Errors
/// It can't be written, or is something else than an export of this log in this format.
pub fn open(path: &Path, format: Format, key: &PublicKey) -> Result<Out> {
    let cant = || format!("can't write `{}`", path.display());
    let other = |what: &str| format!("`{}` is there, and {what}, so name another file", path.display());
    // What an export says was kept from other users so far.
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = file.with_context(cant)?;
    // Until the file is closed.
    if file.try_lock().is_err() {
        bail!(other("another export is writing it"));
    }
    let length = file.metadata().with_context(cant)?.len();
    let whole = line_before(&mut file, length).with_context(cant)?;
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(0)).with_context(cant)?;
    BufReader::new(&file).take(LONGEST).read_until(b'\n', &mut start).with_context(cant)?;
    let (begun, ends) = if whole == 0 {
        // Not even the first line was finished; but it must have been ours.
        let begins: &[u8] = if format == Format::Jsonl { b"{\"tidegate_export\":" } else { b"{" };
        let common = start.len().min(begins.len());
        if start[..common] != begins[..common] {
            bail!(other("is no export"));
        }
        (None, None)
    } else {
        let from = line_before(&mut file, whole - 1).with_context(cant)?;
        let mut last = Vec::new();
        file.seek(SeekFrom::Start(from)).with_context(cant)?;
        (&file).take(whole - from).read_to_end(&mut last).with_context(cant)?;
        match format {
            Format::Jsonl => {
                let header: ExportHeader = serde_json::from_slice(&start).with_context(|| other("is no export"))?;
                if header.key() != key.to_string() {
                    bail!(other("is an export of another log"));
                }
                let end = (from > 0).then(|| serde_json::from_slice::<ExportLine>(&last)).transpose();
                let end = end.with_context(|| other("its last line is no record"))?;
                (Some(header.from()), end.map(|line| End { seq: line.seq, hash: Some(line.hash) }))
            }
            Format::Ocsf | Format::Cloudevents => {
                let event: Value = serde_json::from_slice(&last).with_context(|| other("its last line is no event"))?;
                let uid = if format == Format::Ocsf { &event["metadata"]["uid"] } else { &event["id"] };
                let place = uid.as_str().and_then(|uid| uid.rsplit_once('/'));
                let seq = place.filter(|(log, _)| *log == key.name()).and_then(|(_, seq)| seq.parse().ok());
                (None, Some(End { seq: seq.with_context(|| other("its last line is no event of this log"))?, hash: None }))
            }
        }
    };
    if whole < length {
        file.set_len(whole).with_context(cant)?;
    }
    file.seek(SeekFrom::Start(whole)).with_context(cant)?;
    Ok(Out { file, begun, ends })
}

/// Where the line begins that goes on until `end`: behind the last line break before that.
fn line_before(file: &mut File, end: u64) -> std::io::Result<u64> {
    let mut until = end;
    while until > 0 {
        let from = until.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.take(until - from).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        until = from;
    }
    Ok(0)
}
