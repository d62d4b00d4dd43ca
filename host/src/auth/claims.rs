//! From the claims of a token to a principal, by the rules its issuer is held to (RFC 7519 §4.1, RFC 8725, RFC 9068).

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::config::{IssuerConfig, Profile};
use super::details;
use super::problem::Problem;
use super::token::{Claims, Jwt};
use crate::model::{Principal, Scope};

/// The longest subject, client, tenant or group, in bytes. OpenID Connect allows 255 characters for a subject.
const MAX_NAME: usize = 512;
/// The most scopes of ours that a token may hold.
pub(super) const MAX_SCOPES: usize = 256;
/// The most groups that a token may hold. Issuers with more than a few hundred send none and a link instead.
const MAX_GROUPS: usize = 512;
/// The most further claims that a token may hold.
const MAX_CLAIMS: usize = 64;

/// Claims that speak of the token rather than of its subject, or that a principal has as fields of its own.
const NOT_KEPT: [&str; 11] =
    ["aud", "exp", "nbf", "iat", "jti", "azp", "cnf", "scope", "scp", "authorization_details", "auth_time"];

/// The rules for the tokens of one issuer.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Whom tokens must be for: one of these; this server's own URL if empty.
    pub audiences: Vec<String>,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    profile: Profile,
    leeway: Duration,
    tenant_claim: String,
    groups_claim: String,
    claims: Option<Vec<String>>,
}

/// A principal, and when its token expires.
#[derive(Debug)]
pub(super) struct Verified {
    /// Who presented it.
    pub principal: Principal,
    /// Seconds until it is refused, leeway included.
    pub expires_in: Duration,
}

impl Rules {
    /// The rules that `config` sets.
    pub fn of(config: &IssuerConfig) -> Self {
        Self {
            audiences: config.audience.clone(),
            algorithms: config.algorithms.clone(),
            profile: config.profile,
            leeway: config.leeway.duration(),
            tenant_claim: config.tenant_claim.clone(),
            groups_claim: config.groups_claim.clone(),
            claims: config.claims.clone(),
        }
    }

    /// The principal that a token speaks for. INVARIANT: only called with a token whose signature holds.
    ///
    /// `issuer` is whose token it is, `resource` this server's own URL, `now` the time since the epoch.
    ///
    /// # Errors
    /// The token is not for this server, not now, or not an access token; or claims are missing, malformed or too many.
    pub fn principal(&self, jwt: &Jwt, issuer: &str, resource: &str, now: Duration) -> Result<Verified, Problem> {
        let claims = &jwt.claims;
        self.check_kind(jwt)?;
        self.check_audience(claims, resource)?;
        let expires_in = self.check_time(claims, now)?;
        // A token bound to a key proves nothing without a proof of that key (RFC 9449 §7.2, RFC 8705 §3).
        if claims.get("cnf").is_some_and(|cnf| !cnf.is_null()) {
            return Err(Problem::Bound);
        }
        let client = match name(claims, "client_id")? {
            None => name(claims, "azp")?,
            client => client,
        };
        let principal = Principal {
            issuer: issuer.to_owned(),
            subject: name(claims, "sub")?.ok_or_else(|| Problem::Claim("sub".into()))?,
            client,
            tenant: name(claims, &self.tenant_claim)?,
            groups: self.groups(claims)?,
            scopes: self.scopes(claims, resource)?,
            claims: self.further(claims)?,
        };
        Ok(Verified { principal, expires_in })
    }

    /// Access tokens are told from other JWTs by their type (RFC 9068 §2.1, RFC 8725 §3.11); where it is the general one, or none,
    /// by claims that only other kinds have: those that tie an ID token to its login (OpenID Connect Core §2, §3.3.2.11), and the
    /// marks with which issuers set their ID and refresh tokens apart.
    fn check_kind(&self, jwt: &Jwt) -> Result<(), Problem> {
        let has = |name: &str| jwt.claims.get(name).is_some_and(|value| !value.is_null());
        let is =
            |name: &str, marks: &[&str]| jwt.claims.get(name).and_then(Value::as_str).is_some_and(|mark| marks.contains(&mark));
        match (jwt.kind.as_deref(), self.profile) {
            (Some("at+jwt"), Profile::Jwt) => Ok(()),
            (Some("at+jwt"), Profile::Rfc9068) => match ["client_id", "iat", "jti"].into_iter().find(|name| !has(name)) {
                Some(missing) => Err(Problem::Claim(missing.into())),
                None => Ok(()),
            },
            (None | Some("jwt"), Profile::Jwt) => {
                let is_other = ["nonce", "at_hash", "c_hash", "s_hash", "events"].into_iter().any(has)
                    || is("token_use", &["id", "refresh"])
                    || is("typ", &["ID", "Refresh", "Offline", "Logout"]);
                if is_other { Err(Problem::OtherKind) } else { Ok(()) }
            }
            _ => Err(Problem::OtherKind),
        }
    }

    /// Whether the token is for us (RFC 8707, RFC 7519 §4.1.3).
    fn check_audience(&self, claims: &Claims, resource: &str) -> Result<(), Problem> {
        let is_ours = |audience: &Value| audience.as_str().is_some_and(|audience| self.is_us(audience, resource));
        let is_for_us = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
            Some(audience) => is_ours(audience),
            None => false,
        };
        let asked_for = || self.audiences.first().map_or(resource, String::as_str).to_owned();
        if is_for_us { Ok(()) } else { Err(Problem::Audience(asked_for())) }
    }

    fn is_us(&self, audience: &str, resource: &str) -> bool {
        if self.audiences.is_empty() { audience == resource } else { self.audiences.iter().any(|ours| ours == audience) }
    }

    /// How long the token still counts (RFC 7519 §4.1.4, §4.1.5).
    fn check_time(&self, claims: &Claims, now: Duration) -> Result<Duration, Problem> {
        let expires = date(claims, "exp")?.ok_or_else(|| Problem::Claim("exp".into()))?;
        let left = (expires + self.leeway).saturating_sub(now);
        if left.is_zero() {
            return Err(Problem::Expired);
        }
        if date(claims, "nbf")?.is_some_and(|begins| begins > now + self.leeway) {
            return Err(Problem::NotYet);
        }
        Ok(left)
    }

    fn groups(&self, claims: &Claims) -> Result<Vec<String>, Problem> {
        let groups = texts(claims, &self.groups_claim)?;
        if groups.len() > MAX_GROUPS {
            return Err(Problem::TooMany("groups", MAX_GROUPS));
        }
        match groups.iter().all(|group| is_name(group)) {
            true => Ok(groups),
            false => Err(Problem::Claim(self.groups_claim.clone())),
        }
    }

    /// The scopes of ours; others stand for other servers or for the issuer itself, and mean nothing here.
    fn scopes(&self, claims: &Claims, resource: &str) -> Result<Vec<Scope>, Problem> {
        let mut scopes = Vec::new();
        for claim in ["scope", "scp"] {
            let texts = texts(claims, claim)?;
            scopes.extend(texts.iter().flat_map(|text| text.split(' ')).filter_map(|text| text.parse::<Scope>().ok()));
        }
        if let Some(value) = claims.get("authorization_details").filter(|details| !details.is_null()) {
            scopes.extend(details::scopes(value, |location| location == resource || self.is_us(location, resource))?);
        }
        scopes.sort();
        scopes.dedup();
        if scopes.len() > MAX_SCOPES {
            return Err(Problem::TooMany("scopes", MAX_SCOPES));
        }
        Ok(scopes)
    }

    fn further(&self, claims: &Claims) -> Result<BTreeMap<String, Value>, Problem> {
        let is_kept = |name: &str| {
            !NOT_KEPT.contains(&name)
                && !Principal::OWN_CLAIMS.contains(&name)
                && self.claims.as_ref().is_none_or(|kept| kept.iter().any(|kept| kept == name))
        };
        let further: BTreeMap<_, _> =
            claims.iter().filter(|(name, _)| is_kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
        if further.len() > MAX_CLAIMS {
            return Err(Problem::TooMany("claims", MAX_CLAIMS));
        }
        Ok(further)
    }
}

/// A claim that is a name: a text that is not empty, of bounded length, without control characters.
fn name(claims: &Claims, claim: &str) -> Result<Option<String>, Problem> {
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if is_name(text) => Ok(Some(text.clone())),
        Some(_) => Err(Problem::Claim(claim.to_owned())),
    }
}

/// Whether logs and records can hold it as it is.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A claim that is a text or a list of texts.
fn texts(claims: &Claims, claim: &str) -> Result<Vec<String>, Problem> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| Problem::Claim(claim.to_owned()));
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(text).collect(),
        Some(value) => Ok(vec![text(value)?]),
    }
}

/// A claim that is a NumericDate (RFC 7519 §2): seconds since the epoch, maybe with a fraction.
fn date(claims: &Claims, claim: &str) -> Result<Option<Duration>, Problem> {
    /// The year 10,000. Beyond, a number is no date, and sums might overflow.
    const MAX: f64 = 253_402_300_800.0;
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if (0.0..=MAX).contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
            _ => Err(Problem::Claim(claim.to_owned())),
        },
    }
}
