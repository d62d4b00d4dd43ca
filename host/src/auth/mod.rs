//! From credentials to a principal: whom this host trusts to be whom.

use std::sync::Arc;

use crate::model::{Credentials, Principal};

/// Decides who is calling.
///
/// INVARIANT: a token that can't be verified is refused, never treated as if it were absent.
pub struct Authenticator {
    anonymous: Option<Arc<Principal>>,
    local: Arc<Principal>,
}

/// Why credentials were refused. The text is for the caller and tells nothing a guesser could use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing was presented, and callers must present something.
    #[error("this server needs a bearer token")]
    Missing,
    /// A token was presented, but no issuer is trusted that could vouch for it.
    #[error("the bearer token cannot be verified: no issuer is configured")]
    NoIssuer,
}

impl Authenticator {
    /// An authenticator that takes callers without credentials for `anonymous` (refused if `None`) and the local user
    /// for `local`.
    pub fn new(anonymous: Option<Principal>, local: Principal) -> Self {
        Self { anonymous: anonymous.map(Arc::new), local: Arc::new(local) }
    }

    /// Who presents these credentials.
    ///
    /// # Errors
    /// The credentials are missing or do not verify.
    pub fn authenticate(&self, credentials: &Credentials) -> Result<Arc<Principal>, AuthError> {
        match credentials {
            Credentials::Local => Ok(self.local.clone()),
            Credentials::Anonymous => self.anonymous.clone().ok_or(AuthError::Missing),
            Credentials::Bearer(_) => Err(AuthError::NoIssuer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn principal(subject: &str) -> Principal {
        Principal {
            issuer: "tidegate:dev".into(),
            subject: subject.into(),
            client: None,
            tenant: None,
            groups: Vec::new(),
            scopes: Vec::new(),
            claims: BTreeMap::new(),
        }
    }

    #[test]
    fn an_unverifiable_token_is_refused_even_where_anonymous_callers_are_welcome() {
        let open = Authenticator::new(Some(principal("u1")), principal("local"));
        assert_eq!(open.authenticate(&Credentials::Bearer("x".into())), Err(AuthError::NoIssuer));
        assert_eq!(open.authenticate(&Credentials::Anonymous).map(|p| p.subject.clone()), Ok("u1".into()));
    }

    #[test]
    fn callers_without_credentials_are_refused_by_default() {
        let closed = Authenticator::new(None, principal("local"));
        assert_eq!(closed.authenticate(&Credentials::Anonymous), Err(AuthError::Missing));
    }
}
