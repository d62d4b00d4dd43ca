//! `[auth.issuers.<name>]`: which issuers' tokens count here, and what of them.

use std::time::Duration;

use http::Uri;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer};

use super::url::{self, UrlProblem};
use crate::model::{Bytes, Span};

/// The limits on tokens, whoever issued them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimits {
    /// The longest token that is looked at.
    pub max_token: Bytes,
    /// The memory for tokens that were verified already.
    pub cache: Bytes,
    /// How long a verified token is taken for verified without looking again.
    pub cache_for: Span,
}

impl Default for TokenLimits {
    fn default() -> Self {
        Self { max_token: Bytes::kib(16), cache: Bytes::mib(64), cache_for: Span::seconds(60) }
    }
}

/// `[auth.issuers.<name>]`: one issuer of tokens for this server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The issuer, exactly as the `iss` of its tokens and its own metadata write it.
    pub issuer: String,
    /// What its tokens must be issued for (`aud`, RFC 8707): one of these. This server's own URL by default.
    #[serde(default, deserialize_with = "one_or_many")]
    pub audience: Vec<String>,
    /// Where its keys are. Discovered from its metadata by default (RFC 8414, OpenID Connect Discovery 1.0).
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// The signature algorithms taken from it. Shared-secret algorithms and `none` can't be configured.
    #[serde(default = "default_algorithms", deserialize_with = "algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Which rules its tokens follow.
    #[serde(default)]
    pub profile: Profile,
    /// How far its clock and ours may be apart.
    #[serde(default = "default_leeway")]
    pub leeway: Span,
    /// The claim that names the tenant.
    #[serde(default = "default_tenant_claim")]
    pub tenant_claim: String,
    /// The claim that lists the groups of the subject.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// The further claims that scopes and policies may refer to. All by default.
    #[serde(default)]
    pub claims: Option<Vec<String>>,
    /// How often its keys are fetched anew; sooner if it says that they keep for less.
    #[serde(default = "default_refresh")]
    pub refresh: Span,
    /// The least time between two fetches, whatever tokens come: a `kid` nobody knows must not make us hammer the issuer.
    #[serde(default = "default_min_refresh")]
    pub min_refresh: Span,
    /// How long keys count while the issuer can't be reached. After that its tokens are refused until it can.
    #[serde(default = "default_max_stale")]
    pub max_stale: Span,
    /// How long one fetch may take.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

/// Which rules tokens follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Any JWT of the type `JWT` or `at+jwt`, or of none; what most issuers send.
    #[default]
    Jwt,
    /// JWT access tokens as RFC 9068 has them: the type `at+jwt`, with `client_id`, `iat` and `jti`.
    Rfc9068,
}

/// Why an issuer can't be trusted as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`[auth.issuers.{name}]`: {problem}")]
pub struct IssuerConfigError {
    /// The issuer's name in the config.
    pub name: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl IssuerConfig {
    /// The issuer at `issuer`, with everything else by default.
    pub fn at(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: Vec::new(),
            jwks_uri: None,
            algorithms: default_algorithms(),
            profile: Profile::default(),
            leeway: default_leeway(),
            tenant_claim: default_tenant_claim(),
            groups_claim: default_groups_claim(),
            claims: None,
            refresh: default_refresh(),
            min_refresh: default_min_refresh(),
            max_stale: default_max_stale(),
            timeout: default_timeout(),
        }
    }

    /// The issuer's address, and that of its keys if they need no discovery.
    ///
    /// # Errors
    /// A value that can't be kept; the first one found.
    pub fn check(&self, name: &str) -> Result<(Uri, Option<Uri>), IssuerConfigError> {
        let refuse = |problem: String| IssuerConfigError { name: name.to_owned(), problem };
        let in_key = |key: &str, text: &str, problem: UrlProblem| refuse(format!("`{key}` is `{text}`, {problem}"));
        let issuer = url::issuer(&self.issuer).map_err(|problem| in_key("issuer", &self.issuer, problem))?;
        let keys = match &self.jwks_uri {
            Some(text) => Some(url::secure(text).map_err(|problem| in_key("jwks_uri", text, problem))?),
            None => None,
        };
        if self.algorithms.is_empty() {
            return Err(refuse("`algorithms` is empty, so no token could be verified; leave the key out for the default".into()));
        }
        if self.audience.iter().any(String::is_empty) {
            return Err(refuse("`audience` holds an empty text; leave the key out for this server's own URL".into()));
        }
        for (key, value, range) in [
            ("leeway", self.leeway, Span::seconds(0)..=Span::seconds(300)),
            ("refresh", self.refresh, Span::seconds(10)..=Span::seconds(24 * 3600)),
            ("min_refresh", self.min_refresh, Span::seconds(1)..=Span::seconds(3600)),
            ("max_stale", self.max_stale, Span::seconds(60)..=Span::seconds(30 * 24 * 3600)),
            ("timeout", self.timeout, Span::millis(100)..=Span::seconds(60)),
        ] {
            if !range.contains(&value) {
                return Err(refuse(format!("`{key}` is \"{value}\"; it must be \"{}\" to \"{}\"", range.start(), range.end())));
            }
        }
        if self.min_refresh > self.refresh || self.refresh > self.max_stale {
            return Err(refuse("`min_refresh` must not be longer than `refresh`, nor `refresh` longer than `max_stale`".into()));
        }
        Ok((issuer, keys))
    }
}

impl TokenLimits {
    /// Checks the limits that the code below cannot keep at every value.
    ///
    /// # Errors
    /// The first one out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(Bytes::kib(1)..=Bytes::kib(64)).contains(&self.max_token) {
            return Err(format!("`[auth] max_token` is {}; it must be \"1KiB\" to \"64KiB\"", self.max_token));
        }
        if !(Bytes::mib(1)..=Bytes::mib(4096)).contains(&self.cache) {
            return Err(format!("`[auth] cache` is {}; it must be \"1MiB\" to \"4GiB\"", self.cache));
        }
        if self.cache_for.duration() > Duration::from_secs(600) {
            return Err(format!("`[auth] cache_for` is \"{}\"; it must be at most \"10m\"", self.cache_for));
        }
        Ok(())
    }
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
}

fn default_leeway() -> Span {
    Span::seconds(30)
}

fn default_tenant_claim() -> String {
    "tenant".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

fn default_refresh() -> Span {
    Span::seconds(300)
}

fn default_min_refresh() -> Span {
    Span::seconds(30)
}

fn default_max_stale() -> Span {
    Span::seconds(24 * 3600)
}

fn default_timeout() -> Span {
    Span::seconds(5)
}

/// The public-key algorithm of that name (RFC 7518 §3.1, RFC 8037, RFC 9864), if it is one that can be configured.
pub(super) fn public_key_algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        // Ed25519 is the newer name for the one curve of EdDSA that is in use.
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}

fn algorithms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Algorithm>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let read = names.iter().map(|name| {
        public_key_algorithm(name).ok_or_else(|| {
            serde::de::Error::custom(match name.as_str() {
                "none" => "`none` would take unsigned tokens; it can't be allowed".to_owned(),
                "HS256" | "HS384" | "HS512" => {
                    format!("`{name}` signs with a secret that this server would have to share; it can't be allowed")
                }
                _ => format!("`{name}` is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"),
            })
        })
    });
    read.collect()
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<IssuerConfig, String> {
        toml::from_str(toml).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn an_issuer_alone_is_enough() {
        let config = read("issuer = \"https://id.example.com\"").expect("everything else has a default");
        assert_eq!(
            config.check("corp").map(|(issuer, keys)| (issuer.to_string(), keys)),
            Ok(("https://id.example.com/".into(), None))
        );
        assert_eq!((config.leeway, config.min_refresh, config.audience.len()), (Span::seconds(30), Span::seconds(30), 0));
    }

    #[test]
    fn neither_shared_secrets_nor_unsigned_tokens_can_be_allowed() {
        for (name, reason) in [("HS256", "secret"), ("none", "unsigned"), ("RS257", "not one of")] {
            let error = read(&format!("issuer = \"https://a\"\nalgorithms = [\"{name}\"]")).expect_err("refused");
            assert!(error.contains(name) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn an_issuer_without_tls_counts_on_this_machine_alone() {
        let check = |issuer: &str| IssuerConfig::at(issuer).check("corp").map(|_| ()).map_err(|error| error.to_string());
        for issuer in ["https://id.example.com/tenant", "http://127.0.0.1:9000", "http://localhost:9000/a", "http://[::1]:9000"] {
            assert_eq!(check(issuer), Ok(()), "{issuer}");
        }
        for issuer in
            ["http://id.example.com", "http://127.0.0.1.example.com", "id.example.com", "https://a?b=c", "https://a#b", ""]
        {
            let error = check(issuer).expect_err(issuer);
            assert!(error.starts_with("`[auth.issuers.corp]`: `issuer` is "), "{error}");
        }
    }

    #[test]
    fn limits_out_of_range_are_named_with_their_range() {
        let config = IssuerConfig { leeway: Span::seconds(3600), ..IssuerConfig::at("https://a") };
        let error = config.check("corp").expect_err("an hour is no clock skew").to_string();
        assert_eq!(error, "`[auth.issuers.corp]`: `leeway` is \"1h\"; it must be \"0s\" to \"5m\"");
        assert!(TokenLimits { max_token: Bytes::mib(1), ..TokenLimits::default() }.check().is_err());
        assert_eq!(TokenLimits::default().check(), Ok(()));
    }
}
