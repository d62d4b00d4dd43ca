//! Pushing an artifact, with `oci-client`.

use std::collections::BTreeMap;
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use sha2::{Digest as _, Sha256};

use super::{Login, OciReference, docker};
use crate::model::Digest;
use crate::outbound::DownloadError;
use crate::outbound::download::{status, within};

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An artifact to be pushed.
pub struct OciPush {
    /// What the whole is.
    pub artifact_type: &'static str,
    /// The media type of the config.
    pub config_type: &'static str,
    /// The config.
    pub config: Vec<u8>,
    /// The layers: media type, the name of the file, and what is in it.
    pub layers: Vec<(&'static str, String, Vec<u8>)>,
    /// What people call it.
    pub title: String,
    /// Its version.
    pub version: String,
}

impl OciPush {
    /// Pushes it to `reference`, which may take `timeout`; answers the digest of the manifest.
    ///
    /// # Errors
    /// The registry can't be reached, or does not take it.
    pub async fn send(self, reference: &OciReference, timeout: Duration) -> Result<Digest, DownloadError> {
        if reference.digest.is_some() {
            let problem = "can't be pushed to: what an artifact's digest is shows once it is there; push to a tag".to_owned();
            return Err(DownloadError::Protocol { place: reference.to_string(), problem });
        }
        within(timeout, reference, self.upload(reference, timeout)).await
    }

    async fn upload(self, reference: &OciReference, timeout: Duration) -> Result<Digest, DownloadError> {
        let auth = match docker::login(reference.registry()).await? {
            Login::Anonymous => RegistryAuth::Anonymous,
            Login::Basic(user, password) => RegistryAuth::Basic(user, password.to_string()),
        };
        // Whoever was first to choose has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |error: OciDistributionError| explain(reference, &error);
        let client = Client::try_from(ClientConfig {
            protocol: match reference.root().is_loopback() {
                true => ClientProtocol::Http,
                false => ClientProtocol::Https,
            },
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(timeout),
            user_agent: concat!("tidegate/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let client = client.map_err(failed)?;
        let annotation = |key: &str, value: String| (format!("org.opencontainers.image.{key}"), value);
        let layers = self.layers.into_iter().map(|(media_type, name, bytes)| {
            ImageLayer::new(bytes, media_type.to_owned(), Some(BTreeMap::from([annotation("title", name)])))
        });
        let layers: Vec<_> = layers.collect();
        let config = Config::new(self.config, self.config_type.to_owned(), None);
        let annotations = BTreeMap::from([annotation("title", self.title), annotation("version", self.version)]);
        let mut manifest = OciImageManifest::build(&layers, &config, Some(annotations));
        manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
        manifest.artifact_type = Some(self.artifact_type.to_owned());
        client.auth(&reference.name, &auth, RegistryOperation::Push).await.map_err(failed)?;
        client.push(&reference.name, &layers, config, &auth, Some(manifest)).await.map_err(failed)?;
        let (manifest, _) = client.pull_manifest_raw(&reference.name, &auth, &[OCI_IMAGE_MEDIA_TYPE]).await.map_err(failed)?;
        Ok(Digest(Sha256::digest(&manifest).into()))
    }
}

/// What went wrong, with what caused it: the first level says next to nothing.
fn explain(reference: &OciReference, error: &OciDistributionError) -> DownloadError {
    let place = reference.to_string();
    match error {
        OciDistributionError::RequestError(error) if error.is_connect() || error.is_timeout() => {
            let mut cause: &dyn std::error::Error = error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            let problem = cause.to_string();
            DownloadError::Unreachable { place, problem }
        }
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            status(&place, http::StatusCode::UNAUTHORIZED)
        }
        OciDistributionError::ServerError { code, .. } if matches!(code, 401 | 403 | 404 | 429) => {
            status(&place, http::StatusCode::from_u16(*code).unwrap_or_default())
        }
        OciDistributionError::RegistryError { envelope, .. }
            if envelope.errors.iter().any(|error| matches!(error.code, OciErrorCode::Unauthorized | OciErrorCode::Denied)) =>
        {
            status(&place, http::StatusCode::UNAUTHORIZED)
        }
        error => DownloadError::Protocol { place, problem: format!("does not take it: {error}") },
    }
}
