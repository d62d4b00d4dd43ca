//! The OAuth protected resource metadata of this server (RFC 9728), which tells clients where to get tokens.

use http::Uri;
use serde_json::json;

use super::config::{HttpConfig, HttpConfigError};
use super::http::MCP_PATH;
use super::offer::Scopes;
use crate::auth::DETAILS_TYPE;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata document and where it stands.
pub struct ResourceMetadata {
    resource: String,
    /// The path of the resource behind its host, as clients know it.
    path: String,
    url: String,
    authorization_servers: Vec<String>,
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
        let resource = config.resource()?;
        let uri: Uri = resource.parse().map_err(|_| HttpConfigError::PublicUrl(resource.clone()))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(HttpConfigError::PublicUrl(resource));
        };
        let path = uri.path().trim_end_matches('/').to_owned();
        let url = format!("{scheme}://{authority}{WELL_KNOWN}{path}");
        Ok(Some(Self { resource, path, url, authorization_servers: config.authorization_servers.clone() }))
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether `path` is one of its places: that of the resource, and the root (RFC 9728 §3.1).
    pub fn is_at(&self, path: &str) -> bool {
        path.strip_prefix(WELL_KNOWN).is_some_and(|rest| rest.is_empty() || rest == self.path || rest == MCP_PATH)
    }

    /// The JSON document (RFC 9728 §2), with the scopes that tools need now.
    pub fn to_bytes(&self, scopes: &Scopes) -> Vec<u8> {
        let document = json!({
            "resource": self.resource,
            "authorization_servers": self.authorization_servers,
            "scopes_supported": scopes.supported,
            "authorization_details_types_supported": [DETAILS_TYPE],
            "bearer_methods_supported": ["header"],
            "resource_name": "Tidegate",
        });
        document.to_string().into_bytes()
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
        let scopes = Scopes { supported: vec!["read:invoices".into()], to_begin_with: None };
        let document: serde_json::Value = serde_json::from_slice(&metadata.to_bytes(&scopes)).expect("JSON");
        assert_eq!(document["resource"], "https://tools.example.com/team/mcp");
        assert_eq!(document["scopes_supported"], json!(["read:invoices"]));
    }

    #[test]
    fn a_public_url_without_a_path_keeps_its_letters() {
        let config = HttpConfig {
            public_url: Some("https://tools.example.com".into()),
            authorization_servers: vec!["https://id.example.com".into()],
            ..HttpConfig::default()
        };
        let metadata = ResourceMetadata::of(&config).expect("a URL").expect("there is an authorization server");
        assert_eq!(metadata.url(), "https://tools.example.com/.well-known/oauth-protected-resource");
        assert_eq!(metadata.resource, "https://tools.example.com");
    }
}
