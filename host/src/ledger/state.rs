//! What a client carries from one run of a call to the next: the questions and answers so far (MCP 2026-07-28, `requestState`).
//!
//! It is sealed with a key of this host, and bound to the caller, the tool, the idempotency key and the arguments: a client can
//! neither read nor change it, nor use it for another call. So nothing has to be kept here for callers who never come back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Ledger;
use super::cbor::{self, Part};
use super::cipher::Cipher;
use crate::model::{Arguments, Digest, Given, IdempotencyKey, Principal, Timestamp, ToolName};

/// The name of the key that states are sealed with.
const LABEL: &str = "tidegate/request-state/1";

/// The call that a state belongs to, whichever of its runs.
#[derive(Clone, Copy, Debug)]
pub struct StateOf<'a> {
    /// Who calls.
    pub principal: &'a Principal,
    /// The plugin that is called.
    pub plugin: &'a str,
    /// The tool.
    pub tool: &'a ToolName,
    /// The idempotency key, if there is one: what was consented to once is consented to once.
    pub key: Option<&'a IdempotencyKey>,
    /// The arguments, validated.
    pub arguments: &'a Arguments,
}

/// The questions and answers of a call between two of its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestState {
    /// It counts no longer than this.
    pub until: Timestamp,
    /// The answers so far, by the keys of the questions.
    pub given: BTreeMap<String, Given>,
    /// What was asked and not answered yet: the print of each question.
    pub open: BTreeMap<String, Digest>,
}

impl Ledger {
    /// The state as the client gets it.
    pub fn seal_state(&self, of: &StateOf<'_>, state: &RequestState) -> String {
        let json = serde_json::to_vec(state).expect("texts and parsed JSON serialize");
        URL_SAFE_NO_PAD.encode(self.state_cipher().seal(&self.context(of), &json))
    }

    /// The state that a client came back with; `None` if it is not one of this call, or too old.
    pub fn open_state(&self, of: &StateOf<'_>, text: &str) -> Option<RequestState> {
        let json = self.state_cipher().unseal(&self.context(of), &URL_SAFE_NO_PAD.decode(text).ok()?)?;
        serde_json::from_slice::<RequestState>(&json).ok().filter(|state| state.until > self.now())
    }

    fn state_cipher(&self) -> Cipher {
        Cipher::new(&self.key_for(LABEL))
    }

    fn context(&self, of: &StateOf<'_>) -> Vec<u8> {
        cbor::encode_parts(&[
            Part::Text(LABEL),
            Part::Text(&of.principal.issuer),
            Part::Text(&of.principal.subject),
            Part::Text(of.plugin),
            Part::Text(of.tool.as_str()),
            // A key has at least one character.
            Part::Text(of.key.map_or("", IdempotencyKey::as_str)),
            Part::Bytes(&self.inner.secret.print(of.arguments).0),
        ])
    }
}
