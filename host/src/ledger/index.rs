//! The index of the log: in which records a term occurs, for questions that should not read the whole log.
//!
//! Built behind the log, one chunk of 4096 records at a time, from the log alone: writing calls down costs nothing more, and what
//! is lost can be built again. A term is known by a keyed hash, so the index tells nobody who called what. Its first bits choose
//! one of 64 buckets; a row holds, for one chunk and bucket, the terms and the places where they occur. So to look up a term
//! is to read one short row per chunk, one after the other.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::audit;
use super::body::Found;
use super::chain::{Head, Kind};
use super::{Inner, LedgerError, keys};
use crate::model::Timestamp;
use crate::store::{MAX_PAYLOAD, Urgency};

/// Records per chunk.
pub(super) const CHUNK: u64 = 4096;

/// A term with more places than this is stored as a bitmap: 512 bytes for 4096 records.
const LIST_MAX: usize = 240;

/// In place of a number of places: a bitmap follows.
const BITMAP: u16 = u16::MAX;

/// Rows written in one commit: few enough that the calls behind it hardly notice.
const ROWS: usize = 16;

/// What of a call can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Field {
    Call,
    Trace,
    Subject,
    Tool,
    Outcome,
}

impl Field {
    fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Trace => "trace",
            Self::Subject => "subject",
            Self::Tool => "tool",
            Self::Outcome => "outcome",
        }
    }
}

/// What the records of a call say that can be asked for. Of an outcome, the rest stands in its intent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Told {
    #[serde(default)]
    pub issuer: Option<String>,
    #[serde(default)]
    pub subject: Option<String>,
    #[serde(default)]
    pub tool: Option<String>,
    #[serde(default)]
    pub trace_id: Option<String>,
    #[serde(default)]
    pub risk: Option<String>,
    #[serde(default)]
    pub intent: Option<u64>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    ended: Option<String>,
}

impl Told {
    /// What a body says; nothing if it is none of a call's.
    pub fn of(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }

    /// How the call ended, in one word: the error it was answered with, or how it came to its end.
    pub fn outcome(&self) -> Option<&str> {
        self.code.as_deref().or(self.error.as_deref()).or(self.ended.as_deref())
    }
}

impl Inner {
    /// Adds the next chunk to the index, if the log has got that far; answers whether it had.
    pub(super) fn index_next(&self) -> Result<bool, LedgerError> {
        let chunk = self.indexed()?;
        let full = (chunk + 1) * CHUNK;
        // INVARIANT: only what is durable is indexed. What is lost yet would be in the index, and what comes in its place never.
        if audit::tip(&self.store)?.tip.seq < full || self.durable_tip()?.seq < full {
            return Ok(false);
        }
        let mut postings = Postings::default();
        // Callers and tools come again and again.
        let mut known: HashMap<(Field, String), u64> = HashMap::new();
        let mut callers: HashMap<u64, (Option<String>, Option<String>)> = HashMap::new();
        let (mut first, mut last) = (Timestamp(u64::MAX), Timestamp(0));
        audit::each(&self.store, chunk * CHUNK + 1, CHUNK as usize, |seq, item| {
            let Some((bytes, stored)) = item else {
                return Err(LedgerError::damaged(format!("record {seq}"))("it is cut short"));
            };
            let head = Head::decode(bytes).map_err(LedgerError::damaged(format!("record {seq}")))?;
            (first, last) = (first.min(head.at), last.max(head.at));
            let place = ((seq - 1) % CHUNK) as u16;
            if let (Kind::Admin, Some(call)) = (head.kind, head.call) {
                postings.add(self.term(Field::Call, &call.to_string()), place);
            }
            if !matches!(head.kind, Kind::Intent | Kind::Outcome | Kind::Rejection) {
                return Ok(());
            }
            let Found::Whole(salted) = self.body(seq, stored, &head.body)? else { return Ok(()) };
            let mut told = Told::of(salted.json());
            if head.kind == Kind::Intent {
                callers.insert(seq, (told.subject, told.trace_id));
                return Ok(());
            }
            if let Some(intent) = told.intent {
                let caller = callers.remove(&intent).map_or_else(|| self.caller_of(intent), Ok)?;
                (told.subject, told.trace_id) = caller;
            }
            let call = head.call.map(|call| call.to_string());
            let outcome = told.outcome().map(str::to_owned);
            let terms = [
                (Field::Call, call),
                (Field::Trace, told.trace_id),
                (Field::Subject, told.subject),
                (Field::Tool, told.tool),
                (Field::Outcome, outcome),
            ];
            for (field, text) in terms.into_iter().filter_map(|(field, text)| Some((field, text?))) {
                let term = match field {
                    Field::Call | Field::Trace => self.term(field, &text),
                    _ => *known.entry((field, text)).or_insert_with_key(|(field, text)| self.term(*field, text)),
                };
                postings.add(term, place);
            }
            Ok(())
        })?;
        let mut rows = postings.rows(chunk);
        rows.push((keys::times(chunk), [first.as_millis().to_be_bytes(), last.as_millis().to_be_bytes()].concat()));
        while !rows.is_empty() {
            let group = rows.split_off(rows.len().saturating_sub(ROWS));
            self.store.commit_blocking(Urgency::Now, move |tx| group.into_iter().try_for_each(|(key, row)| tx.put(key, row)))?;
        }
        // Only now: a chunk that is cut off by a crash is done again.
        self.store
            .commit_blocking(Urgency::Soon, move |tx| tx.put(keys::INDEXED.to_vec(), (chunk + 1).to_be_bytes().to_vec()))?;
        Ok(true)
    }

    /// The first chunk that is not in the index.
    pub(super) fn indexed(&self) -> Result<u64, LedgerError> {
        let Some(row) = self.store.get(keys::INDEXED)? else { return Ok(0) };
        row.as_slice().try_into().map(u64::from_be_bytes).map_err(LedgerError::damaged("the state of the index"))
    }

    pub(super) fn term(&self, field: Field, text: &str) -> u64 {
        self.secret.term(field.as_str(), text)
    }

    /// Who called, and in which trace, as the intent says.
    fn caller_of(&self, intent: u64) -> Result<(Option<String>, Option<String>), LedgerError> {
        let record = self.records(intent, 1)?.pop().filter(|record| record.head.seq == intent);
        let told = record.and_then(|record| record.body).map(|body| Told::of(&body)).unwrap_or_default();
        Ok((told.subject, told.trace_id))
    }

    /// The records of a chunk of the index in which a term occurs, ascending. May be a few too many: hashes can meet.
    pub(super) fn occurrences(&self, term: u64, chunk: u64) -> Result<Vec<u64>, LedgerError> {
        let (bucket, print) = place_of(term);
        let mut found = Vec::new();
        for row in self.store.scan(&keys::index(bucket, chunk, 0), &keys::index(bucket, chunk + 1, 0), usize::MAX)? {
            let row = row.intact()?;
            let damaged = || LedgerError::damaged("a row of the index")("it is cut short");
            find(&row, print, &mut found).ok_or_else(damaged)?;
        }
        Ok(found.into_iter().map(|place| chunk * CHUNK + 1 + u64::from(place)).collect())
    }

    /// When the first and the last record of a chunk of the index were written.
    pub(super) fn times(&self, chunk: u64) -> Result<Option<(Timestamp, Timestamp)>, LedgerError> {
        let Some(row) = self.store.get(&keys::times(chunk))? else { return Ok(None) };
        let times = row.as_chunks::<8>().0;
        let damaged = || LedgerError::damaged("the times of a chunk")("they are cut short");
        let [first, last] = times.try_into().map_err(|_| damaged())?;
        Ok(Some((Timestamp(u64::from_be_bytes(first)), Timestamp(u64::from_be_bytes(last)))))
    }
}

/// The bucket of a term, and what it is told by there.
fn place_of(term: u64) -> (u8, u32) {
    ((term >> 58) as u8, (term >> 16) as u32)
}

/// Adds the places of the term `print` in a row to `found`; `None` if the row is cut short.
fn find(mut row: &[u8], print: u32, found: &mut Vec<u16>) -> Option<()> {
    while !row.is_empty() {
        let (name, rest) = row.split_first_chunk::<4>()?;
        let (count, rest) = rest.split_first_chunk::<2>()?;
        let count = u16::from_be_bytes(*count);
        let length = if count == BITMAP { CHUNK as usize / 8 } else { usize::from(count) * 2 };
        let (places, rest) = rest.split_at_checked(length)?;
        if u32::from_be_bytes(*name) == print {
            if count == BITMAP {
                let set = |place: &u16| places[usize::from(place / 8)] & (1 << (place % 8)) != 0;
                found.extend((0..CHUNK as u16).filter(set));
            } else {
                found.extend(places.as_chunks::<2>().0.iter().map(|place| u16::from_be_bytes(*place)));
            }
        }
        row = rest;
    }
    Some(())
}

/// The places of all terms of one chunk, by bucket and print.
#[derive(Default)]
struct Postings(BTreeMap<(u8, u32), Vec<u16>>);

impl Postings {
    /// Adds a place. Places come in ascending order.
    fn add(&mut self, term: u64, place: u16) {
        let places = self.0.entry(place_of(term)).or_default();
        if places.last() != Some(&place) {
            places.push(place);
        }
    }

    fn rows(self, chunk: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut current: Option<(u8, u8)> = None;
        for ((bucket, print), places) in self.0 {
            let mut entry = print.to_be_bytes().to_vec();
            if places.len() > LIST_MAX {
                let mut bitmap = [0; CHUNK as usize / 8];
                places.iter().for_each(|place| bitmap[usize::from(place / 8)] |= 1 << (place % 8));
                entry.extend(BITMAP.to_be_bytes());
                entry.extend(bitmap);
            } else {
                entry.extend((places.len() as u16).to_be_bytes());
                entry.extend(places.iter().flat_map(|place| place.to_be_bytes()));
            }
            match (current, rows.last_mut()) {
                (Some((same, _)), Some((_, row))) if same == bucket && row.len() + entry.len() <= MAX_PAYLOAD => {
                    row.extend(entry)
                }
                (last, _) => {
                    let part = last.filter(|(same, _)| *same == bucket).map_or(0, |(_, part)| part + 1);
                    current = Some((bucket, part));
                    rows.push((keys::index(bucket, chunk, part), entry));
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_and_frequent_terms_are_found_in_rows_of_any_number_of_parts() {
        let mut postings = Postings::default();
        let terms: Vec<u64> = (0..3000).map(|n| n << 16 | 7 << 58).collect();
        for place in 0..CHUNK as u16 {
            postings.add(terms[usize::from(place) % 10], place);
            postings.add(terms[usize::from(place) % 3000], place);
        }
        let rows = postings.rows(5);
        assert!(rows.len() > 2 && rows.iter().all(|(_, row)| row.len() <= MAX_PAYLOAD));
        assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0), "each part has a key of its own");
        let places = |term: u64| {
            let mut found = Vec::new();
            rows.iter().for_each(|(_, row)| find(row, place_of(term).1, &mut found).expect("whole rows"));
            found
        };
        assert_eq!(places(terms[2999]), [2999]);
        assert_eq!(places(terms[3]), (0..CHUNK as u16).filter(|place| place % 10 == 3).collect::<Vec<_>>());
        assert_eq!(places(5000 << 16 | 7 << 58), Vec::<u16>::new());
    }
}
