//! The OAuth protected resource metadata of this server (RFC 9728), which tells clients where to get tokens.

use http::Uri;
use serde_json::json;

use super::config::{HttpConfig, HttpConfigError};
use super::http::MCP_PATH;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata document and where it stands.
pub struct ResourceMetadata {
    /// The path of the resource behind its host, as clients know it.
    path: String,
    url: String,
    document: Vec<u8>,
}

impl ResourceMetadata {
    /// The metadata of a server that has authorization servers; `None` without them.
    ///
    /// # Errors
    /// `public_url` is not a URL.
    pub fn of(config: &HttpConfig) -> Result<Option<Self>, HttpConfigError> {
        if config.authorization_servers.is_empty() {
            return Ok(None);
        }
        let local = || format!("http://{}{MCP_PATH}", std::net::SocketAddr::new(config.address, config.port));
        let resource = config.public_uri()?.map_or_else(local, |public| public.to_string());
        let uri: Uri = resource.parse().map_err(|_| HttpConfigError::PublicUrl(resource.clone()))?;
        let path = uri.path().trim_end_matches('/').to_owned();
        let origin = &resource[..resource.len() - uri.path().len()];
        let document = json!({
            "resource": resource,
            "authorization_servers": config.authorization_servers,
            "bearer_methods_supported": ["header"],
            "resource_name": "Tidegate",
        });
        Ok(Some(Self { url: format!("{origin}{WELL_KNOWN}{path}"), path, document: document.to_string().into_bytes() }))
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether `path` is one of its places: that of the resource, and the root (RFC 9728 §3.1).
    pub fn is_at(&self, path: &str) -> bool {
        path.strip_prefix(WELL_KNOWN).is_some_and(|rest| rest.is_empty() || rest == self.path || rest == MCP_PATH)
    }

    /// The JSON document.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.document.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_names_the_public_resource_and_stands_at_both_places() {
        let config = HttpConfig {
            public_url: Some("https://tools.example.com/team/mcp".into()),
            authorization_servers: vec!["https://id.example.com".into()],
            ..HttpConfig::default()
        };
        let metadata = ResourceMetadata::of(&config).expect("a URL").expect("there is an authorization server");
        assert_eq!(metadata.url(), "https://tools.example.com/.well-known/oauth-protected-resource/team/mcp");
        assert!(metadata.is_at("/.well-known/oauth-protected-resource"));
        assert!(metadata.is_at("/.well-known/oauth-protected-resource/team/mcp"));
        assert!(!metadata.is_at("/.well-known/oauth-protected-resource/other"));
        let document: serde_json::Value = serde_json::from_slice(&metadata.to_bytes()).expect("JSON");
        assert_eq!(document["resource"], "https://tools.example.com/team/mcp");
    }
}
