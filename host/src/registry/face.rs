//! What a loaded plugin shows of itself.

use serde_json::Value;

use super::advertise::Advertised;
use super::{Generation, Listing, Plugin};
use crate::model::{Digest, Face, Published};

impl Plugin {
    /// What the plugin shows, with its tools as [`load_plugin`](super::Loader::load_plugin) found them.
    pub fn face(&self, advertised: &[Advertised]) -> Face {
        let published = advertised.iter().map(|tool| (tool.listing.name.clone(), published(&tool.listing, &tool.guest_input)));
        Face { manifest: self.manifest.clone(), published: published.collect() }
    }
}

impl Generation {
    /// The digest of what the component of this plugin tells of its tools, as signatures are over it; none if there is none.
    pub fn told(&self, plugin: &str) -> Option<Digest> {
        self.plugins.iter().find(|loaded| loaded.manifest.name == plugin).map(|loaded| loaded.told)
    }

    /// What the plugin of this name shows; none if there is none.
    pub fn face(&self, plugin: &str) -> Option<Face> {
        let manifest = self.plugins.iter().map(|loaded| &loaded.manifest).find(|manifest| manifest.name == plugin)?.clone();
        let tools = self.tools.values().filter(|tool| tool.plugin.manifest.name == plugin);
        let published = tools.map(|tool| (tool.listing.name.clone(), published(&tool.listing, &tool.guest_input)));
        Some(Face { manifest, published: published.collect() })
    }
}

fn published(listing: &Listing, guest_input: &Value) -> Published {
    Published {
        title: listing.title.clone(),
        description: listing.description.clone(),
        input_schema: guest_input.clone(),
        output_schema: listing.output_schema.as_deref().map(|schema| Value::Object(schema.clone())),
        annotations: listing.annotations.clone(),
    }
}
