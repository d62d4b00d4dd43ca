//! Who is calling: the authenticated subject, what it may do, and what is known about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Scope;

/// An authenticated caller. Never holds the token it came with: the inbound token stays in the transport.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Principal {
    /// The issuer that vouches for the subject (`iss`), or `tidegate:dev`, `tidegate:config` for principals of ours.
    pub issuer: String,
    /// The subject (`sub`), unique under its issuer.
    pub subject: String,
    /// The OAuth client that acts for the subject, when known.
    pub client: Option<String>,
    /// The tenant, when the issuer names one.
    pub tenant: Option<String>,
    /// The groups the issuer says the subject is in.
    pub groups: Vec<String>,
    /// The scopes held.
    pub scopes: Vec<Scope>,
    /// Further claims that scopes may refer to as `$principal.<claim>`.
    pub claims: BTreeMap<String, Value>,
}

impl Principal {
    /// The claims of a token that a principal has as fields of its own, so that no other claim can pass for them.
    pub const OWN_CLAIMS: [&str; 4] = ["iss", "sub", "tenant", "client_id"];

    /// A caller of whom nothing else is known.
    #[cfg(test)]
    pub fn named(issuer: &str, subject: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            client: None,
            tenant: None,
            groups: Vec::new(),
            scopes: Vec::new(),
            claims: BTreeMap::new(),
        }
    }

    /// What `$principal.<name>` stands for: `sub`, `iss`, `tenant`, `client_id`, or else a further claim.
    pub fn claim(&self, name: &str) -> Option<Value> {
        match name {
            "sub" => Some(self.subject.clone().into()),
            "iss" => Some(self.issuer.clone().into()),
            "tenant" => self.tenant.clone().map(Value::from),
            "client_id" => self.client.clone().map(Value::from),
            other => self.claims.get(other).cloned(),
        }
    }
}
