//! Getting the files of a plugin from wherever they are into a folder of the caller's.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::error::{unreadable, unwritable};
use super::{Artifact, ArtifactError, Source, archive, file, layout};
use crate::model::{Bytes, Digest, Span};
use crate::outbound::{Downloader, WebAddress};

/// What fetching may take.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// The longest component.
    pub max_component: Bytes,
    /// The longest archive, compressed.
    pub max_archive: Bytes,
    /// The longest that all of it may take.
    pub timeout: Span,
}

/// A plugin that was fetched. Nothing is verified yet but that it is whole.
#[derive(Debug)]
pub struct Fetched {
    /// Its files, in the folder they were fetched into.
    pub artifact: Artifact,
    /// The digest of its OCI manifest, by which a registry finds exactly this one again.
    pub pinned: Option<Digest>,
}

/// Fetches the plugin at `source` into `staging`, an empty folder that nobody else writes to.
///
/// The folder then holds the files of one plugin and nothing else, each durable. On an error, or when the caller gives up waiting,
/// it may hold anything.
///
/// # Errors
/// There is no plugin, or it can't be had within `limits`.
pub async fn fetch(source: &Source, staging: &Path, limits: &FetchLimits) -> Result<Fetched, ArtifactError> {
    let pinned = match source {
        Source::Path(path) => {
            let (path, staging, limits) = (path.clone(), staging.to_owned(), *limits);
            blocking(move || copy(&path, &staging, &limits)).await?;
            None
        }
        Source::Web(address) => {
            download(address, staging, limits).await?;
            None
        }
        Source::Oci(reference) => Some(layout::pull(reference, staging, limits).await?),
    };
    let (staging, max_component, shown) = (staging.to_owned(), limits.max_component, source.to_string());
    let artifact = blocking(move || open_alone(&staging, max_component, &shown)).await?;
    Ok(Fetched { artifact, pinned })
}

/// The plugin from `shown` in a folder that may hold nothing else. Errors speak of where it is from, not of where it lies meanwhile.
fn open_alone(staging: &Path, max_component: Bytes, shown: &str) -> Result<Artifact, ArtifactError> {
    let not_a_plugin = |problem: String| ArtifactError::NotAPlugin { place: shown.to_owned(), problem };
    if !staging.join(file::MANIFEST).exists() {
        return Err(not_a_plugin(format!("it holds no `{}`", file::MANIFEST)));
    }
    let artifact = Artifact::open(staging, max_component).map_err(|error| match error {
        ArtifactError::NoComponent { plugin, .. } => not_a_plugin(format!("it holds no component `{plugin}.wasm`")),
        ArtifactError::Document(mut error) => {
            error.file = Path::new(shown).join(error.file.file_name().unwrap_or_default());
            error.into()
        }
        error => error,
    })?;
    let known: Vec<PathBuf> = artifact.files().into_iter().map(|(_, path)| path).collect();
    for entry in std::fs::read_dir(staging).map_err(|source| unreadable(staging, source))? {
        let path = entry.map_err(|source| unreadable(staging, source))?.path();
        if !known.contains(&path) {
            let name = path.file_name().unwrap_or_default().display().to_string();
            return Err(not_a_plugin(format!("it holds `{name}`, but the plugin's name is `{}`", artifact.manifest.name)));
        }
    }
    Ok(artifact)
}

/// Copies a plugin's folder, or unpacks its archive.
fn copy(path: &Path, staging: &Path, limits: &FetchLimits) -> Result<(), ArtifactError> {
    let metadata = std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if !metadata.is_dir() {
        let shown = path.display().to_string();
        let archive = file::open(path, limits.max_archive)?.into_inner();
        return archive::unpack(archive, &shown, staging, limits.max_component);
    }
    for (kind, path) in Artifact::open(path, limits.max_component)?.files() {
        let name = path.file_name().expect("it is a file of a plugin");
        let target = staging.join(name);
        let mut bytes = Vec::new();
        file::open(&path, kind.limit(limits.max_component))?
            .read_to_end(&mut bytes)
            .map_err(|source| unreadable(&path, source))?;
        write(&target, &bytes)?;
    }
    Ok(())
}

/// Writes a new file, durably.
fn write(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    let mut file = archive::create(path)?;
    std::io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all()).map_err(|source| unwritable(path, source))
}

/// Downloads an archive and unpacks it.
async fn download(address: &WebAddress, staging: &Path, limits: &FetchLimits) -> Result<(), ArtifactError> {
    // Beside the files for the while: it may be too large for memory.
    let path = staging.join(".download");
    let file = archive::create(&path)?;
    let mut file = tokio::fs::File::from_std(file);
    Downloader::new(limits.timeout.duration()).save(address, &mut file, limits.max_archive).await?;
    let (staging, shown, max_component) = (staging.to_owned(), address.to_string(), limits.max_component);
    blocking(move || {
        let archive = File::open(&path).map_err(|source| unreadable(&path, source))?;
        std::fs::remove_file(&path).map_err(|source| unwritable(&path, source))?;
        archive::unpack(archive, &shown, &staging, max_component)
    })
    .await
}

/// Runs what waits for the disk where waiting is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    tokio::task::spawn_blocking(work).await.expect("it reports errors instead of panicking")
}
