//! An issuer's keys as they are now: fetched by one task in the background, kept while the issuer is down, too old at some point.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::discovery;
use super::fetch::Fetcher;
use super::keys::{JwkSet, KeySet};

/// How keys are fetched and for how long they count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How often keys are fetched when nothing is wrong.
    pub refresh: Duration,
    /// The least time between two fetches.
    pub min_refresh: Duration,
    /// How long keys count after the last fetch that succeeded.
    pub max_stale: Duration,
    /// How long one fetch may take, and how long a token waits for it.
    pub timeout: Duration,
}

/// Where keys come from.
#[derive(Debug)]
pub(super) struct Source {
    /// The issuer, as it writes itself.
    pub issuer: String,
    /// The same, parsed.
    pub uri: Uri,
    /// Where its keys are, if that needs no discovery.
    pub keys: Option<Uri>,
}

/// The keys of one issuer.
pub(super) struct Keyring {
    state: watch::Sender<State>,
    /// Somebody met a `kid` that is not among the keys.
    wanted: Notify,
    /// `None` if the keys never change.
    remote: Option<(Source, Patience)>,
}

/// Keys that count now.
#[derive(Clone)]
pub(super) struct Keys {
    /// The keys.
    pub set: Arc<KeySet>,
    /// Changes whenever a key came or went.
    pub version: u64,
}

#[derive(Default)]
struct State {
    keys: Option<(Keys, Instant)>,
    /// Fetches that have ended, well or not.
    attempts: u64,
    /// When the last one began.
    begun: Option<Instant>,
    in_flight: bool,
    /// Why the last one failed, if it did.
    failure: Option<String>,
    /// How many failed in a row.
    failures: u32,
}

impl Keyring {
    /// Keys that never change.
    pub fn fixed(set: KeySet) -> Self {
        let keys = Keys { set: Arc::new(set), version: 1 };
        let state = State { keys: Some((keys, Instant::now())), ..State::default() };
        Self { state: watch::Sender::new(state), wanted: Notify::new(), remote: None }
    }

    /// Keys that [`Keyring::keep`] will fetch.
    pub fn remote(source: Source, patience: Patience) -> Self {
        Self { state: watch::Sender::new(State::default()), wanted: Notify::new(), remote: Some((source, patience)) }
    }

    /// The keys that count now; `None` if none were ever fetched, or too long ago.
    pub fn current(&self) -> Option<Keys> {
        let state = self.state.borrow();
        let (keys, fetched) = state.keys.as_ref()?;
        let is_stale = self.remote.as_ref().is_some_and(|(_, patience)| fetched.elapsed() > patience.max_stale);
        (!is_stale).then(|| keys.clone())
    }

    /// Asks for the newest keys and waits for them, unless they were fetched only just now. INVARIANT: however often this is
    /// called, keys are fetched at most once per `min_refresh`, and never twice at a time.
    pub async fn renew(&self) {
        let Some((_, patience)) = &self.remote else { return };
        let mut news = self.state.subscribe();
        let seen = {
            let state = news.borrow();
            if !state.in_flight && state.begun.is_some_and(|begun| begun.elapsed() < patience.min_refresh) {
                return;
            }
            state.attempts
        };
        self.wanted.notify_one();
        // A fetch that takes longer will serve whoever comes later.
        let _ = tokio::time::timeout(patience.timeout, news.wait_for(|state| state.attempts > seen)).await;
    }

    /// When it makes sense to ask again, while the issuer can't be reached; `None` if it could be, the last time.
    pub fn retry_after(&self) -> Option<Duration> {
        let (_, patience) = self.remote.as_ref()?;
        let state = self.state.borrow();
        if state.failure.is_none() && state.keys.is_some() && !state.in_flight {
            return None;
        }
        let next = state.begun.map_or(Duration::ZERO, |begun| patience.min_refresh.saturating_sub(begun.elapsed()));
        Some(next.max(Duration::from_secs(1)))
    }

    /// How it stands with the keys, for operators.
    pub fn health(&self) -> String {
        let state = self.state.borrow();
        let since = |at: &Instant| humantime::format_duration(Duration::from_secs(at.elapsed().as_secs())).to_string();
        match (&state.keys, &state.failure) {
            (Some((keys, _)), None) if keys.set.len() == 0 => "the issuer publishes no key that could verify a token".to_owned(),
            (Some((keys, _)), None) => format!("{} keys", keys.set.len()),
            (Some((keys, at)), Some(failure)) => format!("{} keys, fetched {} ago: {failure}", keys.set.len(), since(at)),
            (None, Some(failure)) => format!("no keys: {failure}"),
            (None, None) => "no keys yet".to_owned(),
        }
    }

    /// Keeps the keys fresh until `shutdown`. `name` is the issuer's in logs.
    pub async fn keep(&self, name: &str, fetcher: &Fetcher, shutdown: &CancellationToken) {
        let Some((source, patience)) = &self.remote else { return };
        loop {
            let begun = Instant::now();
            self.state.send_modify(|state| (state.begun, state.in_flight) = (Some(begun), true));
            let fetched = tokio::select! {
                fetched = tokio::time::timeout(patience.timeout, fetch(fetcher, source)) => fetched,
                () = shutdown.cancelled() => return,
            };
            let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {:?}", patience.timeout)));
            let max_age = self.settle(name, fetched);
            let pause = self.pause(patience, max_age);
            let (next, earliest) = (begun + pause, begun + patience.min_refresh);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep_until(next) => break,
                    // A wish from before the fetch that has just ended is a wish that came true.
                    () = self.wanted.notified() => if Instant::now() >= earliest { break },
                }
            }
        }
    }

    /// Takes over what a fetch brought. Answers for how long it keeps, if it says so.
    fn settle(&self, name: &str, fetched: Result<(KeySet, Option<Duration>), String>) -> Option<Duration> {
        let result = if fetched.is_ok() { "ok" } else { "error" };
        metrics::counter!("tidegate_auth_key_fetches_total", "issuer" => name.to_owned(), "result" => result).increment(1);
        let mut max_age = None;
        self.state.send_modify(|state| {
            state.attempts += 1;
            state.in_flight = false;
            match fetched {
                Ok((set, age)) => {
                    max_age = age;
                    let keys = match &state.keys {
                        Some((keys, _)) if *keys.set == set => keys.clone(),
                        before => {
                            match set.len() {
                                0 => tracing::warn!(issuer = name, "the issuer has withdrawn all keys that could verify a token"),
                                keys => tracing::info!(issuer = name, keys, "the issuer's keys are new"),
                            }
                            let version = before.as_ref().map_or(1, |(keys, _)| keys.version + 1);
                            Keys { set: Arc::new(set), version }
                        }
                    };
                    state.keys = Some((keys, Instant::now()));
                    (state.failure, state.failures) = (None, 0);
                }
                Err(failure) => {
                    // Once is news; every half minute would drown it.
                    if state.failure.as_ref() != Some(&failure) {
                        tracing::warn!(issuer = name, %failure, "the issuer's keys can't be fetched");
                    }
                    (state.failure, state.failures) = (Some(failure), state.failures.saturating_add(1));
                }
            }
        });
        max_age
    }

    /// How long to wait before the next fetch, from the beginning of the last: `refresh`, sooner if the issuer says that its keys
    /// keep for less; after failures soon, then ever later.
    fn pause(&self, patience: &Patience, max_age: Option<Duration>) -> Duration {
        let pause = match self.state.borrow().failures {
            0 => max_age.unwrap_or(patience.refresh),
            failures => patience.min_refresh.saturating_mul(1 << (failures - 1).min(16)),
        };
        pause.clamp(patience.min_refresh, patience.refresh)
    }
}

/// Fetches the keys. Without a place in the config, discovery says each time anew where they are: they may have moved, and what is
/// left at the old place may be keys that nobody trusts any more. A set without a key that could verify a token is an answer too:
/// the issuer has withdrawn them.
async fn fetch(fetcher: &Fetcher, source: &Source) -> Result<(KeySet, Option<Duration>), String> {
    let at = match &source.keys {
        Some(at) => at.clone(),
        None => discovery::keys_of(fetcher, &source.issuer, &source.uri).await.map_err(|error| error.to_string())?,
    };
    let fetched = fetcher.get::<JwkSet>(&at).await.map_err(|error| error.to_string())?;
    Ok((KeySet::read(fetched.document)?, fetched.max_age))
}
