//! Tokens for development: anybody on this machine may ask for one in any name. The key lives as long as the process.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::claims::is_name;
use super::keys::KeySet;
use crate::model::Scope;

/// The issuer of these tokens. Not a URL, so no configured issuer can be it.
pub const DEV_ISSUER: &str = "tidegate:dev";

/// How long a token counts.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 §7).
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Claims that say what a request has members for, or what is not the requester's to say.
const RESERVED: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "cnf",
    "azp",
    "client_id",
    "tenant",
    "groups",
    "scope",
    "scp",
    "authorization_details",
];

/// Who a token is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The subject.
    pub subject: String,
    /// The scopes; all that the loaded manifests declare if absent.
    pub scopes: Option<Vec<Scope>>,
    /// The groups of the subject.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The OAuth client that acts for the subject; `tidegate-dev` if absent.
    pub client: Option<String>,
    /// Further claims.
    #[serde(default)]
    pub claims: BTreeMap<String, Value>,
}

/// A key of this process alone, and tokens signed with it.
pub struct Minter {
    key: EncodingKey,
    jwk: Jwk,
}

impl Minter {
    /// A minter with a new key.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut pkcs8 = [0; 48];
        pkcs8[..16].copy_from_slice(&PKCS8_HEAD);
        getrandom::fill(&mut pkcs8[16..])?;
        let key = EncodingKey::from_ed_der(&pkcs8);
        let jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).expect("any 32 bytes are an Ed25519 key");
        Ok(Self { key, jwk })
    }

    /// The keys that verify its tokens.
    pub(super) fn keys(&self) -> KeySet {
        let set = serde_json::from_value(json!({ "keys": [self.jwk] })).expect("it is a JWK");
        KeySet::read(set).expect("it is one key")
    }

    /// A token (RFC 9068) for `resource` that expires after [`LIFETIME`]. `declared` is what it holds if the request names no
    /// scopes.
    ///
    /// # Errors
    /// The request asks for what no token may say, in words.
    pub fn mint(&self, request: &TokenRequest, declared: &[Scope], resource: &str) -> Result<Minted, String> {
        let names = [Some(&request.subject), request.tenant.as_ref(), request.client.as_ref()];
        if names.into_iter().flatten().chain(&request.groups).any(|name| !is_name(name)) {
            return Err(
                "`subject`, `tenant`, `client` and `groups` are texts of 1 to 512 bytes without control characters".into()
            );
        }
        if let Some(reserved) = request.claims.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(format!("`claims` can't set `{reserved}`; there is a member of its own for it, or none at all"));
        }
        let scopes = request.scopes.as_deref().unwrap_or(declared);
        let scope = scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| error.to_string())?;
        let mut claims = json!({
            "iss": DEV_ISSUER, "sub": request.subject, "aud": resource, "iat": now, "exp": now + LIFETIME.as_secs(),
            "jti": URL_SAFE_NO_PAD.encode(id), "client_id": request.client.as_deref().unwrap_or("tidegate-dev"),
            "scope": scope, "groups": request.groups,
        });
        let object = claims.as_object_mut().expect("it is an object");
        object.extend(request.tenant.iter().map(|tenant| ("tenant".to_owned(), tenant.clone().into())));
        object.extend(request.claims.clone());
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|error| error.to_string())?;
        Ok(Minted { token, scope })
    }
}

/// A fresh token.
pub struct Minted {
    /// The token.
    pub token: String,
    /// The scopes it holds, as OAuth writes them.
    pub scope: String,
}
