//! Which MCP a request speaks: the stateless protocol since 2026-07-28, or one of the handshake protocols before it.

use http::HeaderMap;
use rmcp::model::ProtocolVersion;

use super::headers::single;
use super::meta::Meta;
use super::rpc::RpcError;

/// The header that repeats a request's protocol version.
pub const VERSION_HEADER: &str = "mcp-protocol-version";

/// The protocol family of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2026-07-28 and later: every request carries its version and the client's capabilities in `_meta`.
    Modern,
    /// 2025-11-25 and earlier: a handshake negotiated them, or, without sessions, nothing did.
    Legacy,
}

impl Era {
    /// The era of an HTTP request, from its `_meta` and its `MCP-Protocol-Version` header (MCP 2026-07-28, transports,
    /// "Protocol Version Header").
    ///
    /// # Errors
    /// Header and `_meta` disagree (-32020), the version is unknown (-32022), or `_meta` lacks what is required (-32602).
    pub fn of_http(headers: &HeaderMap, meta: Meta<'_>) -> Result<Self, RpcError> {
        let header = single(headers, VERSION_HEADER)?;
        match (header, meta.protocol_version()) {
            (None, None) => Ok(Self::Legacy),
            (None, Some(_)) => {
                Err(RpcError::header_mismatch("the header `MCP-Protocol-Version` is missing; repeat the version of `_meta`"))
            }
            (Some(header), Some(version)) if header != version => Err(RpcError::header_mismatch(
                "the header `MCP-Protocol-Version` and `_meta[\"io.modelcontextprotocol/protocolVersion\"]` differ",
            )),
            (Some(_), Some(version)) => Self::of_meta(version, meta),
            (Some(header), None) if is_modern(header) => Err(missing("protocolVersion")),
            (Some(header), None) => supported(header).map(|()| Self::Legacy),
        }
    }

    /// Checks the version header of a notification, which has no `_meta` to agree with.
    ///
    /// # Errors
    /// The version is unknown (-32022), or the header stands twice (-32020).
    pub fn check_header(headers: &HeaderMap) -> Result<(), RpcError> {
        single(headers, VERSION_HEADER)?.map_or(Ok(()), supported)
    }

    /// The era of a message on a connection that negotiated `handshake`, if it did.
    ///
    /// # Errors
    /// As [`Era::of_http`]; also a request without `_meta` before any handshake (-32602).
    pub fn of_connection(handshake: Option<&str>, meta: Meta<'_>) -> Result<Self, RpcError> {
        match (meta.protocol_version(), handshake) {
            (Some(version), _) => Self::of_meta(version, meta),
            (None, Some(_)) => Ok(Self::Legacy),
            (None, None) => Err(missing("protocolVersion")),
        }
    }

    fn of_meta(version: &str, meta: Meta<'_>) -> Result<Self, RpcError> {
        supported(version)?;
        if !is_modern(version) {
            return Ok(Self::Legacy);
        }
        match meta.capabilities() {
            Some(_) => Ok(Self::Modern),
            None => Err(missing("clientCapabilities")),
        }
    }
}

/// Versions are dates, which compare as text.
fn is_modern(version: &str) -> bool {
    version >= ProtocolVersion::V_2026_07_28.as_str()
}

fn supported(version: &str) -> Result<(), RpcError> {
    let known = || ProtocolVersion::KNOWN_VERSIONS.iter().map(ProtocolVersion::as_str);
    if known().any(|known| known == version) {
        return Ok(());
    }
    Err(RpcError::unsupported_version(version, &known().collect::<Vec<_>>()))
}

fn missing(field: &str) -> RpcError {
    RpcError::missing_meta(format!("`_meta[\"io.modelcontextprotocol/{field}\"]` is missing or malformed"))
}
