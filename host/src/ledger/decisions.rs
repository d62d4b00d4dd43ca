//! The decisions about calls as the log has them, each with what it was based on, to be made again under other policies.

use serde::Deserialize;

use super::audit::Record;
use super::basis::Basis;
use super::chain::Kind;
use super::{Ledger, LedgerError};
use crate::model::{Arguments, CallId, Principal, Scope, Timestamp};

/// Records read at a time.
const PAGE: usize = 512;

/// One decision about a call, or several alike.
#[derive(Clone, Debug, PartialEq)]
pub struct PastDecision {
    /// The record's sequence.
    pub seq: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// The call.
    pub call: CallId,
    /// The trace it belongs to.
    pub trace_id: String,
    /// The tool that was called.
    pub tool: String,
    /// What was decided.
    pub outcome: PastOutcome,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// Who called, as far as it was recorded.
    pub principal: Principal,
    /// With which arguments, those to be redacted replaced by `{"redacted": …}`; none if they were not recorded.
    pub arguments: Option<Arguments>,
    /// What of the principal was too long to be recorded: `claims`, `groups`, `other_claims`, `scopes`. Everything, in a record
    /// of a version that did not write down what decisions are based on.
    pub omitted: Vec<String>,
    /// The claims that the principal had and that were not recorded, because no policy looked at them.
    pub other_claims: Vec<String>,
    /// That this record stands for so many further calls, alike in caller, tool and outcome, whose arguments were not recorded.
    pub repeated: Option<u64>,
}

/// What was decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastOutcome {
    /// It was let through.
    Allowed,
    /// The policies said no.
    Denied,
    /// Scopes were missing.
    InsufficientScope,
    /// The caller was told that there is no such tool: because there was none, or because it was hidden. Only in the second case
    /// can the arguments be known.
    UnknownTool,
}

#[derive(Deserialize)]
struct Body<'a> {
    arguments: Option<Arguments>,
    #[serde(borrow)]
    basis: Option<Basis<'a>>,
    client: Option<String>,
    code: Option<String>,
    /// Absent if the caller was erased before it could be written down.
    issuer: Option<String>,
    #[serde(default)]
    policies: Vec<String>,
    repeated: Option<Repeated>,
    #[serde(default)]
    scopes: Delta,
    #[serde(default)]
    subject: String,
    tenant: Option<String>,
    #[serde(default)]
    tool: String,
    #[serde(default)]
    trace_id: String,
}

#[derive(Default, Deserialize)]
struct Delta {
    excess: Vec<Scope>,
}

#[derive(Deserialize)]
struct Repeated {
    count: u64,
}

impl Ledger {
    /// Hands the decisions recorded since `since`, oldest first, to `each`. Answers how many of the records had lost their body:
    /// those decisions are not handed over. Blocks on the disk.
    ///
    /// # Errors
    /// If the store can't be read, or a record makes no sense.
    pub fn decisions(&self, since: Timestamp, mut each: impl FnMut(PastDecision)) -> Result<u64, LedgerError> {
        let (mut next, mut erased) = (1, 0);
        loop {
            let page = self.records(next, PAGE)?;
            let Some(last) = page.last() else { return Ok(erased) };
            next = last.head.seq + 1;
            for record in page.iter().filter(|record| record.head.at >= since) {
                if !matches!(record.head.kind, Kind::Intent | Kind::Rejection) {
                    continue;
                }
                match &record.body {
                    None => erased += 1,
                    Some(body) => decision(record, body, &mut erased)?.into_iter().for_each(&mut each),
                }
            }
        }
    }
}

/// The decision that a record tells of; whose caller is gone is counted among the `erased`.
fn decision(record: &Record, body: &[u8], erased: &mut u64) -> Result<Option<PastDecision>, LedgerError> {
    let seq = record.head.seq;
    let body: Body<'_> = serde_json::from_slice(body).map_err(LedgerError::damaged(format!("record {seq}")))?;
    let outcome = match (record.head.kind, body.code.as_deref()) {
        (Kind::Intent, _) => PastOutcome::Allowed,
        (_, Some("permission_denied")) => PastOutcome::Denied,
        (_, Some("insufficient_scope")) => PastOutcome::InsufficientScope,
        (_, Some("unknown_tool")) => PastOutcome::UnknownTool,
        // Refused for a reason that no policy has a say in.
        _ => return Ok(None),
    };
    let Some(issuer) = body.issuer else {
        *erased += 1;
        return Ok(None);
    };
    let call = record.head.call.ok_or_else(|| LedgerError::damaged(format!("record {seq}"))("it names no call"))?;
    let basis = body.basis.unwrap_or_else(Basis::forgotten);
    let mut scopes: Vec<Scope> = basis.scopes.into_iter().map(|scope| scope.into_owned()).chain(body.scopes.excess).collect();
    scopes.sort();
    scopes.dedup();
    Ok(Some(PastDecision {
        seq,
        at: record.head.at,
        call,
        trace_id: body.trace_id,
        tool: body.tool,
        outcome,
        policies: body.policies,
        principal: Principal {
            issuer,
            subject: body.subject,
            client: body.client,
            tenant: body.tenant,
            groups: basis.groups.into_owned(),
            scopes,
            claims: basis.claims.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        },
        arguments: body.arguments,
        omitted: basis.omitted.into_iter().map(|what| what.into_owned()).collect(),
        other_claims: basis.other_claims.into_iter().map(|name| name.into_owned()).collect(),
        repeated: body.repeated.map(|repeated| repeated.count),
    }))
}
