//! Secrets: read from where the operator keeps them, wiped when nobody needs them any more, and never printed.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::error::OutboundError;

/// The largest file that is taken for a secret.
const MAX_SECRET: u64 = 64 << 10;

/// A text that is wiped from memory with its last owner.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text over.
    pub(super) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for those who send it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// The text behind `prefix` as a header's value, which is wiped with its last copy and not printed either. `None` if it is
    /// empty or holds what no header may.
    pub(super) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        if self.0.is_empty() {
            return None;
        }
        let text = Zeroizing::new([prefix.as_bytes(), self.0.as_bytes()].concat());
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a secret is kept: never in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// An environment variable.
    Variable(String),
    /// A file; a line break at its end is ignored.
    File(PathBuf),
}

impl Keeper {
    /// The keeper that a configuration names.
    ///
    /// # Errors
    /// It names none, or two.
    pub(super) fn of(owner: &str, env: Option<&String>, file: Option<&PathBuf>) -> Result<Self, OutboundError> {
        match (env, file) {
            (Some(variable), None) => Ok(Self::Variable(variable.clone())),
            (None, Some(path)) => Ok(Self::File(path.clone())),
            _ => Err(OutboundError::CredentialSource { backend: owner.to_owned() }),
        }
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn read(&self, owner: &str) -> Result<Secret, OutboundError> {
        let backend = owner.to_owned();
        let mut secret = match self {
            Self::Variable(variable) => match std::env::var(variable) {
                Ok(text) => Secret::new(text),
                Err(_) => return Err(OutboundError::Variable { backend, variable: variable.clone() }),
            },
            Self::File(path) => {
                let mut text = Zeroizing::new(String::new());
                // Whatever grows beyond it leaves copies behind that nobody wipes.
                text.reserve(usize::try_from(MAX_SECRET).unwrap_or_default());
                let read = std::fs::File::open(path).and_then(|file| file.take(MAX_SECRET).read_to_string(&mut text));
                match read {
                    Ok(_) => Secret(text),
                    Err(source) => return Err(OutboundError::File { backend, path: path.clone(), source }),
                }
            }
        };
        let length = secret.0.trim_end_matches(['\r', '\n']).len();
        secret.0.truncate(length);
        Ok(secret)
    }
}
