//! `POST /dev/token`: a token in any name, for whoever asks. Served by `tidegate dev` alone, on loopback.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::http::media;
use super::json::{self, JsonLimits};
use super::rpc::RpcError;
use crate::auth::{LIFETIME, Minter, TokenRequest};
use crate::model::Scope;
use crate::pipeline::Pipeline;

/// Where it is served.
pub const DEV_TOKEN_PATH: &str = "/dev/token";

/// What is needed to answer.
pub struct DevTokens {
    minter: Arc<Minter>,
    pipeline: Arc<Pipeline>,
    /// What the tokens are for.
    resource: String,
}

impl DevTokens {
    /// Tokens for the server at `resource`.
    pub fn new(minter: Arc<Minter>, pipeline: Arc<Pipeline>, resource: String) -> Self {
        Self { minter, pipeline, resource }
    }

    /// Checks what can be told before the body is read. A page elsewhere can't send JSON without asking first, and is not answered.
    ///
    /// # Errors
    /// The request is no POST of JSON.
    pub fn check(method: &http::Method, headers: &HeaderMap) -> Result<(), RpcError> {
        if method != http::Method::POST {
            return Err(RpcError::http(StatusCode::METHOD_NOT_ALLOWED, "tokens are asked for with POST"));
        }
        media::check_json(headers)
    }

    /// The token response (RFC 6749 §5.1) to the request in `body`.
    ///
    /// # Errors
    /// The request is malformed, or asks for what no token may say.
    pub fn answer(&self, body: &[u8], limits: JsonLimits) -> Result<Value, RpcError> {
        let refused = |problem: String| RpcError::http(StatusCode::BAD_REQUEST, problem);
        let document = json::read(body, limits).map_err(|error| refused(format!("the body is not JSON: {error}")))?;
        if let Some(flaw) = document.flaw {
            return Err(refused(flaw.to_string()));
        }
        let request = TokenRequest::deserialize(document.value).map_err(|error| {
            refused(format!("{error}; write for example {{\"subject\": \"u2\", \"scopes\": [\"read:invoices\"]}}"))
        })?;
        let mut declared: Vec<Scope> = self.pipeline.tools().iter().flat_map(|tool| tool.manifest.scopes.clone()).collect();
        declared.sort();
        declared.dedup();
        let minted = self.minter.mint(&request, &declared, &self.resource).map_err(refused)?;
        Ok(json!({
            "access_token": minted.token,
            "token_type": "Bearer",
            "expires_in": LIFETIME.as_secs(),
            "scope": minted.scope,
        }))
    }
}
