//! What the operator may ask a live host, over the admin socket or the admin API: the methods that are not MCP's, each a line here.

pub mod audit;
pub mod calls;
pub mod installed;
pub mod keeping;
pub mod plugins;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rmcp::ErrorData;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ledger::Ledger;
use crate::pipeline::Pipeline;

/// What all these methods begin with.
pub const PREFIX: &str = "tidegate/";

/// Which policies are in force, since when, and what was refused last.
pub const POLICY_STATUS: &str = "tidegate/policy/status";

/// Who runs, who waits and who burns: a [`Snapshot`](crate::admission::Snapshot).
pub const ADMISSION: &str = "tidegate/admission/snapshot";

/// Takes a [backup](Ledger::backup): [`BackupTo`] says where.
pub const BACKUP: &str = "tidegate/audit/backup";

/// Where a backup goes, as the host's own user.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupTo {
    /// An absolute path.
    dir: PathBuf,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// A user of this machine, over the admin socket, by the operating system's word.
    User(u32),
    /// Whoever holds the admin token, over the admin API: all that can be told is where the request came from.
    Token(SocketAddr),
}

impl Operator {
    /// As records name who did something.
    pub fn name(self) -> String {
        match self {
            Self::User(uid) => user(uid),
            Self::Token(peer) => format!("admin token from {peer}"),
        }
    }
}

/// The answer to one of the operator's own methods; `None` if it is none of them. What is changed is written down in the name of
/// `who`.
pub async fn answer(pipeline: &Arc<Pipeline>, who: Operator, method: &str, params: Value) -> Option<Result<Value, ErrorData>> {
    let answered = match method {
        POLICY_STATUS => Ok(pipeline.policy_report()),
        ADMISSION => Ok(serde_json::to_value(pipeline.admission().snapshot()).expect("a snapshot holds only texts and numbers")),
        BACKUP => with_ledger(pipeline, params, move |ledger, BackupTo { dir }| ledger.backup(&dir, &who.name())).await,
        calls::LIST => with_ledger(pipeline, params, calls::list).await,
        calls::SHOW => with_ledger(pipeline, params, calls::show).await,
        calls::STAGES => match serde_json::from_value(params) {
            Ok(show) => Ok(calls::stages(pipeline, show)),
            Err(error) => Err(ErrorData::invalid_params(error.to_string(), None)),
        },
        calls::RESOLVE => with_ledger(pipeline, params, move |ledger, params| calls::resolve(ledger, &who.name(), params)).await,
        method if method.starts_with(plugins::PREFIX) => plugins::answer(pipeline, &who.name(), method, params).await,
        method if method.starts_with(audit::PREFIX) => {
            let method = method.to_owned();
            with_ledger(pipeline, params, move |ledger, params| audit::answer(ledger, &method, params)).await
        }
        method if method.starts_with(keeping::PREFIX) => {
            let (method, by) = (method.to_owned(), who.name());
            let turn = match method == keeping::ERASE {
                true => Some(pipeline.ledger().erasure_turn().await),
                false => None,
            };
            let ask = move |ledger: &Ledger, params| {
                let _until_it_is_done = turn;
                keeping::answer(ledger, &by, &method, params)
            };
            with_ledger(pipeline, params, ask).await
        }
        _ => return None,
    };
    Some(answered)
}

/// Answers out of the ledger, off the async runtime, with the parameters that the method takes.
///
/// # Errors
/// If the parameters are not those of the method, or with what `ask` fails with, in its own words.
pub async fn with_ledger<P, T, E>(
    pipeline: &Pipeline,
    params: Value,
    ask: impl FnOnce(&Ledger, P) -> Result<T, E> + Send + 'static,
) -> Result<Value, ErrorData>
where
    P: DeserializeOwned + Send + 'static,
    T: Serialize,
    E: std::fmt::Display,
{
    let params: P = serde_json::from_value(params).map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
    let ledger = pipeline.ledger().clone();
    let ask = move || -> Result<Value, String> {
        let answer = ask(&ledger, params).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(answer).expect("an answer holds only texts, numbers and parsed JSON"))
    };
    let answered =
        tokio::task::spawn_blocking(ask).await.unwrap_or_else(|_| Err("looking it up panicked; see the host's log".to_owned()));
    answered.map_err(|problem| ErrorData::internal_error(problem, None))
}

/// A user of this machine, as records name who did something: `alice (uid 1000)`.
pub fn user(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    // name:password:uid:…
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_name_and_number_as_far_as_both_are_known() {
        assert_eq!(user(0), "root (uid 0)");
        assert_eq!(user(u32::MAX - 7), "uid 4294967288");
    }
}
