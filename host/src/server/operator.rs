//! What the operator may ask a live host over the admin socket: the methods that are not MCP's, each a line here.

pub mod audit;

use std::sync::Arc;

use rmcp::ErrorData;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ledger::Ledger;
use crate::pipeline::Pipeline;

/// Which policies are in force, since when, and what was refused last.
pub const POLICY_STATUS: &str = "tidegate/policy/status";

/// The answer to one of the operator's own methods; `None` if it is none of them.
pub async fn answer(pipeline: &Arc<Pipeline>, method: &str, params: Value) -> Option<Result<Value, ErrorData>> {
    let answered = match method {
        POLICY_STATUS => Ok(pipeline.policy_report()),
        method if method.starts_with(audit::PREFIX) => {
            let method = method.to_owned();
            with_ledger(pipeline, params, move |ledger, params| audit::answer(ledger, &method, params)).await
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
