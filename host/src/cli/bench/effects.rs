//! The backend's own count of what it did, compared with what callers were told.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::client::Client;
use super::endpoint::Endpoint;
use super::tally::Tally;

/// How long counting may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the backend tells how much it did.
pub struct Counter {
    client: Client,
    url: String,
    pointer: String,
}

/// What the backend did, beside what callers were told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// What the backend did during the run.
    pub counted: u64,
    /// Keyed calls that succeeded: the least it must have done.
    pub ok: u64,
    /// Keyed calls of which it may have done something or nothing.
    pub maybe: u64,
    /// What it did too much.
    pub excess: u64,
    /// What it did not do.
    pub missing: u64,
}

impl Counter {
    /// The counter at `url`, with a JSON pointer behind `#` to a part of what it answers.
    ///
    /// # Errors
    /// It is no URL.
    pub fn at(url: &str) -> Result<Self> {
        let (plain, pointer) = url.split_once('#').unwrap_or((url, ""));
        if !pointer.is_empty() && !pointer.starts_with('/') {
            bail!("`#{pointer}` is not a JSON pointer; write for example `#/payments`");
        }
        let client = Client::new(Endpoint::of(plain)?, Arc::new(Semaphore::new(1)));
        Ok(Self { client, url: url.to_owned(), pointer: pointer.to_owned() })
    }

    /// How much the backend did up to now.
    ///
    /// # Errors
    /// It does not say.
    pub async fn count(&mut self) -> Result<u64> {
        let heard = self.client.send(Method::GET, HeaderMap::new(), Bytes::new(), PATIENCE).await;
        let heard = heard.map_err(|trouble| anyhow!("`{}` does not say what the backend did: {}", self.url, trouble.as_str()))?;
        if heard.status != StatusCode::OK {
            bail!("`{}` does not say what the backend did: it answers {}", self.url, heard.status);
        }
        let told: Value =
            serde_json::from_slice(&heard.body).with_context(|| format!("`{}` does not answer with JSON", self.url))?;
        let counted = match told.pointer(&self.pointer) {
            Some(Value::Array(effects)) => Some(effects.len() as u64),
            Some(number) => number.as_u64(),
            None => None,
        };
        counted.with_context(|| {
            format!("`{}` answers with neither a number nor a list; point into it with `URL#/pointer`", self.url)
        })
    }
}

impl Compared {
    /// The backend's count of what it did beside what became of the calls.
    pub fn new(counted: u64, calls: &Tally) -> Self {
        let (ok, maybe) = (calls.keyed_ok, calls.keyed_maybe);
        Self { counted, ok, maybe, excess: counted.saturating_sub(ok + maybe), missing: ok.saturating_sub(counted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_too_much_and_what_was_not_done_is_told_from_what_nobody_knows() {
        let calls = Tally { keyed_ok: 10, keyed_maybe: 2, ..Tally::new() };
        let compared = |counted| {
            let Compared { excess, missing, .. } = Compared::new(counted, &calls);
            (excess, missing)
        };
        assert_eq!((compared(9), compared(10), compared(12), compared(15)), ((0, 1), (0, 0), (0, 0), (3, 0)));
        assert!(Counter::at("http://127.0.0.1:1/x#payments").err().expect("no pointer").to_string().contains("JSON pointer"));
    }
}
