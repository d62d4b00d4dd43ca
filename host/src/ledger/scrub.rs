//! Keeping a call's secrets out of what is told of it elsewhere than in the log.

use std::borrow::Cow;
use std::sync::Arc;

use super::body::fresh_salt;
use super::redact::{Redacted, Scrubber, Secrets};
use super::{Inner, Ledger};
use crate::model::{Arguments, Dialogue};

/// Does to texts about one call what is done to them before they are written down.
pub struct Scrub {
    ledger: Arc<Inner>,
    salt: [u8; 32],
    secrets: Secrets,
}

impl Ledger {
    /// What keeps the secrets among `arguments`, and among what a caller has answered, out of texts: what the pointers of `redact`
    /// point at in the arguments, and what is detected in either.
    pub fn scrub(&self, arguments: &Arguments, redact: &[String], dialogue: &Dialogue) -> Scrub {
        let salt = fresh_salt();
        let mut secrets = Redacted::new(&self.inner.secret, &salt, arguments, redact).secrets;
        if !dialogue.given.is_empty() {
            secrets.join(&Redacted::new(&self.inner.secret, &salt, &dialogue.answers(), &[]).secrets);
        }
        Scrub { ledger: Arc::clone(&self.inner), salt, secrets }
    }
}

impl Scrub {
    /// The text, fit to leave the host.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Scrubber { secret: &self.ledger.secret, salt: &self.salt, secrets: &self.secrets }.text(text)
    }
}
