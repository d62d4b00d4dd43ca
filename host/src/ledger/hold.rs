//! Legal holds: records that must stay, whatever their time.

use serde::{Deserialize, Serialize};

use super::act::{self, Act};
use super::{Inner, Ledger, LedgerError, keys, prune};
use crate::model::{CallId, Digest, Timestamp};
use crate::store::{Tx, Urgency};

/// The most holds at a time.
const HOLDS_MAX: usize = 1000;

/// The first key behind all holds.
const HOLDS_END: &[u8] = b"h0";

/// What is held: every record that all of what is said applies to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Its name, by which it is released.
    pub name: String,
    /// Records of calls of this caller; the issuer belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who vouches for the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Records of calls of this tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Records of this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// Records written at this time or later, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Records written before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// What there is to know of a record to tell whether it is held.
pub(super) struct Held<'a> {
    pub at: Timestamp,
    pub call: Option<CallId>,
    /// Whose key it is sealed with.
    pub subject: Option<Digest>,
    pub tool: Option<&'a str>,
}

/// The holds in force.
#[derive(PartialEq, Eq)]
pub(super) struct Holds(Vec<(Hold, Option<Digest>)>);

impl Holds {
    /// Whether a record is held.
    pub fn hold(&self, record: &Held<'_>) -> bool {
        self.0.iter().any(|(hold, subject)| {
            let at = record.at.as_millis();
            // What is not known of a record is taken for what is held: too long is better than too short.
            subject.is_none_or(|wanted| record.subject.is_none_or(|found| found == wanted))
                && hold.tool.as_deref().is_none_or(|wanted| record.tool.is_none_or(|found| found == wanted))
                && hold.call.is_none_or(|wanted| record.call.is_none_or(|found| found == wanted))
                && hold.since_ms.is_none_or(|since| at >= since)
                && hold.until_ms.is_none_or(|until| at < until)
        })
    }

    /// A hold that speaks of this subject, or of everybody.
    pub fn on_subject(&self, subject: &Digest) -> Option<&Hold> {
        self.0.iter().find(|(_, held)| held.is_none_or(|held| held == *subject)).map(|(hold, _)| hold)
    }
}

impl Ledger {
    /// Puts a hold in force. Durable on return. Blocks on the disk.
    ///
    /// # Errors
    /// There is one of that name, it says nothing, names a subject without its issuer, or there are too many; or the store fails.
    pub fn hold(&self, hold: Hold, by: &str) -> Result<(), LedgerError> {
        let refused = |problem: &str| LedgerError::Refused { what: format!("the hold `{}`", hold.name), problem: problem.into() };
        let says_nothing = hold.subject.is_none() && hold.tool.is_none() && hold.call.is_none();
        if !(1..=64).contains(&hold.name.len()) || hold.name.chars().any(char::is_control) {
            return Err(refused("its name has to be 1 to 64 characters"));
        }
        if says_nothing && hold.since_ms.is_none() && hold.until_ms.is_none() {
            return Err(refused("it has to say what is held: a subject, a tool, a call or a time"));
        }
        if hold.subject.is_some() != hold.issuer.is_some() {
            return Err(refused("a subject and its issuer go together"));
        }
        let inner = std::sync::Arc::clone(&self.inner);
        let by = by.to_owned();
        self.inner.store.commit_blocking(Urgency::Now, move |tx| {
            let refused =
                |problem: &str| LedgerError::Refused { what: format!("the hold `{}`", hold.name), problem: problem.into() };
            if tx.get(&keys::hold(&hold.name))?.is_some() {
                return Err(refused("there is one of that name; release it first"));
            }
            if tx.scan(&keys::hold(""), HOLDS_END, HOLDS_MAX)?.len() >= HOLDS_MAX {
                return Err(refused("there are too many; release some"));
            }
            let row = serde_json::to_vec(&hold).expect("a hold is plain data");
            act::record(tx, &inner, None, &Act::Hold { hold: &hold, by: &by })?;
            Ok(tx.put(keys::hold(&hold.name), row)?)
        })
    }

    /// Releases the hold of that name. Durable on return. Blocks on the disk.
    ///
    /// # Errors
    /// There is none, or the store fails.
    pub fn release(&self, name: &str, by: &str) -> Result<(), LedgerError> {
        let (inner, name, by) = (std::sync::Arc::clone(&self.inner), name.to_owned(), by.to_owned());
        self.inner.store.commit_blocking(Urgency::Now, move |tx| {
            if tx.get(&keys::hold(&name))?.is_none() {
                return Err(LedgerError::Refused {
                    what: format!("the hold `{name}`"),
                    problem: "there is none of that name".into(),
                });
            }
            tx.delete(keys::hold(&name));
            // What was passed over while it was held has to be looked at again.
            prune::look_again(tx);
            act::record(tx, &inner, None, &Act::Release { name: &name, by: &by })?;
            Ok(())
        })
    }

    /// The holds in force.
    ///
    /// # Errors
    /// If the store can't be read, or holds nonsense.
    pub fn holds(&self) -> Result<Vec<Hold>, LedgerError> {
        Ok(self.inner.holds()?.0.into_iter().map(|(hold, _)| hold).collect())
    }
}

impl Inner {
    pub(super) fn holds(&self) -> Result<Holds, LedgerError> {
        let rows = self.store.scan(&keys::hold(""), HOLDS_END, HOLDS_MAX)?;
        rows.into_iter().map(|entry| self.read_hold(&entry.intact()?)).collect::<Result<_, _>>().map(Holds)
    }

    /// The holds as a commit finds them.
    pub(super) fn holds_in(&self, tx: &Tx<'_>) -> Result<Holds, LedgerError> {
        let rows = tx.scan(&keys::hold(""), HOLDS_END, HOLDS_MAX)?;
        rows.into_iter().map(|(_, row)| self.read_hold(&row)).collect::<Result<_, _>>().map(Holds)
    }

    fn read_hold(&self, row: &[u8]) -> Result<(Hold, Option<Digest>), LedgerError> {
        let hold: Hold = serde_json::from_slice(row).map_err(LedgerError::damaged("a hold"))?;
        let subject = hold.issuer.as_deref().zip(hold.subject.as_deref());
        let subject = subject.map(|(issuer, subject)| self.secret.subject(issuer, subject));
        Ok((hold, subject))
    }
}
