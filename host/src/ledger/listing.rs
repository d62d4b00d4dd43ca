//! The calls that the ledger remembers, for operators: which there are, in pages, and all there is to say about one.

use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calls::{EndedRow, NO_INTENT, Verdict};
use super::open::OpenCall;
use super::queue::WaitingCall;
use super::status::CallStatus;
use super::{Ledger, LedgerError, keys};
use crate::model::{CallId, Effect, Timestamp};

/// The most calls on a page.
pub const PAGE_MAX: usize = 1000;

/// The most rows that are looked at for one page: those of another state cost time, too.
const LOOK_MAX: usize = 8 * PAGE_MAX;

/// Which calls to list, oldest first within a state: those that wait, those that run, those that are unknown, those that have ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallsQuery {
    /// Only those that stand so.
    pub state: Option<CallStatus>,
    /// Only those after the end of an earlier page.
    pub after: Option<String>,
    /// How many; at most [`PAGE_MAX`].
    pub limit: usize,
}

/// A page of calls.
#[derive(Clone, Debug, Serialize)]
pub struct CallsPage {
    /// The calls.
    pub calls: Vec<CallSummary>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
}

/// One call, as far as the ledger remembers it.
#[derive(Clone, Debug, Serialize)]
pub struct CallSummary {
    /// The call.
    pub call: CallId,
    /// Where it stands.
    pub status: CallStatus,
    /// Whether it may change the world.
    pub effect: Effect,
    /// Since when it waited for its turn, RFC 3339, if that was written down.
    pub queued: Option<String>,
    /// When its intent was recorded, RFC 3339; nothing if it has not started, or never did.
    pub started: Option<String>,
    /// When its outcome was recorded, RFC 3339.
    pub ended: Option<String>,
    /// When it is forgotten, RFC 3339; never, while its outcome is unknown.
    pub expires: Option<String>,
    /// Whether its caller cancelled it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// The call for whose outcome it asked again.
    pub reask_of: Option<CallId>,
    /// The call that asked again for its outcome and got the answer.
    pub answered_by: Option<CallId>,
    /// What an operator found out about it.
    pub resolved: Option<Verdict>,
    /// What the log says it was; nothing, if that was erased.
    #[serde(flatten)]
    pub intent: IntentSummary,
}

/// What the log says of the intent of a call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IntentSummary {
    /// The tool.
    pub tool: Option<String>,
    /// The caller.
    pub subject: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// The arguments, as they were recorded.
    pub arguments: Option<Value>,
}

/// All there is to say about one call.
#[derive(Clone, Debug, Serialize)]
pub struct CallReport {
    /// What a listing says.
    #[serde(flatten)]
    pub summary: CallSummary,
    /// The answer it was given, if it is kept.
    pub answer: Option<Value>,
}

/// A place in the list of all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    section: Section,
    at: Timestamp,
    call: CallId,
}

/// The parts of the list, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Queued,
    Running,
    Unknown,
    Ended,
}

impl Section {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Queued, "queued"), (Self::Running, "running"), (Self::Unknown, "unknown"), (Self::Ended, "ended")];

    /// Whether there may be calls of that state in it.
    fn may_hold(self, state: Option<CallStatus>) -> bool {
        match state {
            None => true,
            Some(CallStatus::Queued | CallStatus::Asking) => self == Self::Queued,
            Some(CallStatus::Running) => self == Self::Running,
            Some(CallStatus::Unknown) => self == Self::Unknown,
            Some(CallStatus::Done | CallStatus::Released) => self == Self::Ended,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (_, section) = Section::ALL[self.section as usize];
        write!(f, "{section}.{}.{}", self.at.as_millis(), self.call)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or(());
        let section = next()?;
        let (section, _) = Section::ALL.into_iter().find(|(_, name)| *name == section).ok_or(())?;
        Ok(Self { section, at: Timestamp(next()?.parse().map_err(drop)?), call: next()?.parse().map_err(drop)? })
    }
}

impl Ledger {
    /// A page of the calls that the ledger remembers. Blocks on the disk, for as long as it takes to read a few thousand rows.
    ///
    /// # Errors
    /// If the place to go on from is none, or the store can't be read or holds nonsense.
    pub fn calls(&self, query: &CallsQuery) -> Result<CallsPage, LedgerError> {
        let after = query.after.as_ref().map(|text| text.parse::<Place>().map_err(|()| text));
        let after = after.transpose().map_err(|text| LedgerError::NoSuchPlace { place: text.clone() })?;
        let limit = query.limit.clamp(1, PAGE_MAX);
        let mut page = CallsPage { calls: Vec::new(), next: None };
        let mut looked = 0;
        for (section, _) in Section::ALL {
            if !section.may_hold(query.state) || after.is_some_and(|after| after.section > section) {
                continue;
            }
            let after = after.filter(|after| after.section == section);
            for place in self.places(section, after, LOOK_MAX - looked)? {
                looked += 1;
                if let Some(summary) = self.listed(&place, query.state)? {
                    page.calls.push(summary);
                }
                if page.calls.len() == limit || looked == LOOK_MAX {
                    page.next = Some(place.to_string());
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// All there is to say about one call; `None` if the ledger does not remember it. Blocks on the disk.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn report(&self, call: &CallId) -> Result<Option<CallReport>, LedgerError> {
        if let Some(waiting) = self.inner.waiting.get(call) {
            return Ok(Some(CallReport { summary: self.waiting(call, &waiting)?, answer: None }));
        }
        if let Some(open) = self.inner.open_calls.running(call) {
            return Ok(Some(CallReport { summary: self.running(&open)?, answer: None }));
        }
        let Some(row) = self.inner.store.get(&keys::ended(call))? else { return Ok(None) };
        let row = EndedRow::decode(call, &row)?;
        if row.is_expired(self.now()) {
            return Ok(None);
        }
        let Some((holder, answering)) = self.answering(call, &row)? else { return Ok(None) };
        let answer = self.response(&holder, &answering)?.map(|response| response.value);
        let summary = CallSummary { status: answering.status, ..self.ended(call, &row)? };
        Ok(Some(CallReport { summary, answer }))
    }

    /// Up to `limit` places of a section, behind `after`.
    fn places(&self, section: Section, after: Option<Place>, limit: usize) -> Result<Vec<Place>, LedgerError> {
        if matches!(section, Section::Queued | Section::Running) {
            let place = |at, call| Place { section, at, call };
            let mut places: Vec<_> = match section {
                Section::Queued => {
                    self.inner.waiting.all().into_iter().map(|(call, waiting)| place(waiting.queued_at, call)).collect()
                }
                _ => self.inner.open_calls.all().into_iter().map(|open| place(open.started, open.call)).collect(),
            };
            places.sort();
            return Ok(places.into_iter().filter(|place| Some(*place) > after).take(limit).collect());
        }
        let (start, end) = match section {
            Section::Unknown => (keys::UNKNOWN_START, keys::UNKNOWN_END),
            _ => (keys::EXPIRY_START, keys::EXPIRY_END),
        };
        let from = match (after, section) {
            (None, _) => start.to_vec(),
            (Some(after), Section::Unknown) => [keys::unknown(after.at, &after.call), vec![0]].concat(),
            (Some(after), _) => [keys::expiry(after.at, &after.call), vec![0]].concat(),
        };
        let entries = self.inner.store.scan(&from, end, limit)?;
        let place = |key: &[u8]| {
            let (at, call) =
                keys::time_and_call(key).ok_or_else(|| LedgerError::damaged("a list of calls")("a key is too short"))?;
            Ok(Place { section, at, call })
        };
        entries.iter().map(|entry| place(&entry.key)).collect()
    }

    /// The call at a place, if it stands as asked for and is not forgotten.
    fn listed(&self, place: &Place, state: Option<CallStatus>) -> Result<Option<CallSummary>, LedgerError> {
        if place.section == Section::Queued {
            let waiting =
                self.inner.waiting.get(&place.call).filter(|waiting| state.is_none_or(|state| state == waiting.status()));
            return waiting.map(|waiting| self.waiting(&place.call, &waiting)).transpose();
        }
        if place.section == Section::Running {
            return self.inner.open_calls.running(&place.call).map(|open| self.running(&open)).transpose();
        }
        let Some(row) = self.inner.store.get(&keys::ended(&place.call))? else { return Ok(None) };
        let row = EndedRow::decode(&place.call, &row)?;
        // A call that asked again is only another name of the one it asked for.
        let is_listed = row.asked_for.is_none() && !row.is_expired(self.now()) && state.is_none_or(|state| state == row.status);
        // A call that was settled since the places were read is at its new place.
        let is_here = (row.status == CallStatus::Unknown) == (place.section == Section::Unknown);
        if is_listed && is_here { self.ended(&place.call, &row).map(Some) } else { Ok(None) }
    }

    fn waiting(&self, call: &CallId, waiting: &WaitingCall) -> Result<CallSummary, LedgerError> {
        let intent = self.inner.waiting_summary(call, waiting)?;
        Ok(CallSummary::unfinished(*call, waiting.status(), waiting.effect, Some(waiting.queued_at), intent))
    }

    fn running(&self, open: &OpenCall) -> Result<CallSummary, LedgerError> {
        let intent = self.intent_of(&open.call, open.intent)?;
        let summary = CallSummary::unfinished(open.call, CallStatus::Running, open.effect, open.queued_at, intent);
        Ok(CallSummary { started: Some(time(open.started)), ..summary })
    }

    fn ended(&self, call: &CallId, row: &EndedRow) -> Result<CallSummary, LedgerError> {
        Ok(CallSummary {
            call: *call,
            status: row.status,
            effect: row.effect,
            queued: row.queued_at.map(time),
            started: (row.intent != NO_INTENT).then(|| time(row.started)),
            ended: Some(time(row.ended)),
            expires: row.expires.map(time),
            cancelled: row.cancelled,
            reask_of: row.asked_for,
            answered_by: row.answered_by,
            resolved: row.resolved,
            intent: self.intent_of(call, row.intent)?,
        })
    }

    /// What the log says of the intent of `call`; nothing if it is gone.
    fn intent_of(&self, call: &CallId, seq: u64) -> Result<IntentSummary, LedgerError> {
        let record = self.records(seq, 1)?.pop().filter(|record| record.head.call == Some(*call));
        let Some(body) = record.and_then(|record| record.body) else { return Ok(IntentSummary::default()) };
        serde_json::from_slice(&body).map_err(LedgerError::damaged(format!("record {seq}")))
    }
}

impl CallSummary {
    /// That of a call that waits, or runs.
    fn unfinished(call: CallId, status: CallStatus, effect: Effect, queued_at: Option<Timestamp>, intent: IntentSummary) -> Self {
        Self {
            call,
            status,
            effect,
            queued: queued_at.map(time),
            started: None,
            ended: None,
            expires: None,
            cancelled: false,
            reask_of: None,
            answered_by: None,
            resolved: None,
            intent,
        }
    }
}

/// A time as people and programs read it.
pub(super) fn time(at: Timestamp) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.as_millis())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_what_it_prints_and_nothing_else() {
        for (section, name) in Section::ALL {
            let place = Place { section, at: Timestamp(1_800_000_000_000), call: CallId::random() };
            assert!(place.to_string().starts_with(name));
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in ["", "ended", "ended.1", "gone.1.call_00000000000000000000000000000000", "ended.x.y"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
