//! Keeping a call's secrets out of what is told of it elsewhere than in the log.

use std::borrow::Cow;
use std::sync::Arc;

use super::body::fresh_salt;
use super::redact::{Redacted, Scrubber, Secrets};
use super::{Inner, Ledger};
use crate::model::Arguments;

/// Does to texts about one call what is done to them before they are written down.
pub struct Scrub {
    ledger: Arc<Inner>,
    salt: [u8; 32],
    secrets: Secrets,
}

impl Ledger {
    /// What keeps the secrets among `arguments` out of texts: what the pointers of `redact` point at, and what is detected.
    pub fn scrub(&self, arguments: &Arguments, redact: &[String]) -> Scrub {
        let salt = fresh_salt();
        let secrets = Redacted::new(&self.inner.secret, &salt, arguments, redact).secrets;
        Scrub { ledger: Arc::clone(&self.inner), salt, secrets }
    }
}

impl Scrub {
    /// The text, fit to leave the host.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Scrubber { secret: &self.ledger.secret, salt: &self.salt, secrets: &self.secrets }.text(text)
    }
}
