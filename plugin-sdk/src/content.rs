//! Answers in MCP content blocks: text, pictures, sound, resources.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// An answer of MCP content blocks, for tools whose answer is prose or media rather than data.
///
/// ```
/// # use tidegate_plugin_sdk::Content;
/// let content = Content::new().text("Two views:").image("image/png", b"...").image("image/png", b"...");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub(crate) blocks: Vec<Block>,
}

impl Content {
    /// No blocks yet.
    pub fn new() -> Content {
        Content::default()
    }

    /// Adds a text.
    pub fn text(self, text: impl Into<String>) -> Content {
        self.with(Block::Text { text: text.into() })
    }

    /// Adds a picture of the given MIME type.
    pub fn image(self, mime_type: impl Into<String>, bytes: impl AsRef<[u8]>) -> Content {
        self.with(Block::Image { data: STANDARD.encode(bytes), mime_type: mime_type.into() })
    }

    /// Adds a sound of the given MIME type.
    pub fn audio(self, mime_type: impl Into<String>, bytes: impl AsRef<[u8]>) -> Content {
        self.with(Block::Audio { data: STANDARD.encode(bytes), mime_type: mime_type.into() })
    }

    /// Embeds a resource that is text.
    pub fn resource_text(self, uri: impl Into<String>, mime_type: impl Into<String>, text: impl Into<String>) -> Content {
        self.with(Block::Resource {
            resource: Resource { uri: uri.into(), mime_type: mime_type.into(), body: Body::Text(text.into()) },
        })
    }

    /// Embeds a resource that is bytes.
    pub fn resource_bytes(self, uri: impl Into<String>, mime_type: impl Into<String>, bytes: impl AsRef<[u8]>) -> Content {
        self.with(Block::Resource {
            resource: Resource { uri: uri.into(), mime_type: mime_type.into(), body: Body::Blob(STANDARD.encode(bytes)) },
        })
    }

    fn with(mut self, block: Block) -> Content {
        self.blocks.push(block);
        self
    }
}

/// One block, in the shape MCP gives it (2026-07-28, `ContentBlock`).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Block {
    Text { text: String },
    Image { data: String, mime_type: String },
    Audio { data: String, mime_type: String },
    Resource { resource: Resource },
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    uri: String,
    mime_type: String,
    #[serde(flatten)]
    body: Body,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    Text(String),
    Blob(String),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ToolOutput;

    #[test]
    fn blocks_have_the_shape_of_the_protocol() {
        let content = Content::new()
            .text("one")
            .image("image/png", b"two")
            .audio("audio/wav", b"three")
            .resource_text("test://four", "text/plain", "four")
            .resource_bytes("test://five", "application/octet-stream", b"five");
        let output = content.into_output().expect("blocks are plain data");
        assert_eq!(output.structured, None);
        assert_eq!(
            serde_json::from_str::<Value>(&output.content).expect("content is JSON"),
            json!([
                { "type": "text", "text": "one" },
                { "type": "image", "data": "dHdv", "mimeType": "image/png" },
                { "type": "audio", "data": "dGhyZWU=", "mimeType": "audio/wav" },
                { "type": "resource", "resource": { "uri": "test://four", "mimeType": "text/plain", "text": "four" } },
                { "type": "resource", "resource":
                    { "uri": "test://five", "mimeType": "application/octet-stream", "blob": "Zml2ZQ==" } },
            ])
        );
    }
}
