//! The operator's questions to the log. The same on a live host, over the admin socket, and on the ledger of a stopped one.
//!
//! Records travel as the lines of an export, text within text: that way they arrive byte for byte, and whoever asks can check
//! them. Answers are bounded; whoever wants more asks again from where the last one ended.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ledger::{ExportLine, Ledger, LedgerError, ProveError, Query};
use crate::model::CallId;

/// Which log it is and how far it goes: [`Extent`].
pub const EXTENT: &str = "tidegate/audit/extent";
/// The first line of an export: [`Place`] → text.
pub const HEADER: &str = "tidegate/audit/header";
/// Records in order: [`Place`] → lines.
pub const LINES: &str = "tidegate/audit/lines";
/// Calls that ended, newest first: [`Search`] → [`Found`].
pub const QUERY: &str = "tidegate/audit/query";
/// All there is about a record or a call: [`About`] → [`Shown`].
pub const SHOW: &str = "tidegate/audit/show";
/// The proof of a record: [`Prove`] → text.
pub const PROVE: &str = "tidegate/audit/prove";
/// Signs how far the log has got → [`Signed`].
pub const CHECKPOINT: &str = "tidegate/audit/checkpoint";

/// What all methods about the log begin with.
pub const PREFIX: &str = "tidegate/audit/";

/// The most records in one answer.
const PAGE: usize = 512;
/// The most calls in one answer.
const CALLS: usize = 100;

/// How far a log goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extent {
    /// Its public key.
    pub key: String,
    /// Its last record; 0 if it is empty.
    pub last: u64,
}

/// From where on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The first record wanted.
    pub from: u64,
}

/// Which calls are looked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// What they have in common.
    #[serde(default)]
    pub query: Query,
    /// Only those that ended before this record.
    #[serde(default)]
    pub before: Option<u64>,
    /// How many at most.
    pub limit: usize,
}

/// Some of the calls that were looked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The record that tells of each call's end, and its intent if it has one; newest first.
    pub calls: Vec<(String, Option<String>)>,
    /// Before which record to go on, if there may be more.
    pub next: Option<u64>,
}

/// What to show.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A record, and what else there is about its call.
    Record(u64),
    /// A call.
    Call(CallId),
}

/// All there is about a record or a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// The records, ascending.
    pub records: Vec<String>,
    /// The call.
    pub call: Option<CallId>,
    /// Where the call stands, as long as that is remembered.
    pub standing: Option<Standing>,
}

/// Where a call stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// `queued`, `running`, `done`, `released` or `unknown`.
    pub status: String,
    /// `read` or `write`.
    pub effect: String,
    /// When it began, in milliseconds since 1970; nothing if it has not, or never did.
    pub started_ms: Option<u64>,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// The answer that is kept to be given again.
    pub answer: Option<Value>,
}

/// What to prove.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prove {
    /// The record.
    pub seq: u64,
    /// Whether the proof shows its body.
    pub with_body: bool,
    /// The place of a redacted argument, and the value that stood there.
    #[serde(default)]
    pub reveal: Option<(String, Value)>,
}

/// A signed statement of how far a log had got.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signed {
    /// The record that holds it.
    pub seq: u64,
    /// How many records it signs.
    pub size: u64,
    /// The root over them.
    pub root: String,
    /// The note.
    pub note: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The log can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no proof.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// It is not understood.
    #[error("`{method}` is not asked like that: {problem}")]
    Question {
        /// The method.
        method: String,
        /// What is wrong with its parameters.
        problem: String,
    },
    /// Nothing is known of what was asked for.
    #[error("{0}")]
    Nothing(String),
}

/// Answers one question. Blocks on the disk.
///
/// # Errors
/// It is no question to the log, has other parameters, or finds nothing; or the log can't be read.
pub fn answer(ledger: &Ledger, method: &str, params: Value) -> Result<Value, Unanswered> {
    match method {
        EXTENT => Ok(to_json(&Extent { key: ledger.public_key().to_string(), last: ledger.tip()?.seq })),
        HEADER => {
            let Place { from } = read(method, params)?;
            ledger.keep_still()?;
            Ok(to_json(&text(&ledger.export_header(from)?)))
        }
        LINES => {
            let Place { from } = read(method, params)?;
            ledger.keep_still()?;
            Ok(to_json(&ledger.export(from, PAGE)?.iter().map(text).collect::<Vec<_>>()))
        }
        QUERY => query(ledger, read(method, params)?),
        SHOW => show(ledger, read(method, params)?),
        PROVE => {
            let Prove { seq, with_body, reveal } = read(method, params)?;
            let reveal = reveal.as_ref().map(|(pointer, value)| (pointer.as_str(), value));
            let proof = ledger.prove(seq, with_body, reveal)?;
            let text = serde_json::to_string_pretty(&proof).expect("a proof holds only texts, numbers and checked JSON");
            Ok(to_json(&text))
        }
        CHECKPOINT => {
            let checkpoint = ledger.checkpoint()?;
            let (note, root) = (checkpoint.note.text, checkpoint.note.root.to_string());
            Ok(to_json(&Signed { seq: checkpoint.seq, size: checkpoint.note.size, root, note }))
        }
        _ => Err(Unanswered::Question { method: method.to_owned(), problem: "there is no such question".to_owned() }),
    }
}

fn query(ledger: &Ledger, Search { query, before, limit }: Search) -> Result<Value, Unanswered> {
    let page = ledger.query(&query, before, limit.min(CALLS))?;
    let mut calls = Vec::new();
    for found in page.calls {
        let intent = found.intent.map(|intent| line(ledger, intent.head.seq)).transpose()?.flatten();
        calls.extend(line(ledger, found.end.head.seq)?.map(|end| (end, intent)));
    }
    Ok(to_json(&Found { calls, next: page.next }))
}

fn show(ledger: &Ledger, about: About) -> Result<Value, Unanswered> {
    let nothing = |what: String| Unanswered::Nothing(format!("the log has no {what}"));
    let (call, seqs) = match about {
        About::Call(call) => (Some(call), ledger.history(&call)?),
        About::Record(seq) => {
            let found = ledger.export(seq, 1)?.pop().filter(|line| line.seq == seq);
            let call = found.ok_or_else(|| nothing(format!("record {seq}")))?.call;
            let mut seqs = call.map(|call| ledger.history(&call)).transpose()?.unwrap_or_default();
            seqs.push(seq);
            seqs.sort_unstable();
            seqs.dedup();
            (call, seqs)
        }
    };
    let standing = call.map(|call| ledger.call(&call)).transpose()?.flatten().map(|state| Standing {
        status: state.status.as_str().to_owned(),
        effect: state.effect.as_str().to_owned(),
        started_ms: state.started.map(|at| at.as_millis()),
        ended_ms: state.ended.map(|at| at.as_millis()),
        answer: state.response.map(|response| response.value),
    });
    let mut records = Vec::new();
    for seq in seqs {
        records.extend(line(ledger, seq)?);
    }
    match call {
        Some(call) if records.is_empty() && standing.is_none() => Err(nothing(format!("record of {call}"))),
        _ => Ok(to_json(&Shown { records, call, standing })),
    }
}

fn line(ledger: &Ledger, seq: u64) -> Result<Option<String>, LedgerError> {
    Ok(ledger.export(seq, 1)?.iter().find(|line: &&ExportLine| line.seq == seq).map(text))
}

fn read<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, Unanswered> {
    serde_json::from_value(params).map_err(|error| Unanswered::Question { method: method.to_owned(), problem: error.to_string() })
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a line holds only texts, numbers and checked JSON")
}

fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("an answer holds only texts, numbers and parsed JSON")
}
