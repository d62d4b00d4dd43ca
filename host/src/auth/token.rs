//! A bearer token taken apart: a signed JWT (RFC 7519, JWS compact serialization), judged before anything in it is believed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::config::public_key_algorithm;
use super::keys::KeySet;
use super::problem::Problem;

/// The longest key name. Real ones are hashes, dates and words.
const MAX_KID: usize = 256;

/// The claims of a token.
pub(super) type Claims = Map<String, Value>;

/// A token that looks like one. INVARIANT: its claims are not to be believed before [`Signature::is_by`] says so.
pub(super) struct Jwt {
    /// Who signed it, as it says.
    pub signature: Arc<Signature>,
    /// Its type, in lower case, without `application/`.
    pub kind: Option<String>,
    /// What it claims.
    pub claims: Claims,
}

/// A token's signature, with what it is over: all that it takes to check it elsewhere.
pub(super) struct Signature {
    /// Header and claims as they were signed.
    signed: String,
    value: String,
    /// How it says that it was made.
    pub algorithm: Algorithm,
    /// Which key it says it was made with: a name to compare with, never an address.
    pub kid: Option<String>,
}

/// The members of a header that matter. Keys and addresses of keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) do not
/// (RFC 8725 §3.10).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl Jwt {
    /// Takes `token` apart.
    ///
    /// # Errors
    /// It is no signed JWT, or one that could never count here.
    pub fn read(token: &str) -> Result<Self, Problem> {
        let mut parts = token.split('.');
        let (header, claims, signature) = match (parts.next(), parts.next(), parts.next(), parts.count()) {
            (Some(header), Some(claims), Some(signature), 0) => (header, claims, signature),
            // Five parts are an encrypted token (RFC 7516 §3.1).
            (_, _, Some(_), 2) => return Err(Problem::Encrypted),
            _ => return Err(Problem::NoJwt),
        };
        let Header { alg, kid, typ, crit } = part(header)?;
        if crit.is_some() {
            return Err(Problem::Critical);
        }
        let algorithm = public_key_algorithm(&alg).ok_or(Problem::Algorithm)?;
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Problem::UnknownKey);
        }
        let kind = typ.map(|typ| typ.to_ascii_lowercase()).map(|typ| match typ.strip_prefix("application/") {
            Some(short) => short.to_owned(),
            None => typ,
        });
        let claims_json = part(claims)?;
        let signed = token[..header.len() + 1 + claims.len()].to_owned();
        let signature = Signature { signed, value: signature.to_owned(), algorithm, kid };
        Ok(Self { signature: Arc::new(signature), kind, claims: claims_json })
    }

    /// Who it says issued it.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }
}

impl Signature {
    /// Whether it was made with one of `keys`.
    pub fn is_by(&self, keys: &KeySet) -> bool {
        keys.candidates(self.kid.as_deref(), self.algorithm)
            .any(|key| jsonwebtoken::crypto::verify(&self.value, self.signed.as_bytes(), key, self.algorithm).unwrap_or(false))
    }
}

fn part<T: serde::de::DeserializeOwned>(encoded: &str) -> Result<T, Problem> {
    let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Problem::NoJwt)?;
    serde_json::from_slice(&json).map_err(|_| Problem::NoJwt)
}
