//! Who calls, as an admin supposes it: on the command line, or in a file of cases.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::auth::DEV_ISSUER;
use crate::config::Config;
use crate::model::{Principal, Scope};

/// A caller that is supposed, not authenticated.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// The subject, such as `u1`.
    #[arg(long = "as", value_name = "SUBJECT")]
    pub subject: String,
    /// The issuer that vouches for it; the configured one if there is just one, that of `tidegate dev` if there is none.
    /// `tidegate:config` stands for `[auth.anonymous]` and `[auth.local]`.
    #[arg(long)]
    pub issuer: Option<String>,
    /// The tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// The OAuth client.
    #[arg(long)]
    pub client: Option<String>,
    /// A scope that is held, such as `read:invoices`. May be repeated; without one, nothing is held.
    #[arg(long = "scope", value_name = "SCOPE")]
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// A group the issuer says the caller is in. May be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    #[serde(default)]
    pub groups: Vec<String>,
    /// A claim of the token, as JSON or plain text: `pay_limit=500`, `region=eu`. May be repeated.
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = parse_claim)]
    #[serde(default, deserialize_with = "claims")]
    pub claims: Vec<(String, Value)>,
}

impl Caller {
    /// The principal this stands for on a host with this configuration.
    ///
    /// # Errors
    /// No issuer is named, and there are several it could be.
    pub fn principal(&self, config: &Config) -> Result<Principal, String> {
        let mut configured = config.auth.issuers.values();
        let issuer = match (&self.issuer, configured.next(), configured.next()) {
            (Some(issuer), _, _) => issuer.clone(),
            (None, Some(only), None) => only.issuer.clone(),
            (None, None, _) => DEV_ISSUER.to_owned(),
            (None, Some(_), Some(_)) => {
                let known: Vec<_> = config.auth.issuers.values().map(|issuer| format!("`{}`", issuer.issuer)).collect();
                return Err(format!("several issuers could vouch for `{}`: {}", self.subject, known.join(", ")));
            }
        };
        Ok(Principal {
            issuer,
            subject: self.subject.clone(),
            client: self.client.clone(),
            tenant: self.tenant.clone(),
            groups: self.groups.clone(),
            scopes: self.scopes.clone(),
            claims: self.claims.iter().cloned().collect(),
        })
    }
}

fn claims<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Value)>, D::Error> {
    BTreeMap::<String, Value>::deserialize(deserializer).map(|claims| claims.into_iter().collect())
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
        }
        _ => Err("write NAME=VALUE, for example `pay_limit=500` or `roles=[\"clerk\"]`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_json_or_else_text() {
        assert_eq!(parse_claim("limit=5"), Ok(("limit".into(), json!(5))));
        assert_eq!(parse_claim("roles=[\"a\"]"), Ok(("roles".into(), json!(["a"]))));
        assert_eq!(parse_claim("region=eu=1"), Ok(("region".into(), json!("eu=1"))));
        assert!(parse_claim("region").is_err());
    }

    #[test]
    fn without_an_issuer_the_only_configured_one_is_meant() {
        let caller: Caller = toml::from_str("subject = \"u1\"\nclaims = { pay_limit = 5 }").expect("a caller");
        assert_eq!(caller.principal(&Config::default()).expect("no other").issuer, DEV_ISSUER);
        let config: Config = toml::from_str("[auth.issuers.corp]\nissuer = \"https://id.example.com\"").expect("a config");
        let principal = caller.principal(&config).expect("one issuer");
        assert_eq!(principal.issuer, "https://id.example.com");
        assert_eq!(principal.claims["pay_limit"], json!(5));
        let config = "[auth.issuers]\na.issuer = \"https://a.example\"\nb.issuer = \"https://b.example\"";
        let config: Config = toml::from_str(config).expect("a config");
        let refused = caller.principal(&config).expect_err("either could be meant");
        assert_eq!(refused, "several issuers could vouch for `u1`: `https://a.example`, `https://b.example`");
        let named = Caller { issuer: Some("tidegate:config".to_owned()), ..caller };
        assert_eq!(named.principal(&config).expect("it is named").issuer, "tidegate:config");
    }
}
