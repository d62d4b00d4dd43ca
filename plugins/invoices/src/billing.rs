//! The requests of this plugin to the backend `billing`.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidegate_plugin_sdk::http::{Backend, Builder};
use tidegate_plugin_sdk::{Context, Failure, code};

/// An error, as billing tells it.
#[derive(Deserialize)]
struct Problem {
    message: String,
}

/// The backend, by the name the manifest gives it.
pub(crate) fn billing(context: &Context) -> Backend<'_> {
    context.backend("billing")
}

/// Sends a request and reads its answer, or tells the agent in billing's words why there is none.
///
/// What billing says of its own troubles (5xx) stays unsaid: it is no use to an agent, and may tell too much. When to try again is
/// the host's to say where billing does not: it knows how billing fares with everybody.
pub(crate) fn ask<T: DeserializeOwned>(request: Builder<'_>) -> Result<T, Failure> {
    let response = request.send()?;
    if response.status() >= 500 {
        let message = format!("billing is in trouble: it answered {}", response.status());
        let retry_after_seconds = response.success().err().and_then(|failure| failure.retry_after_seconds);
        return Err(Failure { retry_after_seconds, ..Failure::new(code::BACKEND_UNAVAILABLE, message) });
    }
    let problem = response.json::<Problem>().map(|problem| problem.message);
    let response = response.success().map_err(|failure| match problem {
        Ok(message) => Failure { message, ..failure },
        Err(_) => failure,
    })?;
    Ok(response.json()?)
}

/// What was asked for, or nothing if billing has no such thing.
pub(crate) fn found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.code == code::NOT_FOUND => Ok(None),
        Err(failure) => Err(failure),
    }
}
