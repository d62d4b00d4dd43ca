//! Calls between intent and outcome: what is written about them, so that a crash leaves none without an outcome.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cbor::{self, Malformed, Reader};
use super::{LedgerError, keys, page};
use crate::model::{CallId, Digest, Effect, Risk, Timestamp};
use crate::store::Tx;

/// How many open calls share a page. An entry takes at most 171 bytes.
const PER_PAGE: u32 = 22;

/// All that is needed to end an open call, also after a crash.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenCall {
    pub call: CallId,
    pub effect: Effect,
    /// The retention class of its records.
    pub risk: Risk,
    pub claim: Option<Digest>,
    pub owner: Digest,
    /// The sequence of the intent.
    pub intent: u64,
    /// Since when it waited for its turn, if that was written down.
    pub queued_at: Option<Timestamp>,
    pub started: Timestamp,
    pub generation: u64,
    pub policies: Digest,
}

impl OpenCall {
    fn encode(&self) -> Vec<u8> {
        cbor::encode(180, |writer| {
            writer.array(11).number(3).bytes(self.call.as_bytes()).number(effect_number(self.effect));
            writer.text(self.risk.as_str());
            writer.maybe_bytes(self.claim.as_ref().map(|claim| &claim.0[..])).bytes(&self.owner.0);
            writer.number(self.intent).number(self.started.as_millis());
            writer.number(self.generation).bytes(&self.policies.0);
            writer.number(self.queued_at.map_or(0, Timestamp::as_millis));
        })
    }

    fn decode(entry: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(entry);
        // Version 2 did not know of calls that wait.
        let version = reader.row_of(&[(3, 11), (2, 10)])?;
        let open = Self {
            call: CallId::from_bytes(reader.array()?),
            effect: read_effect(&mut reader)?,
            risk: Risk::read(reader.text()?).ok_or_else(|| Malformed::message("an unknown class of risk"))?,
            claim: reader.maybe(Reader::digest)?,
            owner: reader.digest()?,
            intent: reader.number()?,
            started: Timestamp(reader.number()?),
            generation: reader.number()?,
            policies: reader.digest()?,
            queued_at: if version == 2 { None } else { Some(reader.number()?).filter(|at| *at != 0).map(Timestamp) },
        };
        reader.end()?;
        Ok(open)
    }
}

/// The calls this process has open, and the places of their entries.
///
/// Entries share pages, and places are given out lowest first, so that a few pages are rewritten once per group of commits
/// instead of a row being put and deleted for each call.
#[derive(Default)]
pub(super) struct OpenCalls(Mutex<State>);

#[derive(Default)]
struct State {
    /// Places given back, below `next`.
    free: BTreeSet<u32>,
    /// The first place never given out. As high as the most calls that were ever open at a time.
    next: u32,
    /// Places given out, and to which calls.
    held: HashMap<u32, CallId>,
    /// Places given up while their entry was still there: not given out again until it has been taken away.
    blocked: Vec<u32>,
    /// Calls whose intent is durable and whose outcome is not.
    running: HashMap<CallId, OpenCall>,
}

impl OpenCalls {
    /// A place for one more open call.
    pub fn place(self: &Arc<Self>, call: CallId) -> Place {
        let mut state = self.lock();
        let number = state.free.pop_first().unwrap_or_else(|| {
            state.next += 1;
            state.next - 1
        });
        state.held.insert(number, call);
        Place { calls: Arc::clone(self), number, occupied: false, running: None }
    }

    /// Whether the entry at this place of this page is that of a call which somebody in this process is going to end.
    pub fn is_held(&self, page: u32, tag: u8, call: &CallId) -> bool {
        self.lock().held.get(&(page * PER_PAGE + u32::from(tag))) == Some(call)
    }

    /// Gives out again the places whose entries nobody took away. Only once they have been.
    pub fn unblock(&self) {
        let mut state = self.lock();
        let blocked = std::mem::take(&mut state.blocked);
        state.free.extend(blocked);
    }

    /// The call, if it is running.
    pub fn running(&self, call: &CallId) -> Option<OpenCall> {
        self.lock().running.get(call).cloned()
    }

    /// All calls that are running.
    pub fn all(&self) -> Vec<OpenCall> {
        self.lock().running.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change keeps the state whole: a panic elsewhere cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one open call's entry, given back when the call's outcome is durable.
pub(super) struct Place {
    calls: Arc<OpenCalls>,
    number: u32,
    /// Whether the entry is there, as far as this process knows.
    occupied: bool,
    running: Option<CallId>,
}

impl Place {
    /// Lets others see that the call runs. Only once its intent is durable.
    pub fn show(&mut self, open: &OpenCall) {
        self.running = Some(open.call);
        self.calls.lock().running.insert(open.call, open.clone());
    }

    /// Adds the entry to its page.
    ///
    /// INVARIANT: a place has one entry at most; it is given out again only after the outcome that removed the last one.
    pub fn put(&mut self, tx: &mut Tx<'_>, open: &OpenCall) -> Result<(), LedgerError> {
        let (key, mut page) = self.page(tx)?;
        let fits = page::push(&mut page, &[&self.tag(), &open.encode()]);
        assert!(fits, "a page has room for the entries of all its places");
        tx.put(key, page)?;
        self.occupied = true;
        Ok(())
    }

    /// That the entry is gone for good, with all that was to be written in the same commit.
    pub fn vacate(&mut self) {
        self.occupied = false;
    }

    /// Removes the entry from its page.
    ///
    /// # Errors
    /// [`LedgerError::NotOpen`] if it is not there: the call has its outcome already.
    pub fn remove(&mut self, tx: &mut Tx<'_>, call: &CallId) -> Result<(), LedgerError> {
        let (key, page) = self.page(tx)?;
        let mut rest = Vec::with_capacity(page.len());
        let mut removed = false;
        for entry in page::pairs(&page) {
            let (tag, entry) = entry.ok_or_else(|| LedgerError::damaged("a page of open calls")("it is cut short"))?;
            if tag == self.tag() {
                removed = true;
            } else {
                page::push(&mut rest, &[tag, entry]);
            }
        }
        if !removed {
            self.occupied = false;
            return Err(LedgerError::NotOpen { call: *call });
        }
        if rest.is_empty() {
            tx.delete(key)
        } else {
            tx.put(key, rest)?
        }
        Ok(())
    }

    fn page(&self, tx: &Tx<'_>) -> Result<(Vec<u8>, Vec<u8>), LedgerError> {
        let key = keys::open(self.number / PER_PAGE);
        let page = tx.get(&key)?.unwrap_or_default();
        Ok((key, page))
    }

    fn tag(&self) -> [u8; 1] {
        [(self.number % PER_PAGE) as u8]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.calls.lock();
        state.held.remove(&self.number);
        if self.occupied {
            state.blocked.push(self.number);
        } else {
            state.free.insert(self.number);
        }
        if let Some(call) = self.running {
            state.running.remove(&call);
        }
    }
}

/// The open calls on a page, each with the tag of its place.
pub(super) fn on_page(page: &[u8]) -> Result<Vec<(u8, OpenCall)>, LedgerError> {
    let entries = page::pairs(page).map(|entry| {
        let (tag, entry) = entry.ok_or_else(|| Malformed::message("it is cut short"))?;
        let [tag] = *tag else { return Err(Malformed::message("an entry has no place")) };
        Ok((tag, OpenCall::decode(entry)?))
    });
    entries.collect::<Result<_, _>>().map_err(LedgerError::damaged("a page of open calls"))
}

/// A page with these entries, as they were on one page.
pub(super) fn page_of(entries: &[(u8, OpenCall)]) -> Vec<u8> {
    let mut page = Vec::new();
    for (tag, open) in entries {
        let fits = page::push(&mut page, &[&[*tag], &open.encode()]);
        assert!(fits, "a page has room for what was on it");
    }
    page
}

pub(super) fn effect_number(effect: Effect) -> u64 {
    match effect {
        Effect::Read => 0,
        Effect::Write => 1,
    }
}

pub(super) fn read_effect(reader: &mut Reader<'_>) -> Result<Effect, Malformed> {
    match reader.number()? {
        0 => Ok(Effect::Read),
        1 => Ok(Effect::Write),
        _ => Err(Malformed::message("an unknown effect")),
    }
}
