//! What a sink's file holds already: where its last whole line ends, and which record that is of.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use serde::Deserialize;

use super::super::export::{ExportHeader, ExportLine};
use super::batch::Format;
use crate::model::Digest;

/// The longest line that is looked for: as long as any of an export.
const LINE_MAX: u64 = 16 << 20;

/// How much is read at once while looking for the start of a line.
const CHUNK: usize = 64 << 10;

/// The start and the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// How many bytes its whole lines take.
    pub whole: u64,
    /// The first of them.
    pub first: Option<Vec<u8>>,
    /// The last of them; the first again if there is one only.
    pub last: Option<Vec<u8>>,
    /// Whether something follows that is no whole line, and that is not the start of one of ours either.
    pub is_foreign: bool,
}

impl Tail {
    /// Reads what there is.
    pub fn read(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let whole = line_start(file, length)?;
        let mut start = [0; 2];
        let start = &mut start[..(length - whole).min(2) as usize];
        file.read_exact_at(start, whole)?;
        let is_foreign = !b"{\"".starts_with(start);
        if whole == 0 {
            return Ok(Self { whole, first: None, last: None, is_foreign });
        }
        let last = read(file, line_start(file, whole - 1)?, whole - 1)?;
        Ok(Self { whole, first: Some(first_line(file, whole)?), last: Some(last), is_foreign })
    }
}

/// Where the line begins that goes on until `end`: behind the last line break before it, or at 0.
fn line_start(file: &File, end: u64) -> io::Result<u64> {
    let mut until = end;
    while until > 0 {
        let from = until.saturating_sub(CHUNK as u64);
        if let Some(at) = read(file, from, until)?.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        if end - from > LINE_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its last line is longer than any of ours"));
        }
        until = from;
    }
    Ok(0)
}

fn first_line(file: &File, whole: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while (line.len() as u64) < whole.min(LINE_MAX) {
        let from = line.len() as u64;
        let chunk = read(file, from, whole.min(from + CHUNK as u64))?;
        if let Some(at) = chunk.iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(&chunk[..at]);
            return Ok(line);
        }
        line.extend(chunk);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is longer than any of ours"))
}

fn read(file: &File, from: u64, until: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(until - from).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// A record that a line is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Format {
    /// The record that the last line of a file is about, of the log named `log` with this public key; for a file that has only
    /// its header, the one before. `None` if it is not about a record of that log.
    pub(super) fn place(self, first: &[u8], last: &[u8], (log, key): (&str, &str)) -> Option<Place> {
        #[derive(Deserialize)]
        struct OcsfLine {
            metadata: Metadata,
            unmapped: Unmapped,
        }
        #[derive(Deserialize)]
        struct Metadata {
            log_name: String,
            sequence: u64,
        }
        #[derive(Deserialize)]
        struct Unmapped {
            hash: Digest,
        }
        #[derive(Deserialize)]
        struct CloudEventLine {
            source: String,
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            seq: u64,
            hash: Digest,
        }
        match self {
            Self::Jsonl => {
                let header: ExportHeader = serde_json::from_slice(first).ok()?;
                if header.key() != key {
                    return None;
                }
                if first == last {
                    let (before, prev) = header.before()?;
                    return Some(Place { seq: before, hash: prev });
                }
                let line: ExportLine = serde_json::from_slice(last).ok()?;
                Some(Place { seq: line.seq, hash: line.hash })
            }
            Self::Ocsf => {
                let line: OcsfLine = serde_json::from_slice(last).ok()?;
                let place = Place { seq: line.metadata.sequence, hash: line.unmapped.hash };
                (line.metadata.log_name == log).then_some(place)
            }
            Self::CloudEvents => {
                let line: CloudEventLine = serde_json::from_slice(last).ok()?;
                (line.source == log).then_some(Place { seq: line.data.seq, hash: line.data.hash })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn tail(content: &[u8]) -> Tail {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("written");
        Tail::read(&file).expect("readable")
    }

    #[test]
    fn the_last_whole_line_is_found_whatever_follows_it() {
        let long = vec![b'x'; 3 * CHUNK];
        let text = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        for (content, whole, first, last) in [
            (&b""[..], 0, None, None),
            (b"{\"a", 0, None, None),
            (b"one\n", 4, Some(&b"one"[..]), Some(&b"one"[..])),
            (b"one\ntwo\n{", 8, Some(b"one"), Some(b"two")),
            (&[b"one\n", &long[..], b"\n{\"torn"].concat(), 5 + long.len() as u64 - 1 + 1, Some(b"one"), Some(&long)),
        ] {
            let found = tail(content);
            assert_eq!((found.whole, found.first, found.last, found.is_foreign), (whole, text(first), text(last), false));
        }
        assert!(tail(b"root:x:0").is_foreign && tail(b"one\nt").is_foreign);
    }
}
