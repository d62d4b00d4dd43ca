//! What an operator may ask about plugins, and do with them.

use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use serde_json::{Value, json};

use super::installed::{self, Inspect, Unanswered};
use crate::pipeline::Pipeline;

/// What the methods about plugins begin with.
pub const PREFIX: &str = "tidegate/plugin/";

/// Which plugins are in force, since when, and what was refused last.
pub const STATUS: &str = "tidegate/plugin/status";

/// Loads plugins and policies anew, as they lie on disk: `{generation, change}`, where `change` is null if nothing is new, or
/// `{generation, refused}`.
pub const RELOAD: &str = "tidegate/plugin/reload";

/// The answer to one of them; `by` is who asks.
pub async fn answer(pipeline: &Arc<Pipeline>, by: &str, method: &str, params: Value) -> Result<Value, ErrorData> {
    match method {
        STATUS => Ok(pipeline.plugin_report()),
        RELOAD => {
            // A task of its own: whoever asks may go, and the change must not stop halfway.
            let (pipeline, by) = (pipeline.clone(), by.to_owned());
            let reload = async move {
                let reloaded = pipeline.reload(&by).await;
                let generation = pipeline.plugin_report()["generation"].take();
                match reloaded {
                    Ok(change) => json!({ "generation": generation, "change": change }),
                    Err(refusal) => json!({
                        "generation": generation,
                        "refused": { "part": refusal.part.as_str(), "problems": refusal.problems, "more": refusal.more },
                    }),
                }
            };
            tokio::spawn(reload).await.map_err(|_| ErrorData::internal_error("reloading panicked; see the host's log", None))
        }
        installed::INSPECT => {
            let Inspect { name } =
                serde_json::from_value(params).map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
            let inspected = pipeline.inspect_plugin(&name).await;
            inspected.map(|told| json!(told)).map_err(|problem| ErrorData::internal_error(problem.to_string(), None))
        }
        installed::INSTALL | installed::ROLLBACK | installed::REMOVE | installed::LIST => {
            let (pipeline, by, method) = (pipeline.clone(), by.to_owned(), method.to_owned());
            // As above.
            let act = async move {
                let answered = installed::answer(&pipeline.installer(), &by, &method, params).await;
                answered.map_err(|problem| match problem {
                    Unanswered::Question { .. } => ErrorData::invalid_params(problem.to_string(), None),
                    Unanswered::NotDone(problem) => ErrorData::internal_error(problem.to_string(), None),
                })
            };
            let panicked = |_| ErrorData::internal_error("installing panicked; see the host's log", None);
            tokio::spawn(act).await.map_err(panicked)?
        }
        _ => Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("there is no method `{method}`"), None)),
    }
}
