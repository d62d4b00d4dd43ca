//! Where a bearer token stands in a request, and where it must not (RFC 6750 §2).

use http::header::{AUTHORIZATION, HeaderMap};
use http::{StatusCode, Uri};

use super::rpc::RpcError;
use crate::model::Credentials;

/// The bearer token of a request (RFC 6750 §2.1).
///
/// # Errors
/// There is more than one, or something else than a bearer token (400).
pub fn credentials(headers: &HeaderMap) -> Result<Credentials, RpcError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(Credentials::Anonymous) };
    let refused = |problem| Err(RpcError::http(StatusCode::BAD_REQUEST, problem));
    if values.next().is_some() {
        return refused("the header `Authorization` stands more than once");
    }
    let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return refused("the header `Authorization` is malformed; write `Authorization: Bearer <token>`");
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return refused("this server takes bearer tokens alone; write `Authorization: Bearer <token>`");
    }
    match token.trim() {
        "" => refused("the bearer token is empty"),
        token => Ok(Credentials::Bearer(token.to_owned())),
    }
}

/// Refuses a token in the query string (RFC 6750 §2.3, which MCP forbids).
///
/// # Errors
/// There is one (400).
pub fn check_query(uri: &Uri) -> Result<(), RpcError> {
    let mut names = uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    if names.any(|name| matches!(name.to_ascii_lowercase().as_str(), "access_token" | "token" | "api_key")) {
        let problem = "a token in the URL ends up in logs; send it in the header `Authorization: Bearer …`";
        return Err(RpcError::http(StatusCode::BAD_REQUEST, problem));
    }
    Ok(())
}
