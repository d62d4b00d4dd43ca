//! What the operator does to the log itself: prune it, hold records, erase a person. Each act is written down with who did it.
//!
//! The same on a live host, over the admin socket, and on the ledger of a stopped one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ledger::{Hold, Ledger, LedgerError, Query};

/// Drops what has had its time: [`Prune`] → what went.
pub const PRUNE: &str = "tidegate/keeping/prune";
/// The legal holds in force.
pub const HOLDS: &str = "tidegate/keeping/holds";
/// Puts a legal hold in force: [`Hold`].
pub const HOLD: &str = "tidegate/keeping/hold";
/// Releases a legal hold: [`Release`].
pub const RELEASE: &str = "tidegate/keeping/release";
/// Makes what is written about a person unreadable: [`Erase`] → how many keys were destroyed.
pub const ERASE: &str = "tidegate/keeping/erase";

/// What all these methods begin with.
pub const PREFIX: &str = "tidegate/keeping/";

/// The longest reason, in bytes.
const REASON_MAX: usize = 1024;

/// How many calls of a person are looked at to find out who vouches for them.
const CALLS: usize = 200;

/// Whether to prune, or to count.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// Only tell what would go.
    pub dry_run: bool,
}

/// Which hold to release.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its name.
    pub name: String,
}

/// Whom to erase.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// The subject, as tokens name it.
    pub subject: String,
    /// Who vouches for it; may be left out if the log knows of one only.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Why.
    pub reason: String,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// The ledger refuses or fails.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It is not understood.
    #[error("`{method}` is not asked like that: {problem}")]
    Question {
        /// The method.
        method: String,
        /// What is wrong with its parameters.
        problem: String,
    },
    /// It is not clear who is meant.
    #[error("{0}")]
    Unclear(String),
}

/// Does what one method asks for, in the name of `by`. Blocks on the disk.
///
/// # Errors
/// It is no such method, has other parameters, or can't be done; nothing has changed then.
pub fn answer(ledger: &Ledger, by: &str, method: &str, params: Value) -> Result<Value, NotDone> {
    match method {
        PRUNE => {
            let Prune { dry_run } = read(method, params)?;
            Ok(json!(ledger.prune(dry_run, by)?))
        }
        HOLDS => Ok(json!(ledger.holds()?)),
        HOLD => {
            let hold: Hold = read(method, params)?;
            ledger.hold(hold, by)?;
            Ok(json!(ledger.holds()?))
        }
        RELEASE => {
            let Release { name } = read(method, params)?;
            ledger.release(&name, by)?;
            Ok(json!(ledger.holds()?))
        }
        ERASE => erase(ledger, by, read(method, params)?),
        _ => Err(NotDone::Question { method: method.to_owned(), problem: "there is no such method".to_owned() }),
    }
}

fn erase(ledger: &Ledger, by: &str, Erase { subject, issuer, reason }: Erase) -> Result<Value, NotDone> {
    if reason.len() > REASON_MAX {
        return Err(NotDone::Unclear(format!("the reason is longer than {REASON_MAX} bytes")));
    }
    let issuer = match issuer {
        Some(issuer) => issuer,
        None => only_issuer(ledger, &subject)?,
    };
    let keys = ledger.erase(&issuer, &subject, by, &reason)?;
    if keys == 0 {
        let problem = format!("nothing that can be read is written about `{subject}` of `{issuer}`; it may be erased already");
        return Err(NotDone::Unclear(problem));
    }
    Ok(json!({ "subject": subject, "issuer": issuer, "keys": keys }))
}

/// The issuer that vouches for `subject`, if the log knows of one only.
fn only_issuer(ledger: &Ledger, subject: &str) -> Result<String, NotDone> {
    #[derive(Deserialize)]
    struct Told {
        issuer: String,
    }
    let query = Query { subject: Some(subject.to_owned()), ..Query::default() };
    let calls = ledger.query(&query, None, CALLS)?.calls;
    let records = calls.iter().flat_map(|found| found.intent.iter().chain([&found.end]));
    let issuers = records.filter_map(|record| serde_json::from_slice(record.body.as_deref()?).ok().map(|told: Told| told.issuer));
    let mut issuers: BTreeSet<String> = issuers.collect();
    match (issuers.pop_first(), issuers.is_empty()) {
        (Some(issuer), true) => Ok(issuer),
        (None, _) => Err(NotDone::Unclear(format!("the log knows of no call of `{subject}`; if it should, name `--issuer`"))),
        (Some(first), false) => {
            let others: Vec<String> = issuers.into_iter().collect();
            Err(NotDone::Unclear(format!(
                "`{subject}` is vouched for by `{first}` and `{}`; name one with `--issuer`",
                others.join("`, `")
            )))
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(method: &str, params: Value) -> Result<T, NotDone> {
    serde_json::from_value(params).map_err(|error| NotDone::Question { method: method.to_owned(), problem: error.to_string() })
}
