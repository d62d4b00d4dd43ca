//! A plugin as one OCI artifact: a layer per file, the component first, as the CNCF lays out WebAssembly
//! (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>).

use std::io::Read as _;
use std::path::Path;

use serde_json::json;

use super::error::{unreadable, unwritable};
use super::{Artifact, ArtifactError, FetchLimits, Kind, archive, file};
use crate::model::{Bytes, Digest};
use crate::outbound::{OciLayer, OciPull, OciPush, OciReference};

/// What the whole is, for those who look into a registry.
const ARTIFACT_TYPE: &str = "application/vnd.tidegate.plugin.v1";
/// The type of the config of a WebAssembly artifact.
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";

/// The type of the layer that holds a file.
fn media_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Component => "application/wasm",
        Kind::Manifest => "application/vnd.tidegate.plugin.manifest.v1+toml",
        Kind::Readme => "application/vnd.tidegate.plugin.readme.v1+markdown",
        Kind::Signatures => "application/vnd.tidegate.plugin.signatures.v1+toml",
    }
}

/// Pulls the plugin at `reference` into the folder `staging`; answers the digest of its OCI manifest.
///
/// # Errors
/// It is not there, not a plugin, or not what it says it is.
pub(super) async fn pull(reference: &OciReference, staging: &Path, limits: &FetchLimits) -> Result<Digest, ArtifactError> {
    let not_a_plugin = |problem: String| ArtifactError::NotAPlugin { place: reference.to_string(), problem };
    let mut pull = OciPull::begin(reference, limits.timeout.duration()).await?;
    let manifest = pull.manifest().await?;
    if manifest.config_type != CONFIG_TYPE {
        return Err(not_a_plugin(format!("its config is `{}`, where `{CONFIG_TYPE}` was expected", manifest.config_type)));
    }
    let mut layers: Vec<(Kind, OciLayer)> = Vec::new();
    for layer in manifest.layers {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| media_type(*kind) == layer.media_type) else {
            return Err(not_a_plugin(format!("it has a layer of the unknown type `{}`", layer.media_type.escape_default())));
        };
        if layers.iter().any(|(other, _)| *other == kind) {
            return Err(not_a_plugin(format!("it has two layers of the type `{}`", layer.media_type)));
        }
        let limit = kind.limit(limits.max_component);
        if layer.size > limit {
            let (size, media_type) = (layer.size, layer.media_type);
            return Err(not_a_plugin(format!("its layer `{media_type}` has {size}, more than the {limit} it may have")));
        }
        layers.push((kind, layer));
    }
    // The manifest first: it says what the component is called.
    layers.sort_by_key(|(kind, _)| *kind);
    let mut plugin = String::new();
    for (kind, layer) in layers {
        let path = staging.join(kind.name(&plugin));
        let mut target = tokio::fs::File::from_std(archive::create(&path)?);
        pull.layer(&layer, &mut target).await?;
        target.sync_all().await.map_err(|source| unwritable(&path, source))?;
        if kind == Kind::Manifest {
            let text = tokio::fs::read_to_string(&path).await.map_err(|source| unreadable(&path, source))?;
            plugin = crate::registry::manifest::parse(&path, &text)?.name;
        } else if plugin.is_empty() {
            return Err(not_a_plugin(format!("it has no layer of the type `{}`", media_type(Kind::Manifest))));
        }
    }
    Ok(manifest.digest)
}

/// Pushes a plugin to `reference`; answers the digest of its OCI manifest.
///
/// # Errors
/// A file can't be read, or the registry does not take it.
pub async fn push(artifact: &Artifact, reference: &OciReference, limits: &FetchLimits) -> Result<Digest, ArtifactError> {
    let mut files = artifact.files();
    files.sort_by_key(|(kind, _)| *kind != Kind::Component);
    let mut layers = Vec::new();
    for (kind, path) in files {
        let mut bytes = Vec::new();
        file::open(&path, kind.limit(limits.max_component))?
            .read_to_end(&mut bytes)
            .map_err(|source| unreadable(&path, source))?;
        layers.push((media_type(kind), kind.name(&artifact.manifest.name), bytes));
    }
    let config = json!({
        "architecture": "wasm", "os": "wasip2", "layerDigests": [format!("sha256:{}", artifact.component)],
        "component": {"exports": ["tidegate:plugin/tools"], "imports": [], "target": "tidegate:plugin/plugin"},
    });
    let push = OciPush {
        artifact_type: ARTIFACT_TYPE,
        config_type: CONFIG_TYPE,
        config: config.to_string().into_bytes(),
        layers,
        title: artifact.manifest.name.clone(),
        version: artifact.manifest.version.clone(),
    };
    Ok(push.send(reference, limits.timeout.duration()).await?)
}

impl FetchLimits {
    /// Limits under which a component may have `max_component`.
    pub fn new(max_component: Bytes, timeout: crate::model::Span) -> Self {
        // What does not compress at all still fits, with everything else a plugin may have.
        let others = [Kind::Manifest, Kind::Readme, Kind::Signatures].iter().map(|kind| kind.limit(max_component).0).sum::<u64>();
        Self { max_component, max_archive: Bytes(max_component.0.saturating_add(others).saturating_add(64 << 10)), timeout }
    }
}
