//! The scopes that this server's tools speak of, for strangers: in its metadata and in challenges.
//!
//! Both are public, so they name the scopes of hidden tools too, though never which tool needs which.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::model::{Effect, Scope};
use crate::pipeline::Pipeline;

/// The most scopes that the metadata names.
const MAX_SUPPORTED: usize = 1024;

/// The longest `scope` of a challenge, in bytes. What does not fit is left out whole, and clients then ask for what the metadata
/// names (MCP 2026-07-28, authorization, "Scope Selection Strategy").
const MAX_CHALLENGE: usize = 1024;

/// The scopes of one generation.
#[derive(Debug, Default, PartialEq)]
pub struct Scopes {
    /// All that any tool needs.
    pub supported: Vec<String>,
    /// What to begin with: all that tools which only read need. Writing takes a step up, so that a token that was asked for in
    /// passing can't pay.
    pub to_begin_with: Option<String>,
}

/// The scopes of the current generation, worked out once for each.
pub struct Offer {
    pipeline: Arc<Pipeline>,
    changes: watch::Receiver<u64>,
    known: Mutex<Option<(u64, Arc<Scopes>)>>,
}

impl Offer {
    /// What the tools of `pipeline` speak of.
    pub fn of(pipeline: Arc<Pipeline>) -> Self {
        Self { changes: pipeline.changes(), pipeline, known: Mutex::new(None) }
    }

    /// The scopes now.
    pub fn current(&self) -> Arc<Scopes> {
        // Read before the tools: what is worked out from newer tools than the tick says is merely worked out again.
        let tick = *self.changes.borrow();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, scopes)) if *of == tick => scopes.clone(),
            _ => {
                let tools = self.pipeline.tools();
                let scopes = Arc::new(Scopes::of(tools.iter().map(|tool| (tool.manifest.effect, &tool.manifest.scopes[..]))));
                *known = Some((tick, scopes.clone()));
                scopes
            }
        }
    }
}

impl Scopes {
    fn of<'a>(tools: impl Iterator<Item = (Effect, &'a [Scope])>) -> Self {
        let (mut all, mut reading) = (BTreeSet::new(), BTreeSet::new());
        for (effect, scopes) in tools {
            all.extend(scopes.iter().map(ToString::to_string));
            if effect == Effect::Read {
                reading.extend(scopes.iter().map(ToString::to_string));
            }
        }
        let to_begin_with = if reading.is_empty() { &all } else { &reading };
        let to_begin_with = to_begin_with.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        Self {
            to_begin_with: Some(to_begin_with).filter(|scope| (1..=MAX_CHALLENGE).contains(&scope.len())),
            supported: all.into_iter().take(MAX_SUPPORTED).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(tools: &[(Effect, &[&str])]) -> Scopes {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a scope")).collect::<Vec<Scope>>();
        let tools: Vec<_> = tools.iter().map(|(effect, texts)| (*effect, parse(texts))).collect();
        Scopes::of(tools.iter().map(|(effect, scopes)| (*effect, &scopes[..])))
    }

    #[test]
    fn a_challenge_asks_for_reading_and_the_metadata_names_all() {
        let offered = scopes(&[(Effect::Read, &["read:a", "read:b"]), (Effect::Write, &["read:a", "write:a"])]);
        assert_eq!(offered.supported, ["read:a", "read:b", "write:a"]);
        assert_eq!(offered.to_begin_with.as_deref(), Some("read:a read:b"));
    }

    #[test]
    fn tools_that_only_write_are_asked_for_at_once() {
        assert_eq!(scopes(&[(Effect::Write, &["write:a"])]).to_begin_with.as_deref(), Some("write:a"));
        assert_eq!(scopes(&[]), Scopes::default());
    }

    #[test]
    fn a_challenge_that_would_be_too_long_names_none() {
        let many: Vec<String> = (0..200).map(|index| format!("read:resource_{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let offered = scopes(&[(Effect::Read, &many)]);
        assert_eq!((offered.supported.len(), offered.to_begin_with), (200, None));
    }
}
