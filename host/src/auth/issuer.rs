//! One trusted issuer: its rules, its keys, and whether it signed a token.

use std::time::Duration;

use super::AuthError;
use super::checks::Checks;
use super::claims::Rules;
use super::config::{IssuerConfig, IssuerConfigError};
use super::keyring::{Keyring, Keys, Patience, Source};
use super::keys::KeySet;
use super::problem::Problem;
use super::token::Jwt;

/// An issuer whose tokens count.
pub(super) struct Issuer {
    /// Its name in the config, logs and metrics.
    pub name: String,
    /// What its tokens must satisfy.
    pub rules: Rules,
    /// Its keys.
    pub keyring: Keyring,
}

impl Issuer {
    /// The issuer that `config` describes. Its keys are fetched once [`Keyring::keep`] runs.
    ///
    /// # Errors
    /// The config can't be kept.
    pub fn remote(name: &str, config: &IssuerConfig) -> Result<Self, IssuerConfigError> {
        let (uri, keys) = config.check(name)?;
        let patience = Patience {
            refresh: config.refresh.duration(),
            min_refresh: config.min_refresh.duration(),
            max_stale: config.max_stale.duration(),
            timeout: config.timeout.duration(),
        };
        let source = Source { issuer: config.issuer.clone(), uri, keys };
        Ok(Self { name: name.to_owned(), rules: Rules::of(config), keyring: Keyring::remote(source, patience) })
    }

    /// An issuer within this process, with these keys.
    pub fn local(name: &str, keys: KeySet) -> Self {
        Self { name: name.to_owned(), rules: Rules::of(&IssuerConfig::at(name)), keyring: Keyring::fixed(keys) }
    }

    /// The version of the keys of which one signed `jwt`. Looks for newer keys if there is reason to.
    ///
    /// # Errors
    /// None of them did; or it can't be told, because the keys can't be fetched.
    pub async fn version_that_signed(&self, jwt: &Jwt, checks: &Checks) -> Result<u64, AuthError> {
        let signature = &jwt.signature;
        let names_it = |keys: &Keys| keys.set.names(signature.kid.as_deref(), signature.algorithm);
        let before = self.keyring.current();
        if let Some(keys) = &before {
            if checks.is_by(signature, &keys.set).await {
                return Ok(keys.version);
            }
            if names_it(keys) {
                return Err(Problem::Signature.into());
            }
        }
        self.keyring.renew().await;
        let Some(keys) = self.keyring.current() else { return Err(self.unavailable(Duration::from_secs(1))) };
        if before.is_none_or(|before| before.version != keys.version) && checks.is_by(signature, &keys.set).await {
            return Ok(keys.version);
        }
        match self.keyring.retry_after() {
            _ if names_it(&keys) => Err(Problem::Signature.into()),
            // It may be signed with a key that is newer than those we have; nobody knows.
            Some(retry_after) => Err(self.unavailable(retry_after)),
            None => Err(Problem::UnknownKey.into()),
        }
    }

    fn unavailable(&self, otherwise: Duration) -> AuthError {
        AuthError::Unavailable { retry_after: self.keyring.retry_after().unwrap_or(otherwise) }
    }
}
