//! From credentials to a principal: whom this host trusts to be whom. An OAuth 2.1 resource server.
//!
//! Bearer tokens are JWTs signed by a configured issuer; their keys are fetched in the background. What can't be verified is
//! refused, what can't be verified *now* is told to come back, and nothing is ever let in on a doubt.

mod admin_token;
mod cache;
mod checks;
mod claims;
mod config;
mod details;
mod dev;
mod discovery;
mod fetch;
mod issuer;
mod keyring;
mod keys;
mod problem;
mod token;
mod url;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{Credentials, Principal};
use cache::TokenCache;
use checks::Checks;
use fetch::Fetcher;
use issuer::Issuer;
use token::Jwt;

pub use admin_token::AdminToken;
pub use config::{IssuerConfig, IssuerConfigError, TokenLimits};
pub use details::DETAILS_TYPE;
pub use dev::{DEV_ISSUER, LIFETIME, Minter, TokenRequest};
pub use problem::Problem;
pub use url::is_loopback;

/// Decides who is calling. Cheap to clone; clones share everything.
///
/// INVARIANT: a token that can't be verified is refused, never treated as if it were absent.
#[derive(Clone)]
pub struct Authenticator(Arc<Parts>);

/// Says who somebody without a token is at the moment: what they hold may follow from the tools that are loaded.
pub type Vouched = Arc<dyn Fn() -> Arc<Principal> + Send + Sync>;

struct Parts {
    anonymous: Option<Vouched>,
    local: Vouched,
    /// By the `iss` of their tokens.
    issuers: HashMap<String, Arc<Issuer>>,
    limits: TokenLimits,
    cache: TokenCache,
    checks: Checks,
    /// This server's own URL, known once it listens.
    resource: OnceLock<String>,
}

/// Why credentials were refused. The text is for the caller and tells nothing a guesser could use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing was presented, and callers must present something.
    #[error("this server needs a bearer token")]
    Missing,
    /// The token does not count.
    #[error(transparent)]
    Invalid(#[from] Problem),
    /// Whether the token counts can't be told now, because the keys of its issuer can't be had.
    #[error("the issuer of the bearer token can't be reached, so the token can't be verified now; try again later")]
    Unavailable {
        /// When trying again makes sense.
        retry_after: Duration,
    },
}

impl AuthError {
    /// The reason as metrics spell it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid(problem) => problem.as_str(),
            Self::Unavailable { .. } => "issuer_unavailable",
        }
    }
}

/// Whether the issuers can be trusted as configured.
///
/// # Errors
/// One can't.
pub fn check(issuers: &BTreeMap<String, IssuerConfig>) -> Result<(), IssuerConfigError> {
    by_iss(issuers).map(drop)
}

fn by_iss(issuers: &BTreeMap<String, IssuerConfig>) -> Result<HashMap<String, Arc<Issuer>>, IssuerConfigError> {
    let mut by_iss: HashMap<String, Arc<Issuer>> = HashMap::new();
    for (name, config) in issuers {
        let twin = by_iss.insert(config.issuer.clone(), Arc::new(Issuer::remote(name, config)?));
        if let Some(twin) = twin {
            let problem = format!("`issuer` is the same as in `[auth.issuers.{}]`", twin.name);
            return Err(IssuerConfigError { name: name.clone(), problem });
        }
    }
    Ok(by_iss)
}

impl Authenticator {
    /// An authenticator that takes callers without credentials for `anonymous` (refused if `None`), the local user for `local`,
    /// and bearers of tokens for whom their issuers say they are.
    ///
    /// # Errors
    /// An issuer can't be trusted as configured.
    pub fn new(
        anonymous: Option<Vouched>,
        local: Vouched,
        issuers: &BTreeMap<String, IssuerConfig>,
        limits: TokenLimits,
    ) -> Result<Self, IssuerConfigError> {
        Ok(Self(Arc::new(Parts {
            anonymous,
            local,
            issuers: by_iss(issuers)?,
            cache: TokenCache::new(limits.cache, limits.cache_for.duration()),
            limits,
            checks: Checks::new(),
            resource: OnceLock::new(),
        })))
    }

    /// The same, taking the tokens of `minter` too. Before it is cloned.
    #[must_use]
    pub fn with_minter(mut self, minter: &Minter) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("nobody has a clone yet");
        parts.issuers.insert(DEV_ISSUER.to_owned(), Arc::new(Issuer::local(DEV_ISSUER, minter.keys())));
        self
    }

    /// Says under which URL this server is reached: what tokens must be for, unless their issuer's `audience` says otherwise.
    /// Until then no token counts.
    pub fn serve_as(&self, resource: &str) {
        // The first listener decides; there is one.
        let _ = self.0.resource.set(resource.to_owned());
    }

    /// Fetches the issuers' keys, and keeps them fresh until `shutdown`.
    pub fn keep_keys(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        let fetcher = Fetcher::new();
        for issuer in self.0.issuers.values() {
            let (issuer, fetcher, shutdown) = (issuer.clone(), fetcher.clone(), shutdown.clone());
            tasks.spawn(async move { issuer.keyring.keep(&issuer.name, &fetcher, &shutdown).await });
        }
    }

    /// How it stands with each issuer's keys, for operators.
    pub fn health(&self) -> BTreeMap<String, String> {
        self.0.issuers.values().map(|issuer| (issuer.name.clone(), issuer.keyring.health())).collect()
    }

    /// The local user who started the process: over stdio, or the socket in the data folder.
    pub fn local(&self) -> Arc<Principal> {
        (self.0.local)()
    }

    /// Who presents these credentials.
    ///
    /// # Errors
    /// The credentials are missing or do not verify, or can't be verified now.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Arc<Principal>, AuthError> {
        match credentials {
            Credentials::Anonymous => self.0.anonymous.as_ref().map(|who| who()).ok_or(AuthError::Missing),
            Credentials::Bearer(token) => self.verify(token).await,
        }
    }

    async fn verify(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        let Parts { issuers, limits, cache, checks, resource, .. } = &*self.0;
        if token.len() > limits.max_token.as_usize() {
            return Err(Problem::TooLong(limits.max_token.as_usize()).into());
        }
        let print = TokenCache::print(token);
        if let Some(principal) = cache.get(&print) {
            return Ok(principal);
        }
        let jwt = Jwt::read(token)?;
        let (iss, issuer) = jwt.issuer().and_then(|iss| issuers.get_key_value(iss)).ok_or(Problem::UnknownIssuer)?;
        if !issuer.rules.algorithms.contains(&jwt.signature.algorithm) {
            return Err(Problem::Algorithm.into());
        }
        let Some(resource) = resource.get() else {
            return Err(AuthError::Unavailable { retry_after: Duration::from_secs(1) });
        };
        let version = issuer.version_that_signed(&jwt, checks).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let verified = issuer.rules.principal(&jwt, iss, resource, now)?;
        let principal = Arc::new(verified.principal);
        cache.keep(print, token.len(), principal.clone(), issuer.clone(), version, verified.expires_in);
        Ok(principal)
    }
}

#[cfg(test)]
mod tests;
