//! A plugin as people look at it: what its manifest asks for, and what clients are told of its tools.

use serde_json::{Value, json};

use super::{Generation, Listing, Plugin};
use crate::model::{Bytes, Manifest, Scope, ToolManifest};

/// The plugin with its tools, which `listings` tell of in manifest order.
pub fn inspect<'l>(plugin: &Plugin, listings: impl IntoIterator<Item = &'l Listing>) -> Value {
    let tools = plugin.manifest.tools.iter().zip(listings).map(|(tool, listing)| {
        let mut row = tool_row(&plugin.manifest, tool, true);
        row["title"] = json!(listing.title);
        row["description"] = json!(listing.description);
        row["input_schema"] = json!(*listing.input_schema);
        row["output_schema"] = json!(listing.output_schema.as_deref());
        row["annotations"] = json!(listing.annotations);
        row
    });
    let (manifest, tools) = (&plugin.manifest, tools.collect::<Vec<_>>());
    json!({
        "name": manifest.name, "version": manifest.version, "contract": manifest.contract, "sha256": plugin.version.component,
        "memory": manifest.sandbox.memory.to_string(), "backends": manifest.sandbox.backends,
        "origins": manifest.sandbox.origins.iter().map(ToString::to_string).collect::<Vec<_>>(), "tools": tools,
    })
}

/// What is listed of a tool.
pub fn tool_row(manifest: &Manifest, tool: &ToolManifest, is_built: bool) -> Value {
    json!({
        "plugin": manifest.name, "version": manifest.version, "tool": tool.name, "effect": tool.effect,
        "scopes": tool.scopes.iter().map(Scope::to_string).collect::<Vec<_>>(), "fuel": tool.fuel,
        "deadline": tool.deadline.to_string(), "slow": tool.slow, "risk": tool.risk, "memory": Bytes::to_string(&manifest.sandbox.memory),
        "backend_keyed": tool.backend_keyed, "asks": tool.asks, "requires_client": tool.requires_client, "built": is_built,
    })
}

impl Generation {
    /// The plugin of this name and, as [`inspect`] tells of it, what is served of it; `None` if there is none.
    pub fn inspect(&self, name: &str) -> Option<(&Plugin, Value)> {
        let plugin = self.plugins.iter().find(|plugin| plugin.manifest.name == name)?;
        let listings = plugin.manifest.tools.iter().filter_map(|tool| Some(&self.tools.get(&tool.name)?.listing));
        Some((plugin, inspect(plugin, listings)))
    }
}
