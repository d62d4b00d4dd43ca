//! Who is calling: the authenticated subject, what it may do, and what is known about it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Scope;

/// An authenticated caller. Never holds the token it came with: the inbound token stays in the transport.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// The issuer that vouches for the subject (`iss`), or `tidegate:dev`, `tidegate:config` for principals of ours.
    pub issuer: String,
    /// The subject (`sub`), unique under its issuer.
    pub subject: String,
    /// The OAuth client that acts for the subject, when known.
    pub client: Option<String>,
    /// The tenant, when the issuer names one.
    pub tenant: Option<String>,
    /// The scopes held.
    pub scopes: Vec<Scope>,
    /// Further claims that scopes may refer to as `$principal.<claim>`.
    pub claims: BTreeMap<String, Value>,
}
