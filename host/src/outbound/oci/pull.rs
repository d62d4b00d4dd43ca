//! Pulling an artifact: its manifest, then its layers, each held to the length and the digest that was said of it.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::{Login, OciReference, challenge, docker};
use crate::model::{Bytes, Digest};
use crate::outbound::DownloadError;
use crate::outbound::download::{Downloader, Expected, WebAddress, pour, status};

/// The longest manifest. Ours take 1 KiB.
const MAX_MANIFEST: Bytes = Bytes::kib(64);
/// The most layers that are looked at.
const MAX_LAYERS: usize = 16;

/// An artifact that is being pulled.
pub struct OciPull<'r> {
    downloader: Downloader,
    reference: &'r OciReference,
    login: Login,
    /// What lets us in, once it was asked for.
    authorization: Option<HeaderValue>,
    deadline: Instant,
    timeout: Duration,
}

/// What a manifest says.
pub struct OciManifest {
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// The media type of the config.
    pub config_type: String,
    /// The layers.
    pub layers: Vec<OciLayer>,
}

/// What a manifest says of a layer.
pub struct OciLayer {
    /// Its media type.
    pub media_type: String,
    /// Its length.
    pub size: Bytes,
    /// SHA-256 of it.
    pub digest: Digest,
}

impl<'r> OciPull<'r> {
    /// Begins to pull `reference`, which may take `timeout` altogether.
    ///
    /// # Errors
    /// The credentials for the registry can't be had.
    pub async fn begin(reference: &'r OciReference, timeout: Duration) -> Result<Self, DownloadError> {
        let login = docker::login(reference.registry()).await?;
        let downloader = Downloader::new(timeout);
        Ok(Self { downloader, reference, login, authorization: None, deadline: Instant::now() + timeout, timeout })
    }

    /// Pulls the manifest.
    ///
    /// # Errors
    /// There is none, it is not one, or another one than was asked for.
    pub async fn manifest(&mut self) -> Result<OciManifest, DownloadError> {
        let address = self.reference.address(&format!("manifests/{}", self.reference.version()));
        let accept = HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE);
        let mut body = Vec::new();
        let expected = Expected { limit: MAX_MANIFEST, size: None };
        let digest = self.take(&address, Some(accept), expected, &mut body).await?;
        if let Some(expected) = self.reference.digest.filter(|expected| *expected != digest) {
            return Err(DownloadError::Digest { place: self.reference.to_string(), expected, got: digest });
        }
        let problem = |problem: String| DownloadError::Protocol { place: self.reference.to_string(), problem };
        let manifest: OciImageManifest = serde_json::from_slice(&body)
            .map_err(|error| problem(format!("is not a single artifact, or its manifest is broken: {error}")))?;
        if manifest.schema_version != 2 || manifest.layers.len() > MAX_LAYERS {
            return Err(problem(format!("is no artifact of this format: version 2, and at most {MAX_LAYERS} layers")));
        }
        let layers = manifest.layers.into_iter().map(layer).collect::<Result<_, String>>().map_err(problem)?;
        Ok(OciManifest { digest, config_type: manifest.config.media_type, layers })
    }

    /// Pulls a layer to `sink`.
    ///
    /// # Errors
    /// It is not there, or not what the manifest said; `sink` may hold a part of it.
    pub async fn layer(&mut self, layer: &OciLayer, sink: &mut (impl AsyncWrite + Unpin)) -> Result<(), DownloadError> {
        // Other places that a manifest may name for it are not asked.
        let address = self.reference.address(&format!("blobs/sha256:{}", layer.digest));
        let got = self.take(&address, None, Expected { limit: layer.size, size: Some(layer.size.0) }, sink).await?;
        match got == layer.digest {
            true => Ok(()),
            false => Err(DownloadError::Digest { place: address.to_string(), expected: layer.digest, got }),
        }
    }

    /// Downloads something of the repository, in the time that is left.
    async fn take(
        &mut self,
        address: &WebAddress,
        accept: Option<HeaderValue>,
        expected: Expected,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Digest, DownloadError> {
        let timed_out = DownloadError::TimedOut { place: self.reference.to_string(), timeout: self.timeout };
        let taking = tokio::time::timeout_at(self.deadline, async {
            let (response, place) = self.ask(address, accept).await?;
            match response.status() {
                StatusCode::OK => pour(response, &place, expected, sink).await,
                other => Err(status(&place, other)),
            }
        });
        taking.await.unwrap_or(Err(timed_out))
    }

    /// Asks for something, and once again with what lets us in if that is wanted.
    async fn ask(
        &mut self,
        address: &WebAddress,
        accept: Option<HeaderValue>,
    ) -> Result<(Response<Incoming>, WebAddress), DownloadError> {
        let mut headers: HeaderMap = accept.map(|accept| (header::ACCEPT, accept)).into_iter().collect();
        headers.extend(self.authorization.clone().map(|authorization| (header::AUTHORIZATION, authorization)));
        let (response, place) = self.downloader.get(address, &headers).await?;
        // Only the registry itself is told who we are, not where it sends us.
        let is_registry = place.url().origin() == address.url().origin();
        if response.status() != StatusCode::UNAUTHORIZED || self.authorization.is_some() || !is_registry {
            return Ok((response, place));
        }
        let authorization = challenge::answer(&self.downloader, self.reference, &self.login, &response).await?;
        headers.insert(header::AUTHORIZATION, authorization.clone());
        self.authorization = Some(authorization);
        self.downloader.get(address, &headers).await
    }
}

fn layer(descriptor: OciDescriptor) -> Result<OciLayer, String> {
    let OciDescriptor { media_type, digest, size, .. } = descriptor;
    let sha256 = digest.strip_prefix("sha256:").and_then(|digest| digest.parse().ok());
    match (sha256, u64::try_from(size)) {
        (Some(digest), Ok(size)) => Ok(OciLayer { media_type, size: Bytes(size), digest }),
        _ => Err(format!("has a layer with the digest `{}` and {size} bytes, which none can have", digest.escape_default())),
    }
}
