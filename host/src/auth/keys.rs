//! The public keys of an issuer: a JWK set (RFC 7517), and which of its keys may have signed a token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::config::public_key_algorithm;

/// The most keys of one issuer.
const MAX_KEYS: usize = 100;

/// The most keys that are tried on one token: without a `kid`, a token must not cost a signature check per key of the issuer.
const MAX_TRIES: usize = 8;

/// A JWK set as it is published. Each key is read by itself, so that one of a kind we don't know spoils nothing.
#[derive(Deserialize)]
pub(super) struct JwkSet {
    keys: Vec<Value>,
}

/// The keys that can verify tokens.
#[derive(Debug, Default, PartialEq)]
pub(super) struct KeySet(Vec<Key>);

/// One key, and what it may verify.
pub(super) struct Key {
    jwk: Jwk,
    /// INVARIANT: only algorithms of this key's own type and curve, so that no token chooses how its key is used.
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// The members of a JWK that matter to verification (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The keys of `set` that can verify tokens; keys for encryption, of unknown kinds, too weak or malformed are left out
    /// (RFC 7517 §5).
    ///
    /// # Errors
    /// There are too many, in words.
    pub fn read(set: JwkSet) -> Result<Self, String> {
        if set.keys.len() > MAX_KEYS {
            return Err(format!("the key set holds {} keys; at most {MAX_KEYS} are taken", set.keys.len()));
        }
        Ok(Self(set.keys.into_iter().filter_map(Key::read).collect()))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a key goes by exactly this name and may verify `algorithm`.
    pub fn names(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        kid.is_some() && self.0.iter().any(|key| key.jwk.kid.as_deref() == kid && key.algorithms.contains(&algorithm))
    }

    /// The keys that may have signed a token with this `kid` and `algorithm`: those of that name; without such, those without
    /// any name. A token without a `kid` may be of any key.
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &DecodingKey> {
        let named = self.names(kid, algorithm);
        let fits = move |key: &&Key| {
            let is_named = match (kid, &key.jwk.kid) {
                (Some(kid), Some(own)) => kid == own,
                (Some(_), None) => !named,
                (None, _) => true,
            };
            is_named && key.algorithms.contains(&algorithm)
        };
        self.0.iter().filter(fits).take(MAX_TRIES).map(|key| &key.decoding)
    }
}

impl Key {
    fn read(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let is_for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
        let may_verify = jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !is_for_signatures || !may_verify {
            return None;
        }
        let (mut algorithms, decoding) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => (rsa_algorithms(), rsa(jwk.n.as_deref()?, jwk.e.as_deref()?)?),
            ("EC", Some("P-256")) => (vec![Algorithm::ES256], ec(jwk.x.as_deref()?, jwk.y.as_deref()?, 32)?),
            ("EC", Some("P-384")) => (vec![Algorithm::ES384], ec(jwk.x.as_deref()?, jwk.y.as_deref()?, 48)?),
            ("OKP", Some("Ed25519")) => (vec![Algorithm::EdDSA], ed(jwk.x.as_deref()?)?),
            // `oct` above all: a secret is no public key.
            _ => return None,
        };
        if let Some(name) = &jwk.alg {
            let only = public_key_algorithm(name)?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        (!algorithms.is_empty()).then_some(Self { jwk, algorithms, decoding })
    }
}

/// Two keys are the same if they were published the same.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.jwk == other.jwk
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?}, {:?})", self.jwk.kid, self.algorithms)
    }
}

fn rsa_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512]
}

/// 2048 bits at least (RFC 7518 §3.3); more than 4096 would make each forged token a costly one.
fn rsa(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let (n, e) = (decode(modulus)?, decode(exponent)?);
    let n = &n[n.iter().position(|byte| *byte != 0)?..];
    let bits = n.len() * 8 - n[0].leading_zeros() as usize;
    let is_sound = (2048..=4096).contains(&bits) && (1..=4).contains(&e.len());
    is_sound.then(|| DecodingKey::from_rsa_raw_components(n, &e))
}

fn ec(x: &str, y: &str, length: usize) -> Option<DecodingKey> {
    let fits = decode(x)?.len() == length && decode(y)?.len() == length;
    fits.then(|| DecodingKey::from_ec_components(x, y).ok()).flatten()
}

/// INVARIANT: exactly 32 bytes; the verifier takes the length for granted.
fn ed(x: &str) -> Option<DecodingKey> {
    (decode(x)?.len() == 32).then(|| DecodingKey::from_ed_components(x).ok()).flatten()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(keys: Value) -> KeySet {
        KeySet::read(serde_json::from_value(json!({ "keys": keys })).expect("a set")).expect("not too many")
    }

    fn ed25519(members: Value) -> Value {
        let mut key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        key.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        key
    }

    #[test]
    fn keys_of_no_use_are_left_out_and_spoil_nothing() {
        let short = URL_SAFE_NO_PAD.encode([0xff_u8; 128]);
        let keys = set(json!([
            ed25519(json!({"use": "enc"})),
            ed25519(json!({"key_ops": ["sign"]})),
            ed25519(json!({"alg": "RS256"})),
            ed25519(json!({"x": "AAAA"})),
            ed25519(json!({"kid": 7})),
            {"kty": "oct", "k": "c2VjcmV0"},
            {"kty": "RSA", "n": short, "e": "AQAB"},
            {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
            {"kty": "AKP", "pub": "AA"},
            "nonsense",
            ed25519(json!({"kid": "good", "use": "sig", "key_ops": ["verify"], "alg": "EdDSA", "x5c": ["ignored"]})),
        ]));
        assert_eq!(keys.len(), 1, "{keys:?}");
        assert!(keys.names(Some("good"), Algorithm::EdDSA));
        assert!(!keys.names(Some("good"), Algorithm::RS256));
    }

    #[test]
    fn a_name_picks_its_keys_and_no_name_tries_few() {
        let keys = set(json!([ed25519(json!({"kid": "a"})), ed25519(json!({"kid": "b"})), ed25519(json!({}))]));
        assert_eq!(keys.candidates(Some("a"), Algorithm::EdDSA).count(), 1);
        assert_eq!(keys.candidates(Some("unknown"), Algorithm::EdDSA).count(), 1, "the one without a name");
        assert_eq!(keys.candidates(None, Algorithm::EdDSA).count(), 3);
        assert_eq!(keys.candidates(None, Algorithm::ES256).count(), 0);
        let many = set(Value::Array(vec![ed25519(json!({})); 50]));
        assert_eq!(many.candidates(None, Algorithm::EdDSA).count(), MAX_TRIES);
    }

    #[test]
    fn a_set_of_too_many_keys_is_refused() {
        let keys = json!({ "keys": vec![ed25519(json!({})); MAX_KEYS + 1] });
        assert!(KeySet::read(serde_json::from_value(keys).expect("a set")).is_err());
    }
}
