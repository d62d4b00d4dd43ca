//! Questions to the log: which calls of whom, of which tool, when, with which end.

use serde::{Deserialize, Serialize};

use super::audit::{self, Record};
use super::chain::Kind;
use super::index::{CHUNK, Field, Told};
use super::{Inner, Ledger, LedgerError};
use crate::model::{CallId, Timestamp};

/// What calls are asked for; what is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// The call itself.
    pub call: Option<CallId>,
    /// Who called.
    pub subject: Option<String>,
    /// Who vouches for the caller.
    pub issuer: Option<String>,
    /// What was called.
    pub tool: Option<String>,
    /// How it ended: an error code, `completed`, `interrupted`, `replayed`, …
    pub outcome: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// Not before, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Before, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

/// A call that ended, or did not run: the record that says so, and its intent.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundCall {
    /// The outcome or the rejection.
    pub end: Record,
    /// The intent, of a call that ran.
    pub intent: Option<Record>,
}

/// Some of the answers to a query, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The calls.
    pub calls: Vec<FoundCall>,
    /// Where to go on, if there may be more.
    pub next: Option<u64>,
}

/// Records that are looked at in one go where there is no index.
const STEP: u64 = 512;

/// The most records and rows of the index that one page looks at, so that a question nothing answers does not read the whole log.
const LOOKS: u64 = 65_536;

/// A page with so many bytes of bodies gets no further calls.
const BYTES: usize = 2 << 20;

impl Ledger {
    /// Up to `limit` calls that ended, newest first; below record `before`, if that is given. Blocks on the disk.
    ///
    /// Fewer, with a place to go on from, if they are long, or hard to find.
    ///
    /// What was said of erased or pruned calls is not found any more.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn query(&self, query: &Query, before: Option<u64>, limit: usize) -> Result<Page, LedgerError> {
        let inner = &self.inner;
        let tip = audit::tip(&inner.store)?.tip.seq;
        let first = super::base::start(&inner.store)?.tree.size() + 1;
        let mut search = Search { inner, query, limit, calls: Vec::new(), bytes: 0, looks: 0 };
        let mut below = before.unwrap_or(u64::MAX).min(tip + 1);
        let indexed = inner.indexed()?;
        // The end of the log is not in the index yet.
        while below > indexed * CHUNK + 1 && !search.is_over() {
            let from = below.saturating_sub(STEP).max(indexed * CHUNK + 1);
            let records = inner.records(from, usize::try_from(below - from).unwrap_or(usize::MAX))?;
            for end in records.into_iter().rev().filter(|end| end.head.seq < below) {
                search.look_at_one(end)?;
            }
            below = from;
        }
        let terms = query.terms(inner);
        while below > first && !search.is_over() {
            let chunk = (below - 2) / CHUNK;
            search.looks += 1;
            if search.may_hold(chunk)? {
                let mut places: Option<Vec<u64>> = None;
                for term in &terms {
                    let found = inner.occurrences(*term, chunk)?;
                    places = Some(match places {
                        None => found,
                        Some(places) => both(&places, &found),
                    });
                }
                match places {
                    Some(places) => search.look_at(places.into_iter().rev().filter(|seq| *seq < below))?,
                    None => search.look_at((chunk * CHUNK + 1..below).rev())?,
                }
            }
            if !search.is_full() {
                below = chunk * CHUNK + 1;
            }
        }
        let next = match search.calls.last() {
            Some(call) if search.is_full() => Some(call.end.head.seq),
            _ => Some(below).filter(|below| *below > first),
        };
        Ok(Page { calls: search.calls, next })
    }
}

impl Ledger {
    /// How many records are not in the index: up to one chunk that is not full, and what the index is behind.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn unindexed(&self) -> Result<u64, LedgerError> {
        Ok(audit::tip(&self.inner.store)?.tip.seq.saturating_sub(self.inner.indexed()? * CHUNK))
    }
}

impl Query {
    /// The terms of the index that must occur.
    fn terms(&self, inner: &Inner) -> Vec<u64> {
        let call = self.call.map(|call| call.to_string());
        let fields = [
            (Field::Call, &call),
            (Field::Trace, &self.trace_id),
            (Field::Subject, &self.subject),
            (Field::Tool, &self.tool),
            (Field::Outcome, &self.outcome),
        ];
        fields.into_iter().filter_map(|(field, text)| Some(inner.term(field, text.as_deref()?))).collect()
    }

    /// Whether what stands in the end of a call alone does not rule it out.
    fn may_be_met_by(&self, end: &Record, told: &Told) -> bool {
        let at = end.head.at.as_millis();
        let fits = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || found.is_none() || wanted == found;
        self.call.is_none_or(|call| end.head.call == Some(call))
            && self.outcome.as_deref().is_none_or(|wanted| told.outcome() == Some(wanted))
            && self.since_ms.is_none_or(|since| at >= since)
            && self.until_ms.is_none_or(|until| at < until)
            && fits(&self.tool, &told.tool)
            && fits(&self.trace_id, &told.trace_id)
            && fits(&self.subject, &told.subject)
    }

    /// Whether end and intent together say what is asked for, beside what the end says alone.
    fn is_met_by(&self, told: &Told, intent: &Told) -> bool {
        let is = |wanted: &Option<String>, one: &Option<String>, other: &Option<String>| {
            wanted.is_none() || wanted == one || (one.is_none() && wanted == other)
        };
        is(&self.subject, &told.subject, &intent.subject)
            && is(&self.issuer, &told.issuer, &intent.issuer)
            && is(&self.tool, &told.tool, &intent.tool)
            && is(&self.trace_id, &told.trace_id, &intent.trace_id)
    }
}

/// A search under way.
struct Search<'a> {
    inner: &'a Inner,
    query: &'a Query,
    limit: usize,
    calls: Vec<FoundCall>,
    /// The length of their bodies.
    bytes: usize,
    looks: u64,
}

impl Search<'_> {
    fn is_full(&self) -> bool {
        self.calls.len() >= self.limit || self.bytes >= BYTES
    }

    /// Whether this page has cost enough, be it full or not.
    fn is_over(&self) -> bool {
        self.is_full() || self.looks >= LOOKS
    }

    /// Whether the times asked for meet those of a chunk.
    fn may_hold(&self, chunk: u64) -> Result<bool, LedgerError> {
        if self.query.since_ms.is_none() && self.query.until_ms.is_none() {
            return Ok(true);
        }
        let Some((first, last)) = self.inner.times(chunk)? else { return Ok(true) };
        let Timestamp(since) = Timestamp(self.query.since_ms.unwrap_or(0));
        Ok(last.as_millis() >= since && self.query.until_ms.is_none_or(|until| first.as_millis() < until))
    }

    /// Looks at these records, in this order, until there are enough.
    fn look_at(&mut self, places: impl Iterator<Item = u64>) -> Result<(), LedgerError> {
        for seq in places {
            if self.is_full() {
                break;
            }
            match self.one(seq)? {
                Some(end) => self.look_at_one(end)?,
                None => self.looks += 1,
            }
        }
        Ok(())
    }

    /// Looks at a record, unless there are enough.
    fn look_at_one(&mut self, end: Record) -> Result<(), LedgerError> {
        if self.is_full() {
            return Ok(());
        }
        self.looks += 1;
        if !matches!(end.head.kind, Kind::Outcome | Kind::Rejection) {
            return Ok(());
        }
        let Some(told) = end.body.as_deref().map(Told::of) else { return Ok(()) };
        if !self.query.may_be_met_by(&end, &told) {
            return Ok(());
        }
        let intent = told.intent.map(|seq| self.one(seq)).transpose()?.flatten();
        let intent_told = intent.as_ref().and_then(|intent| intent.body.as_deref()).map(Told::of).unwrap_or_default();
        if self.query.is_met_by(&told, &intent_told) {
            let bodies = [Some(&end), intent.as_ref()].into_iter().flatten().filter_map(|record| record.body.as_ref());
            self.bytes += bodies.map(Vec::len).sum::<usize>();
            self.calls.push(FoundCall { end, intent });
        }
        Ok(())
    }

    fn one(&self, seq: u64) -> Result<Option<Record>, LedgerError> {
        Ok(self.inner.records(seq, 1)?.pop().filter(|record| record.head.seq == seq))
    }
}

/// What two ascending lists have in common.
fn both(one: &[u64], other: &[u64]) -> Vec<u64> {
    one.iter().copied().filter(|seq| other.binary_search(seq).is_ok()).collect()
}
