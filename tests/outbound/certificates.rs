//! A certificate authority of the test's own, and servers with certificates of it: good ones and others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// An authority that nobody trusts but who is told to.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: tempfile::TempDir,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("it signs itself");
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("it can be written");
        Self { issuer: Issuer::new(params, key), certificate: certificate.der().clone(), folder }
    }

    /// Its own certificate, as PEM.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server that shows a certificate for `name`, which is over if `expired`.
    pub fn server(&self, name: &str, expired: bool) -> ServerConfig {
        let (chain, key) = self.pair(name, expired);
        builder().with_no_client_auth().with_single_cert(chain, key).expect("they fit")
    }

    /// A server for `127.0.0.1` that wants to see a certificate of this authority in turn.
    pub fn server_for_clients(&self) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("it has roots");
        let (chain, key) = self.pair("127.0.0.1", false);
        builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).expect("they fit")
    }

    /// A certificate and its key for a client, as PEM files.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(["tidegate".to_owned()]).expect("a name").signed_by(&key, &self.issuer);
        let write = |name: &str, text: String| {
            let path: &Path = self.folder.path();
            std::fs::write(path.join(name), text).expect("it can be written");
            path.join(name)
        };
        (write("client.pem", certificate.expect("signed").pem()), write("client.key", key.serialize_pem()))
    }

    fn pair(&self, name: &str, expired: bool) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("ring knows them")
}
